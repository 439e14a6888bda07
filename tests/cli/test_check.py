import json

from launcher import cli
from launcher.core.benchmark import Benchmark
from tests import recorded


def test_verdicts_and_findings_are_printed_and_an_error_ends_in_1(tmp_path, capsys):
    recorded.write(tmp_path / "good/resnet", Benchmark.RESNET)
    recorded.write(tmp_path / "void/resnet", Benchmark.RESNET, failed=(0, 1))
    recorded.write(tmp_path / "try/resnet", Benchmark.RESNET, rehearsal=True)
    assert cli.run(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "mlperf-logging 4.0.0: 5 of 5 logs are compliant" in out
    assert "ok  lars_opt_weight_decay" in out
    assert "constrained: 0.0001 x 2^N" in out
    assert "NOT VALID" in out
    assert "[runs.valid]" in out
    assert out.count("REHEARSAL - NOT A RESULT") == 1
    assert " note " not in out


def test_json_and_notes_tell_everything(tmp_path, capsys):
    recorded.write(tmp_path / "resnet", Benchmark.RESNET)
    assert cli.run(["check", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"]
    assert told["sets"][0]["rcp_factor"] == 1.0
    assert cli.run(["check", str(tmp_path), "--all"]) == 0
    assert "note    resnet: mlperf-logging says of the convergence" in capsys.readouterr().out


def test_no_logs_end_in_5(tmp_path, capsys):
    assert cli.run(["check", str(tmp_path / "none")]) == 5
    assert "is not a folder" in capsys.readouterr().err
