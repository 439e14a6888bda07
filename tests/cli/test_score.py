import json

import pytest

from launcher import cli
from launcher.core import presets
from launcher.core.benchmark import Benchmark
from tests import recorded


@pytest.fixture
def results(tmp_path):
    for benchmark in Benchmark:
        recorded.write(tmp_path / "node" / benchmark.value, benchmark)
    return tmp_path


def test_the_arithmetic_is_shown_both_ways(results, capsys):
    assert cli.run(["score", str(results)]) == 0
    out = capsys.readouterr().out
    assert "raw         7.19/" in out
    assert "normalised  7.19/" in out
    assert out.count("dropped: fastest") == 2


def test_json_holds_the_same(results, capsys):
    assert cli.run(["score", str(results), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"][0]["raw"] >= told["scores"][0]["normalised"] > 2
    assert [len(each["runs"]) for each in told["sets"]] == [10, 5]


def test_what_is_not_valid_ends_in_1_and_what_was_scored_is_said(tmp_path, capsys):
    recorded.write(tmp_path / "a/resnet", Benchmark.RESNET, failed=(1, 3))
    recorded.write(tmp_path / "b/resnet", Benchmark.RESNET, runs=8)
    assert cli.run(["score", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "no valid result: more than one run did not converge: run_1, run_3" in out
    assert "No score: it needs one ResNet and one BERT set" in out
    assert "8 runs make 4 windows of 5" in out
    assert "the slower of the two middle ones" in out
    assert out.count("not in the scored window") == 3


def test_a_rehearsal_is_marked_wherever_it_appears(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(presets, "target", lambda benchmark, **_: benchmark.facts.quality_target)
    for benchmark in Benchmark:
        recorded.write(tmp_path / benchmark.value, benchmark, rehearsal=True)
    assert cli.run(["score", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("REHEARSAL - NOT A RESULT") == 3
    assert "a rehearsal has no reference" in out


def test_a_log_cannot_steer_the_terminal(tmp_path, capsys):
    folder = recorded.write(tmp_path / "resnet", Benchmark.RESNET)
    log = folder / "run_0/result.txt"
    log.write_bytes(log.read_bytes().replace(b"loss", b"\x1b[2J:::MLLOG {\n" * 9 + b"loss"))
    assert cli.run(["score", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "and 13 more" in out


def test_no_logs_end_in_5(tmp_path, capsys):
    assert cli.run(["score", str(tmp_path)]) == 5
    assert "holds no logs" in capsys.readouterr().err
