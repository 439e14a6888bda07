import json
import signal
import threading

import pytest

from launcher import cacheclear
from launcher.core.result import Status
from launcher.errors import ConfigError, EngineError, HostError, LogError
from launcher.runner import Limits, Outcome, Stop
from launcher.store import Store
from tests import fakerun
from tests.sessions import STARTED, events, launch, logged, payloads, statuses, wait_for


def test_a_set_is_run_in_order_and_sealed(tmp_path):
    store = fakerun.make(tmp_path)
    outcome, printed = fakerun.work(store)
    assert outcome is Outcome.COMPLETE
    one = ["cache_clear", "run_start", "run_end"]
    runs = [(event, number) for number in range(3) for event in one]
    assert events(store) == [("plan", None), ("session", None), *runs, ("complete", None)]
    assert statuses(store) == [Status.SUCCESS] * 3
    assert len({ended["container_id"] for ended in payloads(store, "run_end")}) == 3
    assert [start["seed"] for start in payloads(store, "run_start")] == [100, 101, 102]
    assert "accuracy 0.6000" in printed
    for number in range(3):
        files = store.run(number)
        ended = store.ended(number)
        assert files.log.name == "REHEARSAL-result.txt"
        assert files.log.stat().st_size == ended["log_bytes"]
        assert ended["elapsed_s"] > 0
        assert (files.folder / "stderr.txt").read_bytes() == b""


def test_the_log_is_the_launchers_head_and_then_stdout_byte_for_byte(tmp_path):
    store = fakerun.make(tmp_path, runs=1)
    script = tmp_path / "tree" / "run_and_time.sh"
    noise = b"a\xff\r\n" + b"x" * (1 << 20) + b"\n\0no end"
    (tmp_path / "data" / "noise").write_bytes(noise)
    script.write_text(
        script.read_text() + "\nsys.stdout.buffer.write(open(data + '/noise', 'rb').read())"
    )
    fakerun.work(store)
    head = store.ended(0)["head_bytes"]
    content = store.run(0).log.read_bytes()
    assert content.endswith(noise)
    assert content[head:].startswith(b':::MLLOG {"namespace": "", "time_ms"')
    assert content[:head].count(b"\n") == (1 if head else 0)


def test_a_cleared_cache_is_logged_only_with_its_proof(tmp_path, monkeypatch):
    def proof(_, **__):
        return cacheclear.Proof(
            method="fadvise", data_bytes=1000, resident_before=900, resident_after=after
        )

    monkeypatch.setattr("launcher.runner.cacheclear.clear", proof)
    for after, found in ((0, 1), (500, 0)):
        folder = tmp_path / str(after)
        folder.mkdir()
        store = fakerun.make(folder, runs=1)
        fakerun.work(store)
        assert store.run(0).log.read_bytes().count(b'"cache_clear"') == found
        assert payloads(store, "cache_clear")[0]["proven"] is bool(found)
        assert payloads(store, "cache_clear")[0]["resident_before_bytes"] == 900


def test_a_real_run_without_that_proof_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "launcher.runner.cacheclear.clear",
        lambda *_, **__: cacheclear.Proof(
            method="fadvise", data_bytes=1000, resident_before=900, resident_after=900
        ),
    )
    store = fakerun.make(tmp_path, runs=1)
    path = store.folder / "plan.json"
    path.write_text(path.read_text().replace('"rehearsal": true', '"rehearsal": false'))
    with pytest.raises(HostError, match="still holds 900 of 1000 bytes"):
        fakerun.work(Store(store.folder, rehearsal=False))
    assert payloads(store, "run_start") == []


def test_a_complete_set_is_left_alone(tmp_path):
    store = fakerun.make(tmp_path)
    fakerun.work(store)
    before = (store.folder / "ledger.jsonl").read_bytes()
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert (store.folder / "ledger.jsonl").read_bytes() == before


def test_a_run_that_does_not_converge_is_a_result(tmp_path):
    store = fakerun.make(tmp_path, s101=["init", "start", "eval 0.1", "aborted"])
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert statuses(store) == [Status.SUCCESS, Status.ABORTED, Status.SUCCESS]


def test_a_run_that_breaks_after_run_start_keeps_its_number(tmp_path):
    store = fakerun.make(tmp_path, s101=["init", "start", "exit 9"])
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert statuses(store)[1] is Status.INCOMPLETE
    assert store.ended(1)["exit_code"] == 9
    assert payloads(store, "run_repeat") == []


