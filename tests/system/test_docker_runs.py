import itertools
import re
import subprocess
import sys
import time

import pytest

from launcher import cli, paths
from launcher.core import ledger
from launcher.core.result import Status
from launcher.engine.base import LABEL
from launcher.paths import ROOT
from launcher.runner import Outcome
from launcher.session import results_of
from tests import fakerun

pytestmark = pytest.mark.docker


@pytest.fixture
def made(tmp_path, image, client):
    """Return a maker of run sets whose containers are removed at the end."""
    stores = []

    def make(**changes):
        stores.append(fakerun.make(tmp_path, image=image, **changes))
        return stores[-1]

    yield make
    for store in stores:
        for left in containers(client, store):
            left.remove(force=True)


def containers(client, store):
    label = store.plan().container["labels"][LABEL]
    return client.containers.list(all=True, filters={"label": f"{LABEL}={label}"})


def chain(store):
    return ledger.verify((store.folder / "ledger.jsonl").read_bytes())


def payloads(store, event):
    return [record.payload for record in chain(store).records if record.event == event]


def kill_when(folder, condition):
    """Start a launcher of its own and kill it when the condition holds."""
    command = [sys.executable, "-m", "tests.fakerun", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        give_up_at = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up_at
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()


def logged(store, number, text):
    log = store.run(number).log
    return log.exists() and text in log.read_bytes()


def test_ten_seeds_are_ten_containers_one_after_another_and_none_is_left(made, client):
    store = made(runs=10)
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    ends = payloads(store, "run_end")
    assert len({end["container_id"] for end in ends}) == 10
    times = [(end["started_at"], end["finished_at"]) for end in ends]
    assert times == sorted(times)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(times))
    assert all(end["log_agrees"] and end["exit_code"] == 0 for end in ends)
    assert [result.status for result in results_of(store, store.plan())] == [Status.SUCCESS] * 10
    assert containers(client, store) == []


def test_killed_while_a_container_trains_it_is_found_and_counts_with_its_number(
    made, client, tmp_path
):
    store = made(runs=3)
    (tmp_path / "data" / "sleep-101").touch()
    kill_when(tmp_path, lambda: logged(store, 1, b"eval_accuracy"))
    (orphan,) = containers(client, store)
    assert orphan.status == "running"
    kept = store.run(1).log.read_bytes()
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert store.run(1).log.read_bytes() == kept
    assert store.ended(1)["container_id"] == orphan.id
    assert store.ended(1)["ended"] == "stopped"
    found = [result.status for result in results_of(store, store.plan())]
    assert found == [Status.SUCCESS, Status.INCOMPLETE, Status.SUCCESS]
    assert payloads(store, "run_repeat") == []
    assert chain(store).intact
    assert containers(client, store) == []


def test_a_container_that_finished_while_no_launcher_lived_counts_with_its_whole_log(
    made, client, tmp_path
):
    store = made(runs=2)
    wait = tmp_path / "data" / "sleep-100"
    wait.touch()
    kill_when(tmp_path, lambda: logged(store, 0, b"eval_accuracy"))
    (orphan,) = containers(client, store)
    top = orphan.top()["Processes"]
    (sleeper,) = (row[1] for row in top if row[-1] == "sleep 60")
    subprocess.run(["kill", sleeper], check=True)  # the trainer's sleep is over, it goes on
    assert orphan.wait(timeout=30)["StatusCode"] == 0
    assert not logged(store, 0, b"run_stop")
    assert fakerun.work(store)[0] is Outcome.COMPLETE
    assert logged(store, 0, b"run_stop")
    assert store.ended(0)["ended"] == "exited"
    assert store.ended(0)["log_agrees"]
    assert [result.status for result in results_of(store, store.plan())] == [Status.SUCCESS] * 2
    assert containers(client, store) == []


def test_a_real_run_on_an_engine_without_gpus_is_refused_before_anything_is_written(
    tmp_path, image, client, monkeypatch, capsys
):
    if "nvidia" in client.info()["Runtimes"]:
        pytest.skip("this engine has GPUs")
    example = (paths.SYSTEMS / "example-8xh200.yaml").read_text()
    system = tmp_path / "node.yaml"
    system.write_text(re.sub(r"(?m)^(submitter|platform|title):.*", r"\1: Acme", example))
    found = {"name": image, "id": client.images.get(image).id, "labels": {}}
    monkeypatch.setattr("launcher.containers._image", lambda *_: (found, False))
    monkeypatch.setattr("launcher.dataset.attest", lambda *_, **__: {"rehearsal": False})
    arguments = ["run", "--task", "resnet", "--system", str(system), "--data", str(tmp_path)]
    assert cli.run([*arguments, "--results", str(tmp_path / "results")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "NVIDIA Container Toolkit" in said
    assert not list((tmp_path / "results").rglob("plan.json"))
