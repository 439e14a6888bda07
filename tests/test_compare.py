import dataclasses
import io
import json
import tarfile

import pytest

from launcher import cli, compare
from launcher.core.benchmark import Benchmark
from launcher.errors import LogError, ResponseError
from launcher.paths import ROOT
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results/v4.0"


def node(folder, **options):
    for benchmark in Benchmark:
        recorded.write(folder / benchmark.value, benchmark, **options)
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("answers")
    folders = [node(root / "fine"), node(root / "try", rehearsal=True)]
    spoilt = node(root / "spoilt")
    log = spoilt / "bert/run_0/result.txt"
    log.write_bytes(log.read_bytes() + b"one more line\n")
    void = root / "void"
    recorded.write(void / "bert", Benchmark.BERT)
    recorded.write(void / "resnet", Benchmark.RESNET, failed=(0, 1))
    response = root / "response"
    node(response / "ledger")
    (response / "mlperf").mkdir()
    (response / "MANIFEST.sha256").touch()
    folders.append(response)
    packed = root / "packed.tar"
    with tarfile.open(packed, "w") as target:
        target.add(folders[0], "answer")
    return {each.name: each for each in compare.compare([*folders, spoilt, void, packed])}


def test_evidence_is_told_apart(compared):
    assert {name: each.evidence for name, each in compared.items() if name != "void"} == {
        "fine": "plan, intact ledger and logs agree",
        "packed.tar": "plan, intact ledger and logs agree",
        "response": "plan, intact ledger and logs agree",
        "try": "a rehearsal: not a result",
        "spoilt": "2 errors found by check",
    }


def test_an_archive_counts_like_the_folder_it_holds(compared):
    fine, packed = compared["fine"], compared["packed.tar"]
    assert (fine.raw, fine.normalised) == (packed.raw, packed.normalised)
    assert fine.normalised is not None


def test_what_is_not_valid_comes_last_and_has_no_interval(compared):
    assert list(compared)[-2:] == ["void", "try"]  # a rehearsal is below even that
    void = compared["void"]
    assert (void.raw, void.normalised, void.half_width) == (0.0, None, None)
    told = list(compare.remarks(list(compared.values())))
    assert "void has no valid result for both benchmarks." in told
    assert any("neither is shown to be better" in each for each in told)
    json.dumps(compare.as_json(list(compared.values())), allow_nan=False)


def test_a_rehearsal_is_not_compared_with_anything(compared):
    assert list(compare.remarks([compared["fine"], compared["try"]])) == []


def scaled(entry, name, factor, rcp=1.0):
    """The same entry with all times divided by `factor`, and another RCP factor."""
    sets = []
    for each in (entry.pair.resnet, entry.pair.bert):
        found = each.runs.score
        window = found.window
        mean = dataclasses.replace(window.mean, minutes=window.mean.minutes / factor)
        windows = (dataclasses.replace(window, mean=mean),)
        runs = dataclasses.replace(each.runs, score=dataclasses.replace(found, windows=windows))
        converged = dataclasses.replace(each.convergence, factor=rcp)
        sets.append(dataclasses.replace(each, runs=runs, convergence=converged))
    pair = dataclasses.replace(entry.pair, resnet=sets[0], bert=sets[1])
    return dataclasses.replace(entry, name=name, pair=pair)


def test_a_ranking_that_depends_on_normalisation_is_said(compared):
    honest = scaled(compared["fine"], "honest", 1.00)
    lucky = scaled(compared["fine"], "lucky", 1.02, rcp=1.05)
    told = list(compare.remarks([honest, lucky]))
    assert told[0].startswith("The ranking depends on normalisation: by raw scores it is lucky, h")
    assert not any("depends" in each for each in compare.remarks([honest]))


def test_a_clear_lead_is_not_called_chance_and_an_implausible_one_is_doubted(compared):
    wonder = scaled(compared["fine"], "wonder", 2.0)
    (told,) = compare.remarks([wonder, compared["fine"]])
    assert told.startswith("wonder scores ")
    assert "ask how" in told


def test_a_score_without_factor_is_ranked_raw_and_said(compared):
    bare = scaled(compared["fine"], "bare", 1.0, rcp=None)
    assert bare.ranked_by == bare.raw
    assert list(compare.remarks([bare])) == [
        "bare has no RCP factor and is ranked by its raw score."
    ]


def test_systems_of_the_same_folder_name_keep_their_paths(tmp_path):
    entries = compare.compare([node(tmp_path / "a/x"), node(tmp_path / "b/x")])
    assert {each.name for each in entries} == {str(tmp_path / "a/x"), str(tmp_path / "b/x")}


def test_what_holds_no_pair_or_is_no_archive_is_refused(tmp_path):
    recorded.write(tmp_path / "alone/bert", Benchmark.BERT)
    with pytest.raises(LogError, match="alone: holds no ResNet and BERT"):
        compare.compare([tmp_path / "alone"])
    with tarfile.open(tmp_path / "evil.tar", "w") as target:
        target.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    with pytest.raises(ResponseError, match="evil"):
        compare.compare([tmp_path / "evil.tar"])


def test_published_systems_are_ranked_with_context(capsys):
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    folders = [str(PUBLISHED / "Dell/XE8640x4H100-SXM-80GB"), str(PUBLISHED / "NVIDIA")]
    assert cli.run(["compare", *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["NVIDIA", "2.3318", "2.3343"]
    assert lines[2].split()[:3] == ["XE8640x4H100-SXM-80GB", "1.1557", "1.1875"]
    assert lines[3].startswith("Context, not evidence")
