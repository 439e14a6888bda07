import json
import shutil

import pytest

from launcher import runset, scoring
from launcher.core.benchmark import Benchmark
from launcher.errors import LogError
from launcher.paths import ROOT
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results/v4.0"
SCORES = [  # README: raw; facts: normalised
    (["NVIDIA"], 2.334328, 2.331813),
    (["Dell/XE8640x4H100-SXM-80GB"], 1.187535, 1.155736),
]


@pytest.mark.parametrize(("names", "raw", "normalised"), SCORES)
def test_published_scores_come_out_both_ways(names, raw, normalised):
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    sets = scoring.rate(scoring.load(PUBLISHED / name for name in names))
    (pair,) = scoring.pair(sets)
    assert pair.scores.raw.value == pytest.approx(raw, abs=5e-7)
    assert pair.scores.normalised.value == pytest.approx(normalised, abs=5e-7)
    told = scoring.as_json(sets, [pair])
    assert told["scores"][0]["raw"] == pair.scores.raw.value
    json.dumps(told, allow_nan=False)


@pytest.fixture
def results(tmp_path):
    for benchmark in Benchmark:
        recorded.write(tmp_path / "node" / benchmark.value, benchmark)
    return tmp_path


def unrated(sets):
    return [scoring.Scored(runs=runs, convergence=None) for runs in sets]


def test_run_sets_of_one_system_are_paired(results):
    shutil.copytree(results / "node", results / "other")
    pairs = scoring.pair(unrated(scoring.load([results])))
    assert sorted(each.resnet.runs.folder.parent.name for each in pairs) == ["node", "other"]
    assert all(each.resnet.runs.folder.parent == each.bert.runs.folder.parent for each in pairs)


def test_sets_without_a_clear_partner_are_not_paired(results):
    shutil.copytree(results / "node/bert", results / "other/bert")
    pairs = scoring.pair(unrated(scoring.load([results])))
    assert [each.bert.runs.folder.parent.name for each in pairs] == ["node"]
    assert scoring.pair(unrated(scoring.load([results / "other"]))) == []


def test_a_folder_named_twice_counts_once(results):
    assert len(scoring.load([results, results / "node"])) == 2


def test_a_folder_without_logs_is_refused(tmp_path):
    with pytest.raises(LogError, match="holds no logs"):
        scoring.load([tmp_path])
    with pytest.raises(LogError, match="is not a folder"):
        scoring.load([tmp_path / "none"])


def test_a_rehearsal_is_measured_by_its_own_target_and_asks_no_referee(tmp_path):
    folder = recorded.write(tmp_path / "set", Benchmark.RESNET, rehearsal=True)
    (rated,) = scoring.rate(scoring.load([folder]))
    assert rated.runs.rehearsal
    assert rated.runs.runs[0].result.target != Benchmark.RESNET.facts.quality_target
    assert (rated.convergence, rated.factor, rated.normalised) == (None, None, None)


def test_a_set_without_result_has_no_score(results):
    shutil.rmtree(results / "node/resnet")
    recorded.write(results / "node/resnet", Benchmark.RESNET, failed=(1, 2))
    (pair,) = scoring.pair(unrated(scoring.load([results])))
    assert not pair.valid
    assert scoring.as_json([pair.resnet], [pair])["scores"][0]["raw"] is None


def test_runs_know_whether_they_enter_the_mean(tmp_path):
    folder = recorded.write(tmp_path / "set", Benchmark.RESNET, runs=7)
    runs = runset.load(folder)
    fates = [scoring.dropped(run, runs) for run in runs.runs]
    assert sorted(fates) == ["", "", "", "fastest", "outside", "outside", "slowest"]
    few = runset.load(recorded.write(tmp_path / "few", Benchmark.RESNET, runs=2))
    assert [scoring.dropped(run, few) for run in few.runs] == ["", ""]
