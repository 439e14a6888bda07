import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest

from launcher import runset
from launcher.core import plan as plans
from launcher.core.result import Status
from launcher.engine.process import ProcessEngine
from launcher.errors import EngineError, HostError, LogError
from launcher.runner import Limits, Outcome
from launcher.store import Store
from launcher.verify import evidence
from launcher.verify.claims import Verdict
from tests import fakerun
from tests.sessions import STARTED, STARTING, events, launch, logged, payloads, statuses, wait_for


def test_killed_in_run_4_of_10_after_its_clock_started_the_run_keeps_its_number(tmp_path):
    store = fakerun.make(tmp_path, runs=10, s104=STARTED)
    with launch(tmp_path) as process:
        wait_for(lambda: logged(store, 4, b"run_start"))
        process.kill()
    kept = store.run(4).log.read_bytes()
    assert ProcessEngine().orphans({"gp2bm.set": str(tmp_path)}) != []
    outcome, printed = fakerun.work(store)
    assert outcome is Outcome.COMPLETE
    assert "run 4: an earlier launcher died during it" in printed
    assert ProcessEngine().orphans({"gp2bm.set": str(tmp_path)}) == []
    assert store.run(4).log.read_bytes() == kept
    wanted = [Status.SUCCESS] * 10
    wanted[4] = Status.INCOMPLETE
    assert statuses(store) == wanted
    assert payloads(store, "run_repeat") == []
    starts = payloads(store, "run_start")
    assert [start["run"] for start in starts] == list(range(10))
    assert [start["seed"] for start in starts] == list(range(100, 110))
    assert [entry["resumed"] for entry in payloads(store, "session")] == [False, True]


def test_killed_before_the_clock_started_the_run_is_repeated_and_the_ledger_says_so(tmp_path):
    store = fakerun.make(tmp_path, runs=6, s104=STARTING)
    with launch(tmp_path) as process:
        wait_for(lambda: logged(store, 4, b"init_stop"))
        process.kill()
    fakerun.make(tmp_path, runs=6)
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert statuses(store) == [Status.SUCCESS] * 6
    assert payloads(store, "run_repeat") == [
        {"run": 4, "attempt": 0, "reason": "never reached run_start"}
    ]
    assert b"init_stop" in (store.run(4).folder / "attempt_0" / "REHEARSAL-result.txt").read_bytes()
    assert (store.folder / "plan.json").read_text() == _dumps(store)


def _dumps(store):
    return plans.dumps(store.plan())


@pytest.mark.slow
def test_killed_at_any_moment_the_plan_goes_on_and_every_seed_runs_once(tmp_path):
    """A launcher is killed over and over, each time a little later, until the set is complete."""
    store = fakerun.make(tmp_path, ["init", "start", "sleep 0.05", "eval 0.6", "success"], runs=4)
    pause_s, outcome = 0.4, b""
    while not outcome.endswith(b"complete\n"):
        with launch(tmp_path) as process:
            try:
                outcome, _ = process.communicate(timeout=pause_s)
            except subprocess.TimeoutExpired:
                process.kill()
        pause_s += 0.13
        assert pause_s < 20
    assert events(store)[-1] == ("complete", None)
    repeats = [(entry["run"], entry["attempt"]) for entry in payloads(store, "run_repeat")]
    assert len(set(repeats)) == len(repeats)
    for number in range(4):
        assert store.ended(number)["seed"] == 100 + number
        assert statuses(store)[number] is not None
        for attempt in store.run(number).folder.glob("attempt_*"):
            assert b'"run_start"' not in (attempt / "REHEARSAL-result.txt").read_bytes()
    loaded = runset.load(store.folder)
    assert [run.number for run in loaded.runs] == [0, 1, 2, 3]


def test_a_crash_between_exit_and_ledger_is_mended(tmp_path):
    store = fakerun.make(tmp_path, runs=2)
    fakerun.work(store, limits=Limits(run_s=60))
    path = store.folder / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if b'"event":"run_end"' in line)
    path.write_bytes(b"".join(lines[:place]))  # as if the launcher died right there
    for name in ("run_1",):
        for left in sorted((store.folder / name).rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        (store.folder / name).rmdir()
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert payloads(store, "run_end")[0] == store.ended(0)
    assert [start["run"] for start in payloads(store, "run_start")] == [0, 1]


def test_a_full_disk_during_a_run_loses_nothing(tmp_path, monkeypatch):
    store = fakerun.make(tmp_path, runs=2)
    original = os.fsync
    calls = iter(range(10_000))

    def fsync(descriptor):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name == "exit.json.partial" and next(calls) == 1:
            raise OSError(28, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(HostError, match="disk is full; free some space"):
        fakerun.work(store)
    kept = store.run(1).log.read_bytes()
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert store.run(1).log.read_bytes() == kept
    assert statuses(store) == [Status.SUCCESS] * 2


def test_a_disk_that_is_still_full_when_a_crash_is_mended_is_one_sentence(tmp_path, monkeypatch):
    store = fakerun.make(tmp_path, s100=STARTED)
    with launch(tmp_path) as process:
        wait_for(lambda: logged(store, 0, b"run_start"))
        process.kill()
    kept = store.run(0).log.read_bytes()

    def collect(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ProcessEngine, "collect", collect)
        with pytest.raises(HostError, match="disk is full; free some space"):
            fakerun.work(store)
    outcome, printed = fakerun.work(store)
    assert outcome is Outcome.COMPLETE
    assert "its container was stopped in its work" in printed
    assert store.run(0).log.read_bytes() == kept


@pytest.mark.parametrize("step", range(6))
def test_a_crash_at_any_step_of_moving_a_start_aside_is_mended(tmp_path, monkeypatch, step):
    store = fakerun.make(tmp_path, ["init", "exit 1"], runs=1)
    with pytest.raises(EngineError):
        fakerun.work(store)
    steps, rename = itertools.count(), Path.rename

    def crash(path, target):
        if next(steps) == step:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", crash)
    (tmp_path / "data/steps.json").write_text(json.dumps({"all": fakerun.GOOD}))
    with pytest.raises(KeyboardInterrupt):
        fakerun.work(store)
    monkeypatch.undo()
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    found = runset.load(store.folder)
    claims = {each.name: each for each in evidence.examine(found, "x")}
    assert claims["runs"].verdict is Verdict.AGREES, claims["runs"].message


def test_runs_without_their_ledger_are_not_continued(tmp_path):
    store = fakerun.make(tmp_path, runs=1)
    fakerun.work(store)
    (store.folder / "ledger.jsonl").unlink()
    with pytest.raises(LogError, match=r"there are runs but no ledger\.jsonl"):
        fakerun.work(Store(store.folder, rehearsal=True))
    assert not (store.folder / "ledger.jsonl").exists()