def test_a_run_that_fails_before_run_start_ends_the_session_and_is_repeated_later(tmp_path):
    store = fakerun.make(tmp_path, s101=["init", "say no data", "exit 2"])
    with pytest.raises(EngineError, match=r"run 1 ended before run_start \(exit code 2: no data\)"):
        fakerun.work(store)
    fakerun.make(tmp_path)
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert statuses(store) == [Status.SUCCESS] * 3
    assert payloads(store, "run_repeat") == [
        {"run": 1, "attempt": 0, "reason": "never reached run_start"}
    ]
    kept = store.run(1).folder / "attempt_0"
    assert json.loads((kept / "exit.json").read_text())["exit_code"] == 2
    assert b"no data" in (kept / "stderr.txt").read_bytes()
    assert store.ended(1)["attempt"] == 1


def test_the_time_limit_stops_one_run_and_the_next_one_starts(tmp_path):
    store = fakerun.make(tmp_path, s100=STARTED, runs=2)
    outcome, _ = fakerun.work(store, limits=Limits(run_s=2))
    assert outcome is Outcome.COMPLETE
    assert store.ended(0)["ended"] == "stopped"
    assert store.ended(0)["stopped_by"] == "time limit"
    assert statuses(store) == [Status.INCOMPLETE, Status.SUCCESS]


def test_until_stops_between_seeds(tmp_path):
    store = fakerun.make(tmp_path)
    assert fakerun.work(store, limits=Limits(run_s=60, until=0))[0] is Outcome.PAUSED
    assert payloads(store, "run_start") == []
    assert fakerun.work(store)[0] is Outcome.COMPLETE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_container_and_the_next_session_goes_on(tmp_path, number):
    store = fakerun.make(tmp_path, s101=STARTED)
    with launch(tmp_path) as process:
        wait_for(lambda: logged(store, 1, b"run_start"))
        process.send_signal(number)
        assert process.communicate(timeout=30)[0].endswith(b"interrupted\n")
    assert payloads(store, "interrupted") == [{"run": 1, "signal": number.name}]
    assert store.ended(1)["stopped_by"] == number.name
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert statuses(store) == [Status.SUCCESS, Status.INCOMPLETE, Status.SUCCESS]
    assert payloads(store, "run_repeat") == []


def test_a_signal_between_runs_names_no_run(tmp_path):
    store, stop = fakerun.make(tmp_path), Stop()
    stop.signal = signal.SIGTERM
    assert fakerun.work(store, stop=stop)[0] is Outcome.INTERRUPTED
    assert payloads(store, "interrupted") == [{"run": None, "signal": "SIGTERM"}]


def test_a_plan_that_was_changed_after_the_first_run_is_refused(tmp_path):
    store = fakerun.make(tmp_path, s101=["exit 1"])
    with pytest.raises(EngineError):
        fakerun.work(store)
    path = store.folder / "plan.json"
    path.write_text(path.read_text().replace("102", "103"))
    with pytest.raises(LogError, match=r"plan\.json or hyperparameters\.yaml was changed"):
        fakerun.work(store)


def test_two_launchers_on_one_set_are_one_too_many(tmp_path):
    store = fakerun.make(tmp_path, s100=STARTED)
    with launch(tmp_path) as process:
        wait_for(lambda: logged(store, 0, b"run_start"))
        with pytest.raises(ConfigError, match="another launcher"):
            fakerun.work(store)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_telemetry_is_recorded_once_a_second(tmp_path):
    store = fakerun.make(tmp_path, ["init", "start", "sleep 2.5", "eval 0.6", "success"], runs=1)
    before = threading.active_count()
    fakerun.work(store)
    assert threading.active_count() == before
    text = (store.run(0).folder / "telemetry.jsonl").read_text()
    samples = [json.loads(line) for line in text.splitlines()]
    assert 1 <= len(samples) <= 5
    assert samples[0].keys() == {"time_ms", "cpu_percent", "memory_used_bytes", "gpus"}
    assert 0 <= samples[0]["cpu_percent"] <= 100
    assert samples[0]["memory_used_bytes"] > 0


@pytest.fixture
def _handlers():
    """Put back how this process takes the loss of its terminal: the suite may run under nohup."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_handlers")
def test_a_lost_terminal_is_a_signal_unless_nohup_asked_otherwise():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stop = Stop()
    with stop.listening():
        signal.raise_signal(signal.SIGHUP)
    assert stop.signal is signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    deaf = Stop()
    with deaf.listening():
        signal.raise_signal(signal.SIGHUP)
    assert not deaf.asked()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
