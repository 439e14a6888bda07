"""report, workbook, response and verify as a user types them."""

import json
import tarfile
from pathlib import Path

import pytest

from launcher import cli
from launcher.core.benchmark import Benchmark
from launcher.paths import ROOT
from tests import recorded

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"
PUBLISHED = ROOT.parent / "shared/published-results/v4.0"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        recorded.write(root / benchmark.value, benchmark)
    return str(root)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    root = tmp_path_factory.mktemp("results") / "REHEARSAL-x"
    for benchmark in Benchmark:
        recorded.write(root / benchmark.value, benchmark, rehearsal=True)
    return str(root)


@pytest.fixture(scope="module")
def template():
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    return str(TEMPLATE)


def test_report_writes_a_page_and_says_where(results, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.run(["report", results, "-o", str(out)]) == 0
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert str(out) in capsys.readouterr().out


def test_report_prints_json(results, capsys):
    assert cli.run(["report", results, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["score"]["normalised"]["value"] > 2


def test_report_of_nothing_is_one_sentence(tmp_path, capsys):
    assert cli.run(["report", str(tmp_path)]) == 5
    assert "no run set" in capsys.readouterr().err


def test_workbook_prints_the_cells_in_seconds_and_minutes(results, template, tmp_path, capsys):
    out = tmp_path / "out.xlsx"
    assert cli.run(["workbook", results, "--template", template, "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "C8 = 335.875 s (5.5979 min), bert" in said.out
    assert "MLPerf!D7" in said.err
    assert out.read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(("command", "code"), [("workbook", 2), ("response", 6)])
def test_a_rehearsal_is_never_an_answer(rehearsal, template, capsys, command, code):
    out = Path(rehearsal).parent / "out"
    assert cli.run([command, rehearsal, "--template", template, "-o", str(out)]) == code
    assert "rehearsal" in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_template_is_named(results, tmp_path, capsys):
    assert cli.run(["response", results, "--template", str(tmp_path / "none.xlsx")]) == 2
    assert "none.xlsx" in capsys.readouterr().err


def test_a_redacted_draft_is_built_and_verified_with_its_key(results, template, tmp_path, capsys):
    out = str(tmp_path / "response.tar.zst")
    build = ["response", results, "--template", template, "-o", out, "--draft", "--redact"]
    assert cli.run(build) == 0
    assert "do not hand it over" in capsys.readouterr().out
    key = f"{out}.redaction-key.json"
    assert cli.run(["verify", out, "--redaction-key", key, "--json"]) == 1  # it is a draft
    found = json.loads(capsys.readouterr().out)
    differing = {each["name"] for each in found["claims"] if each["verdict"] == "differs"}
    assert differing == {"draft"}


def test_verify_of_published_results_prints_both_scores(capsys):
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    assert cli.run(["verify", str(PUBLISHED / "Dell/XE8640x4H100-SXM-80GB")]) == 0
    said = capsys.readouterr().out
    assert "= 1.187535" in said
    assert "= 1.155736" in said


def test_verify_of_every_published_set_finds_the_published_factors(capsys):
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    assert cli.run(["verify", str(PUBLISHED), "--json"]) == 0
    claims = json.loads(capsys.readouterr().out)["claims"]
    factors = [each for each in claims if each["name"] == "rcp_factor"]
    assert [each["verdict"] for each in factors] == ["agrees"] * 3
    [aborted] = [
        each["message"]
        for each in claims
        if each["name"] == "compliance" and "XE9680" in each["where"]
    ]
    assert aborted.startswith("4 of 5 logs pass")


def test_verify_refuses_what_is_no_package(tmp_path, capsys):
    path = tmp_path / "response.tar.zst"
    path.write_bytes(b"not an archive")
    assert cli.run(["verify", str(path)]) == 6
    assert "neither tar" in capsys.readouterr().err


def test_a_strangers_text_cannot_steer_the_terminal(tmp_path, capsys):
    folder = tmp_path / "resnet"
    folder.mkdir()
    text = recorded.log(Benchmark.RESNET, seed=1, start_ms=10**12, minutes=9)
    (folder / "result_0.txt").write_bytes(text)
    (folder / "result_\x1b[2J_1.txt").write_bytes(text)
    cli.run(["verify", str(tmp_path)])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err


def test_a_refusal_names_the_package_and_not_the_folder_it_was_unpacked_into(tmp_path, capsys):
    path = tmp_path / "response.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("note"))
    assert cli.run(["verify", str(path)]) == 6
    said = capsys.readouterr().err
    assert f"{path} holds no logs" in said
    assert "launcher-verify-" not in said


def test_letters_that_look_like_others_are_printed_as_what_they_are(tmp_path, capsys):
    for name in ("l\u0435dger", "\uff4cedger", "ledger\u200b", "Br\u00e5ten"):
        (tmp_path / name / "bert").mkdir(parents=True)
        (tmp_path / name / "bert/plan.json").write_text("{")
    assert cli.run(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    for shown in ("l\\u0435dger/", "\\uff4cedger/", "ledger\\u200b/", "Br\u00e5ten/"):
        assert shown in said


def test_the_template_itself_is_never_written(tmp_path, capsys):
    for benchmark in Benchmark:
        recorded.write(tmp_path / "node" / benchmark.value, benchmark)
    template = tmp_path / "Benchmark_Results.xlsx"
    template.write_bytes(b"the RFP's")
    node = str(tmp_path / "node")
    assert cli.run(["workbook", node, "--template", str(template), "-o", str(template)]) == 2
    assert "is the template itself" in capsys.readouterr().err
    assert template.read_bytes() == b"the RFP's"
