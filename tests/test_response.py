import dataclasses
import json

import pytest

from launcher import (
    answer,
    check,
    filetree,
    package,
    patchqueue,
    response,
    unpack,
    verify,
    workbook,
)
from launcher.core import system
from launcher.core.benchmark import Benchmark
from launcher.core.findings import valid
from launcher.errors import ConfigError, LogError, ResponseError
from launcher.paths import ROOT
from launcher.verify.claims import Verdict
from tests import recorded

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"


def nobody(_):
    """Be a referee with no opinion."""
    return ()


def page(_):
    return "<!DOCTYPE html><title>report</title>"


@pytest.fixture(scope="module")
def template():
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    return TEMPLATE.read_bytes()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        tree = filetree.tree_id(patchqueue.overlay(benchmark))
        source = {"tree": tree, "patches_sha256": patchqueue.digest(benchmark).sha256}
        recorded.write(root / benchmark.value, benchmark, source=source)
    return root


@pytest.fixture(scope="module")
def built(results, template, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "response.tar.zst"
    order = response.Order(template=template, reference=None, draft=True)
    found = answer.load([results], nobody)
    findings = response.build(found, order, out, report=page, referee=nobody)
    return out, findings


def test_a_draft_needs_no_reference_and_says_what_is_missing(built):
    _, findings = built
    assert not valid(findings)
    assert {finding.rule for finding in findings} >= {"source.overlay-only", "workbook.proposed"}


def test_mlcommons_checkers_find_nothing_wrong_with_it(built):
    _, findings = built
    assert [finding for finding in findings if finding.rule.startswith("package.")] == []


def test_nothing_differs_when_its_receiver_looks(built):
    out, _ = built
    found = verify.verify(out, referee=nobody)
    differing = [claim.name for claim in found.claims if claim.verdict is Verdict.DIFFERS]
    assert differing == ["draft"]


def test_the_same_evidence_gives_the_same_bytes(results, template, tmp_path):
    found = answer.load([results], nobody)
    system = found.system
    order = response.Order(template=template, reference=None, draft=True)
    digests = set()
    for number in (1, 2):
        root = tmp_path / str(number)
        response.stage(found, system, order, root, report=page)
        response.pack(root, tmp_path / f"{number}.tar.zst")
        digests.add(filetree.sha256(tmp_path / f"{number}.tar.zst"))
    assert len(digests) == 1


def test_every_part_of_the_answer_is_in_it(built):
    out, _ = built
    with unpack.opened(out) as root:
        names = {name for name, _ in package.files(root / "response")}
    submission = "mlperf/Maple_Computing"
    assert names >= {
        "README.md",
        "MANIFEST.sha256",
        "Benchmark_Results.xlsx",
        "report.html",
        "patches/reference.toml",
        "patches/bert/series",
        f"{submission}/systems/node.json",
        f"{submission}/results/node/bert/result_9.txt",
        f"{submission}/results/node/resnet/result_4.txt",
        "ledger/bert/ledger.jsonl",
        "ledger/bert/run_9/exit.json",
        "solution/scores.json",
        "solution/versions.json",
        "solution/bert/plan.json",
    }


def test_the_launcher_builds_no_response_while_errors_stand(results, template, tmp_path):
    order = response.Order(template=template, reference=None, draft=False)
    found = answer.load([results], nobody)
    with pytest.raises(ResponseError, match="errors stand, the first"):
        response.build(found, order, tmp_path / "out", report=page, referee=nobody)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("draft", [True, False])
def test_a_rehearsal_is_refused_always(template, tmp_path, draft):
    for benchmark in Benchmark:
        recorded.write(tmp_path / "node" / benchmark.value, benchmark, rehearsal=True)
    order = response.Order(template=template, reference=None, draft=draft)
    found = answer.load([tmp_path], nobody)
    with pytest.raises(ResponseError, match="rehearsal"):
        response.build(found, order, tmp_path / "out", report=page, referee=nobody)


def test_one_benchmark_alone_is_no_answer(template, tmp_path):
    recorded.write(tmp_path / "node/bert", Benchmark.BERT)
    order = response.Order(template=template, reference=None, draft=True)
    found = answer.load([tmp_path], nobody)
    with pytest.raises(ResponseError, match="no runs of resnet"):
        response.build(found, order, tmp_path / "out", report=page, referee=nobody)


def test_two_sets_of_one_benchmark_must_be_told_apart(tmp_path):
    for name in "ab":
        recorded.write(tmp_path / name / "bert", Benchmark.BERT)
    with pytest.raises(ConfigError, match="both hold runs of bert"):
        answer.load([tmp_path], nobody)


def test_two_systems_are_no_answer(tmp_path):
    for benchmark in Benchmark:
        recorded.write(tmp_path / "node" / benchmark.value, benchmark)
    path = tmp_path / "node/bert/plan.json"
    plan = json.loads(path.read_text())
    plan["system"]["platform"] = "another"
    path.write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match="another system file"):
        answer.load([tmp_path], nobody)


