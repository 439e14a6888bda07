import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from threading import Thread

import pytest

from launcher import cli, paths, session
from launcher.cli import runs
from launcher.paths import ROOT
from launcher.runner import Stop
from launcher.store import Store
from tests import fakerun


@pytest.fixture
def results(tmp_path):
    return str(tmp_path / "results")


def wrong(arguments, capsys):
    code = cli.run(["run", *arguments])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--task", "resnet50"], 2, "resnet50"),
        (["--task", "bert", "--seeds", "0", "--rehearsal"], 2, "--seeds is 0"),
        (["--task", "resnet", "--seeds", "3"], 2, "needs at least 5"),
        (["--task", "bert", "--seeds", "3000000000"], 2, "ask for 1000 or fewer"),
        (["--task", "resnet", "--rehearsal", "--time-limit", "nan"], 2, "--time-limit is nan"),
        (["--task", "resnet", "--rehearsal", "--time-limit", "-1"], 2, "--time-limit is -1"),
        (["--task", "resnet", "--rehearsal", "--until", "noon"], 2, "--until is 'noon'"),
        (["--task", "resnet", "--system", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--task", "resnet", "--rehearsal", "--data", "/nowhere"], 2, "/nowhere"),
        (["--task", "resnet", "--rehearsal", "--engine", "podman"], 2, "podman"),
    ],
)
def test_wrong_input_is_one_clear_sentence_and_the_documented_code(
    arguments, code, said, results, capsys
):
    found, text = wrong([*arguments, "--results", results], capsys)
    assert found == code
    assert said in text


def test_a_typo_in_the_system_file_names_file_key_and_the_right_word(tmp_path, results, capsys):
    path = tmp_path / "node.yaml"
    example = (paths.SYSTEMS / "example-8xh200.yaml").read_text()
    path.write_text(example.replace("accelerators:", "acelerators:", 1))
    code, said = wrong(["--task", "bert", "--system", str(path), "--results", results], capsys)
    assert code == 2
    assert "node.yaml: acelerators is not a known key; did you mean accelerators?" in said


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_code_4(results, capsys):
    asked = ["--task", "resnet", "--rehearsal", "--engine", "docker", "--results", results]
    code, said = wrong(asked, capsys)
    assert code == 4
    assert said.count("\n") == 1


def test_no_gpu_is_code_3(results, capsys, monkeypatch):
    monkeypatch.setattr("launcher.systems.default", lambda: None)
    monkeypatch.setattr("launcher.host.gpus", list)
    code, said = wrong(["--task", "resnet", "--results", results], capsys)
    assert code == 3
    assert "--rehearsal" in said


def test_dry_run_prints_the_container_and_starts_nothing(tmp_path, results, capsys):
    asked = ["run", "--task", "resnet", "--rehearsal", "--engine", "process", "--dry-run"]
    assert cli.run([*asked, "--results", results, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["container"]["command"][0] == "./run_and_time.sh"
    assert told["container"]["command"][-1] == "{seed}"
    assert told["runs"] == 5
    assert told["mark"] == "REHEARSAL - NOT A RESULT"
    assert not (tmp_path / "results").exists()
    assert cli.run([*asked, "--results", results]) == 0
    assert "REHEARSAL - NOT A RESULT" in capsys.readouterr().out


def test_status_shows_a_set_while_another_process_works_on_it(tmp_path, capsys):
    store = fakerun.make(tmp_path, s101=["init", "start", "eval 0.2", "sleep 60"])
    command = [sys.executable, "-m", "tests.fakerun", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        log, give_up_at = store.run(1).log, time.monotonic() + 30
        while not (log.exists() and b"eval_accuracy" in log.read_bytes()):
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        assert cli.run(["status", str(tmp_path), "--json"]) == 0
        process.send_signal(signal.SIGTERM)
    (told,) = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in told["runs"]] == ["success", "running", "planned"]
    assert told["runs"][1]["accuracy"] == 0.2
    assert cli.run(["status", str(tmp_path)]) == 0
    assert "REHEARSAL" in capsys.readouterr().out


def test_status_of_nothing_is_one_sentence(tmp_path, capsys):
    assert cli.run(["status", str(tmp_path)]) == 2
    assert "holds no run set" in capsys.readouterr().err


def test_another_plan_than_the_frozen_one_is_refused(tmp_path, results, capsys):
    asked = ["--task", "resnet", "--rehearsal", "--engine", "process", "--results", results]
    folder = tmp_path / "results" / "REHEARSAL-rehearsal" / "resnet"
    folder.parent.mkdir(parents=True)
    os.rename(fakerun.make(tmp_path).folder, folder)  # noqa: PTH104
    code, said = wrong([*asked, "--seeds", "7"], capsys)
    assert code == 2
    assert "--seeds is 7, but" in said
    assert Store(folder, rehearsal=True).plan().seeds == (100, 101, 102)


def test_an_interrupted_set_is_told_what_the_interruption_cost(tmp_path):
    store = fakerun.make(tmp_path, s101=["init", "start", "eval 0.2", "sleep 60"])
    stop = Stop()
    one = Thread(target=lambda: stop_when_started(store, stop))
    one.start()
    outcome, _ = fakerun.work(store, stop=stop)
    one.join()
    plan = store.plan()
    results = tuple(session.results_of(store, plan))
    ended = session.Ended(folder=store.folder, plan=plan, outcome=outcome, results=results)
    said = runs._sentence(ended)
    assert "interrupted: run 1 had begun and did not converge (a set is forgiven one)" in said


def stop_when_started(store, stop):
    log = store.run(1).log
    while not (log.exists() and b"run_start" in log.read_bytes()):
        time.sleep(0.02)
    stop.signal = signal.SIGINT


def test_until_is_a_time_on_the_wall_also_across_a_change_to_summer_time(monkeypatch):
    class Evening(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 3, 28, 22, 0, tzinfo=tz)

    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    try:
        monkeypatch.setattr(runs, "datetime", Evening)
        assert runs._moment("08:00") == datetime(2026, 3, 29, 6, 0, tzinfo=UTC).timestamp()
        assert runs._moment("23:00") == datetime(2026, 3, 28, 22, 0, tzinfo=UTC).timestamp()
    finally:
        monkeypatch.undo()
        time.tzset()
