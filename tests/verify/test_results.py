"""A folder that makes no statement, and the page that comes with one that does."""

import pytest

from launcher import answer, package, paths, response, verify
from launcher.cli.verify import _page
from launcher.core.benchmark import Benchmark
from launcher.report import page
from launcher.report.form import Format
from launcher.verify.claims import Verdict
from tests import recorded


@pytest.fixture
def folder(tmp_path):
    return recorded.write(tmp_path / "results/node/resnet", Benchmark.RESNET)


def found(folder):
    claims = verify.verify(folder.parents[1], referee=answer.unasked).claims
    return {claim.name: claim for claim in claims}


def test_plan_and_ledger_of_a_run_set_are_checked_and_nothing_denies_them(folder):
    claims = found(folder)
    assert claims["ledger.chain"].verdict is Verdict.AGREES
    assert claims["seeds"].verdict is Verdict.AGREES
    assert "no manifest and no statement" in claims["evidence"].message


def test_a_log_edited_by_a_millisecond_is_caught_by_the_ledger(folder):
    log = folder / "run_2/result.txt"
    text = log.read_bytes()
    at = text.rindex(b'"time_ms": ') + 20
    log.write_bytes(text[:at] + (b"1" if text[at : at + 1] == b"0" else b"0") + text[at + 1 :])
    claim = found(folder)["logs"]
    assert claim.verdict is Verdict.DIFFERS
    assert "run_2/result.txt" in claim.message


def test_a_run_set_without_its_ledger_is_told_from_a_strangers_logs(folder):
    (folder / "ledger.jsonl").unlink()
    claim = found(folder)["ledger"]
    assert claim.verdict is Verdict.DIFFERS
    assert "ledger.jsonl is not" in claim.message


def test_logs_alone_are_said_to_be_all_there_is(tmp_path, folder):
    stranger = tmp_path / "stranger/node/resnet"
    stranger.mkdir(parents=True)
    for number in range(5):
        (folder / f"run_{number}/result.txt").rename(stranger / f"result_{number}.txt")
    claims = found(stranger)
    assert "no manifest, plan or ledger" in claims["evidence"].message
    assert "ledger.chain" not in claims


def test_a_rehearsal_is_called_one(tmp_path):
    place = tmp_path / "results/node/bert"
    claim = found(recorded.write(place, Benchmark.BERT, rehearsal=True))["rehearsal"]
    assert claim.verdict is Verdict.CANNOT_TELL
    assert "REHEARSAL - NOT A RESULT" in claim.message


TEMPLATE = paths.ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"


@pytest.fixture(scope="module")
def responded(tmp_path_factory):
    """A response with its real report."""
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    results = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        recorded.write(results / benchmark.value, benchmark)
    given = answer.load([results], answer.unasked)
    root = tmp_path_factory.mktemp("response") / "response"
    order = response.Order(template=TEMPLATE.read_bytes(), reference=None, draft=False)
    html = page.render(given, Format.HTML)
    response.stage(given, given.system, order, root, report=lambda _: html)
    return root, html


def report(root):
    return verify._report(package.locate(root), [], [], _page)


def test_an_unpacked_responses_own_page_is_the_one_made_of_its_evidence(responded):
    root, html = responded
    for folder in (root, root.parent):  # with the folder that the archive wraps it in, too
        assert page.render(answer.load([folder], answer.unasked), Format.HTML) == html
    assert report(root).verdict is Verdict.AGREES


def test_a_page_that_someone_altered_is_not_vouched_for(responded):
    root, html = responded
    path = root / "report.html"
    path.write_text(html.replace("Score", "Sc0re", 1))
    claim = report(root)
    path.write_text(html)
    assert claim.verdict is Verdict.CANNOT_TELL
    assert "make your own with `launcher report`" in claim.message