def test_an_empty_folder_is_no_answer(tmp_path):
    with pytest.raises(LogError, match="no run set"):
        answer.load([tmp_path], nobody)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Maple Computing, Inc.", "Maple_Computing_Inc"), (".hidden", "hidden"), ("Ω", "submitter")],
)
def test_a_submitter_becomes_a_folder_name_that_the_checkers_accept(text, name):
    assert response.slug(text) == name


def test_published_logs_make_a_draft_whose_numbers_are_the_published_ones(template, tmp_path):
    folder = ROOT.parent / "shared/published-results/v4.0/NVIDIA"
    if not folder.is_dir():
        pytest.skip(f"the published results are not at {folder}")
    found = answer.load([folder], check.check)
    found = dataclasses.replace(found, system=system.parse("h200", recorded.SYSTEM))
    order = response.Order(template=template, reference=None, draft=True)
    root = tmp_path / "response"
    findings = response.stage(found, found.system, order, root, report=page)
    assert "evidence.ledger" in {finding.rule for finding in findings}
    looked = verify.verify(root, referee=check.check)
    assert looked.scores.raw.value == pytest.approx(2.334328, abs=1e-6)
    assert looked.scores.normalised.value == pytest.approx(2.331813, abs=1e-6)
    told = {claim.name: claim.verdict for claim in looked.claims}
    assert told["ledger"] is Verdict.CANNOT_TELL
    assert told["score.normalised"] is Verdict.AGREES
    assert {name for name, verdict in told.items() if verdict is Verdict.DIFFERS} == {"draft"}


def test_of_more_runs_than_needed_the_scored_ones_are_copied_and_all_are_handed_over(
    template, tmp_path
):
    results = tmp_path / "results" / "node"
    recorded.write(results / "bert", Benchmark.BERT, runs=13, failed=(1,))
    recorded.write(results / "resnet", Benchmark.RESNET)
    found = answer.load([results], check.check)
    order = response.Order(template=template, reference=None, draft=True)
    root = tmp_path / "response"
    response.stage(found, found.system, order, root, report=page)
    layout = package.Layout(root=root)
    [copies] = layout.results(Benchmark.BERT)
    assert len(list(copies.iterdir())) == 10
    assert len(list(layout.run_set(Benchmark.BERT).glob("run_*"))) == 13
    looked = verify.verify(root, referee=check.check)
    told = {claim.name: claim.verdict for claim in looked.claims}
    assert (told["copies"], told["runs"], told["bert.minutes"]) == (Verdict.AGREES,) * 3


def test_a_draft_of_an_invalid_set_leaves_its_cell_empty(template, tmp_path):
    results = tmp_path / "results" / "node"
    recorded.write(results / "bert", Benchmark.BERT, failed=(1, 2))
    recorded.write(results / "resnet", Benchmark.RESNET)
    found = answer.load([results], nobody)
    root = tmp_path / "response"
    order = response.Order(template=template, reference=None, draft=True)
    response.stage(found, found.system, order, root, report=page)
    cells = workbook.times((root / "Benchmark_Results.xlsx").read_bytes())
    assert "C8" not in cells
    assert cells["C9"].value > 700
    looked = verify.verify(root, referee=nobody)
    assert looked.scores is None
    told = {claim.name: claim.verdict for claim in looked.claims}
    assert told["workbook.C8"] is Verdict.CANNOT_TELL
    strict = dataclasses.replace(order, draft=False)
    with pytest.raises(ConfigError, match="bert has no valid result"):
        response.stage(found, found.system, strict, tmp_path / "again", report=page)


def test_own_convergence_points_are_carried_and_used_only_when_accepted(
    results, template, tmp_path
):
    points = tmp_path / "rcps.json"
    points.write_text('{"resnet": {}}')
    out = tmp_path / "response.tar.zst"
    order = response.Order(template=template, reference=None, draft=True, rcp_file=points)
    response.build(answer.load([results], nobody), order, out, report=page, referee=nobody)
    judged_by = []

    def judge_by(path):
        judged_by.append(path.read_text())
        return nobody

    told = {
        accepted: [claim.message for claim in found.claims if claim.name == "rcp.own"]
        for accepted, found in {
            False: verify.verify(out, referee=nobody),
            True: verify.verify(out, referee=nobody, points=judge_by),
        }.items()
    }
    assert judged_by == [points.read_text()]
    assert "not used" in told[False][0]
    assert "were used" in told[True][0]
