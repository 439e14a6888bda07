import os

import pytest

from launcher import cacheclear


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"shard-{number}").write_bytes(os.urandom(300_000))
    (folder / "empty").touch()
    os.sync()
    for path in folder.iterdir():
        path.read_bytes()
    if cacheclear.resident(folder / "shard-0") != 300_000:
        pytest.skip("this file system does not show what it caches")
    return tmp_path / "data"


def test_clearing_is_measured_before_and_after(data):
    proof = cacheclear.clear([data], everything=True)
    assert proof.data_bytes == 900_000
    assert proof.resident_before == 900_000
    assert proof.resident_after == 0
    assert proof.holds


def test_without_root_the_files_own_pages_go(data, monkeypatch):
    monkeypatch.setattr(cacheclear, "DROP", data / "nowhere" / "drop_caches")
    proof = cacheclear.clear([data], everything=True)
    assert proof.method == "fadvise"
    assert proof.holds


def test_the_machines_other_pages_stay_unless_everything_is_asked_for(data, monkeypatch):
    monkeypatch.setattr(cacheclear, "_drop_all", lambda: pytest.fail("dropped everything"))
    proof = cacheclear.clear([data], everything=False)
    assert proof.method == "fadvise"
    assert proof.holds


def test_pages_that_stay_are_no_proof(data, monkeypatch):
    monkeypatch.setattr(cacheclear, "DROP", data / "nowhere" / "drop_caches")
    monkeypatch.setattr(cacheclear, "_advise", lambda _: None)
    proof = cacheclear.clear([data], everything=True)
    assert not proof.holds
    assert proof.payload()["resident_after_bytes"] == 900_000
    assert proof.payload()["proven"] is False


def test_residency_counts_pages_and_never_more_than_the_file(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"x" * 5000)
    path.read_bytes()
    assert cacheclear.resident(path) in (0, 4096, 5000)
    path.write_bytes(b"")
    assert cacheclear.resident(path) == 0


def test_what_cannot_be_measured_is_a_problem_not_an_error(data, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", "shard-0")

    monkeypatch.setattr(cacheclear, "resident", refuse)
    proof = cacheclear.clear([data], everything=True)
    assert not proof.holds
    assert proof.payload()["problem"] == "shard-0: Permission denied"


def test_one_file_can_be_cleared_too(data):
    proof = cacheclear.clear(
        [data / "train" / "shard-0", data / "train" / "shard-1"], everything=False
    )
    assert proof.data_bytes == 600_000
    assert proof.holds


def test_links_that_lead_in_circles_are_followed_once(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 5000)
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(tmp_path)
    assert cacheclear.clear([tmp_path], everything=False).data_bytes == 5000
