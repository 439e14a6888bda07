import errno
import json
import resource
from pathlib import Path

import pytest

from launcher import store as stores
from launcher.core import ledger
from launcher.errors import ConfigError, HostError, LogError
from launcher.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "set", rehearsal=False)


@pytest.fixture
def begun(store):
    store.folder.mkdir()
    store.open_ledger()
    store.append("plan", a=1)
    store.append("session", b=2)
    return store


def chain(store):
    return ledger.verify((store.folder / "ledger.jsonl").read_bytes())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a" / "exit.json"
    stores.write(path, b"old")
    monkeypatch.setattr(stores.os, "fsync", _full)
    with pytest.raises(HostError, match="disk is full"):
        stores.write(path, b"new")
    assert path.read_bytes() == b"old"


def _full(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_second_launcher_is_refused_in_one_sentence(store):
    said = "another launcher works on this run set"
    second = Store(store.folder, rehearsal=False)
    with store.locked(), pytest.raises(ConfigError, match=said), second.locked():
        pass
    with store.locked():
        pass


def test_the_ledger_is_a_chain_that_continues_over_sessions(begun):
    again = Store(begun.folder, rehearsal=False)
    assert [record.event for record in again.open_ledger()] == ["plan", "session"]
    again.append("complete", logs={})
    assert chain(again).intact
    assert [record.n for record in chain(again).records] == [0, 1, 2]


def test_a_torn_last_line_is_cut_off_and_told(begun):
    path = begun.folder / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"run_st\xff')
    records = begun.open_ledger()
    assert records[-1].event == "repair"
    assert records[-1].payload["torn_bytes"] == 17
    assert path.read_bytes().startswith(whole)
    assert chain(begun).intact


def test_an_altered_ledger_is_refused(begun):
    path = begun.folder / "ledger.jsonl"
    path.write_text(path.read_text().replace('"a":1', '"a":2'))
    with pytest.raises(LogError, match=r"line 1 was altered.*cannot be continued"):
        begun.open_ledger()


def test_a_full_disk_leaves_no_half_record(begun, monkeypatch):
    before = (begun.folder / "ledger.jsonl").read_bytes()
    monkeypatch.setattr(stores.os, "fsync", _full)
    with pytest.raises(HostError, match="start the same command again"):
        begun.append("complete", logs={})
    assert (begun.folder / "ledger.jsonl").read_bytes() == before
    monkeypatch.undo()
    begun.append("complete", logs={})
    assert chain(begun).intact


def test_a_disk_that_takes_half_a_record_keeps_none_of_it(begun):
    """A write on a filling disk takes what still fits and says so only by its return value."""
    path = begun.folder / "ledger.jsonl"
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(HostError, match="cannot be written"):
            begun.append("complete", logs={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device_is_told_in_one_sentence(tmp_path):
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed two lines below
    with full, pytest.raises(HostError, match="disk is full"), stores.told(tmp_path / "x"):
        full.write(b"x")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    below = Store(tmp_path / "file" / "set", rehearsal=False)
    with pytest.raises(HostError, match="cannot be written"), below.locked():
        pass


def test_a_start_is_moved_aside_whole_and_counted(begun):
    begun.open_log(0).close()
    begun.run(0).log.write_bytes(b"first")
    begun.finish(0, {"run": 0})
    assert begun.move_aside(0) == 0
    begun.open_log(0).close()
    assert begun.move_aside(0) == 1
    first = begun.run(0).folder / "attempt_0"
    assert sorted(path.name for path in first.iterdir()) == ["exit.json", "output", "result.txt"]
    assert (first / "result.txt").read_bytes() == b"first"
    assert begun.run(0).attempts == 2
    assert begun.ended(0) is None


def test_a_crash_while_moving_aside_is_finished_later(begun):
    begun.open_log(0).close()
    begun.finish(0, {"run": 0})
    partial = begun.run(0).folder / "attempt_0.partial"
    partial.mkdir()
    begun.run(0).exit.rename(partial / "exit.json")
    assert begun.run(0).attempts == 0
    assert begun.move_aside(0) == 0
    assert (begun.run(0).folder / "attempt_0" / "exit.json").exists()
    assert (begun.run(0).folder / "attempt_0" / "result.txt").exists()


def test_exit_and_ledger_say_the_same(begun):
    begun.finish(0, {"run": 0, "elapsed_s": 1.5, "ended": "exited"})
    assert begun.ended(0) == dict(chain(begun).records[-1].payload)
    begun.run(0).exit.write_text("[")
    with pytest.raises(LogError, match=r"exit\.json"):
        begun.ended(0)


def test_a_foreign_plan_is_refused_by_name(begun):
    assert begun.plan() is None
    (begun.folder / "plan.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(LogError, match=r"plan\.json is not a plan"):
        begun.plan()


def test_a_lock_that_fails_for_another_reason_is_not_taken_for_another_launcher(
    tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    place = Store(tmp_path, rehearsal=True)
    with pytest.raises(HostError, match="No locks available"), place.locked():
        pass
