"""Long work: restarted after any kill, claimed by one, shown to whoever asks."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.prepare import sources, wikipedia, work
from launcher.prepare.progress import Meter, Progress
from launcher.prepare.work import Crew, Receipt, Unit

KILLS = 5  # moments for each benchmark

# Counts the file operations of a preparation and kills itself, by SIGKILL, at one of them.
CHILD = """
import os, signal, sys
from launcher.core.benchmark import Benchmark
from launcher.prepare import conversion, imagenet, shards, sources, wikipedia
from launcher.prepare.work import Crew

benchmark, source, data, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
imagenet.PER_SHARD = imagenet.Options.__init__.__kwdefaults__["per_shard"] = 8
count = 0

def hook(event, _arguments):
    global count
    if event in {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "fcntl.flock"}:
        count += 1
        if count == limit:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
crew = Crew(root=sources.Path(data))
request = sources.Request(source=sources.Path(source), crew=crew, rehearsal=True)
sources.prepare(Benchmark(benchmark), request)
print(count)
"""


def start(benchmark, source, data, limit):
    command = [sys.executable, "-c", CHILD, benchmark, str(source), str(data), str(limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["resnet", "bert"])
def test_killed_at_random_moments_the_result_is_the_undisturbed_one(
    benchmark, miniature, wikipedia_records, tmp_path
):
    source = wikipedia_records
    if benchmark == "resnet":
        source = miniature("tars", tmp_path / "source")
    undisturbed = start(benchmark, source, tmp_path / "whole", 0)
    operations = int(undisturbed.stdout)
    expected = contents(tmp_path / "whole")
    moments = random.SystemRandom().sample(range(1, operations + 1), KILLS)
    for moment in moments:
        root = tmp_path / f"killed-{moment}"
        killed = start(benchmark, source, root, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        for name, content in contents(root).items():
            if not name.startswith(work.STATE) and not Path(name).name.startswith("."):
                assert content == expected[name], f"half a {name} at {moment}"
        resumed = start(benchmark, source, root, 0)
        assert resumed.returncode == 0, resumed.stderr
        assert contents(root) == expected, moment


def slow_unit(unit, staging):
    (staging / unit.name).write_text(str(os.getpid()))
    time.sleep(unit.arguments)
    return Receipt(files=(dataset.describe(staging, staging / unit.name),))


PARENT = """
import sys
sys.path.insert(0, sys.argv[2])
import test_work
from launcher.prepare import sources, wikipedia, work
units = [work.Unit(name=name, bytes=1, arguments=60) for name in "ab"]
root = test_work.Path(sys.argv[1])
if __name__ == "__main__":
    work.run("sleep", units, test_work.slow_unit, work.Crew(root=root, workers=2))
"""


@pytest.mark.slow
def test_workers_of_a_killed_launcher_do_not_live_on(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(tmp_path / "root"), str(Path(__file__).parent)]
    with subprocess.Popen(command, env=paths) as parent:
        written = wait_for(lambda: list((tmp_path / "root").glob(".prepare/partial-*/[ab]")), 2)
        parent.kill()
    for path in written:
        process = Path("/proc", path.parent.name.removeprefix("partial-"))
        wait_for(lambda process=process: [] if process.exists() else [1], 1)


def wait_for(look, number):
    deadline = time.monotonic() + 60
    while len(found := look()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def quick_unit(unit, staging):
    if unit.arguments == "fail":
        raise OSError(28, "No space left on device")
    (staging / unit.name).write_text(unit.name * 3)
    return Receipt(files=(dataset.describe(staging, staging / unit.name),), samples=1)


def test_finished_units_are_not_done_again_and_keep_their_order(tmp_path):
    units = [Unit(name=name, bytes=10) for name in "cab"]
    done = []

    def build(unit, staging):
        done.append(unit.name)
        return quick_unit(unit, staging)

    first = work.run("step", units[:2], build, Crew(root=tmp_path))
    second = work.run("step", units, build, Crew(root=tmp_path))
    assert done == ["c", "a", "b"]
    assert second[:2] == first
    assert [receipt.files[0].path for receipt in second] == ["c", "a", "b"]


def test_a_unit_whose_file_is_gone_is_done_again(tmp_path):
    units = [Unit(name="a", bytes=1)]
    work.run("step", units, quick_unit, Crew(root=tmp_path))
    (tmp_path / "a").unlink()
    work.run("step", units, quick_unit, Crew(root=tmp_path))
    assert (tmp_path / "a").read_text() == "aaa"


def test_a_full_disk_is_said_in_one_sentence_and_leaves_no_half_file(tmp_path):
    units = [Unit(name="a", bytes=1), Unit(name="b", bytes=1, arguments="fail")]
    with pytest.raises(work.HostError, match=r"b: .*No space left"):
        work.run("step", units, quick_unit, Crew(root=tmp_path))
    assert sorted(path.name for path in tmp_path.glob("[ab]")) == ["a"]
    assert not list((tmp_path / work.STATE).glob("partial-*"))


@pytest.mark.slow
def test_several_workers_give_what_one_gives(tmp_path, wikipedia_records):
    for workers in (1, 3):
        wikipedia.prepare(
            wikipedia.Options(
                source=wikipedia_records,
                crew=Crew(root=tmp_path / str(workers), workers=workers),
                rehearsal=True,
            )
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def interrupted(root, source, *, done):
    with work.claimed(root, source) as state:
        (state / "receipts" / done).touch()
        raise KeyboardInterrupt


def test_a_destination_is_for_one_launcher_and_one_source(tmp_path):
    claim = work.claimed(tmp_path, {"a": 1})
    with (
        claim,
        pytest.raises(ConfigError, match="another launcher"),
        work.claimed(tmp_path, {"a": 1}),
    ):
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, {"a": 1, "b": 0}, done="one.json")
    other = work.claimed(tmp_path, {"a": 2, "b": 0})
    with pytest.raises(ConfigError, match=r"begun from another source \(a changed, see"), other:
        pass
    (tmp_path / work.STATE / "receipts/one.json").unlink()
    with work.claimed(tmp_path, {"a": 1}) as state:
        assert json.loads((state / "source.json").read_text()) == {"a": 1}
    assert not (tmp_path / work.STATE).exists()


def test_a_start_that_made_nothing_does_not_bind_the_next_one(tmp_path):
    """`prepare` refuses an incomplete download; the same with --rehearsal is a new beginning."""
    with pytest.raises(ZeroDivisionError), work.claimed(tmp_path, {"rehearsal": False}):
        1 / 0  # noqa: B018 - the source is refused
    with work.claimed(tmp_path, {"rehearsal": True}) as state:
        assert json.loads((state / "source.json").read_text()) == {"rehearsal": True}


def test_progress_counts_items_bytes_rate_and_time_left():
    seen = []
    meter = Meter("pack", total=4, bytes_total=400, report=seen.append)
    meter.resume(1, 100)
    time.sleep(0.05)
    meter.add(1, 150)
    last = seen[-1]
    assert (last.done, last.total, last.bytes_done) == (2, 4, 250)
    assert 0 < last.bytes_per_s < 150 / 0.05
    assert last.eta_s == pytest.approx(150 / last.bytes_per_s)


def test_without_a_rate_there_is_no_time_left():
    progress = Progress(
        step="x", done=1, total=2, bytes_done=5, bytes_total=9, bytes_before=5, elapsed_s=1
    )
    assert progress.eta_s is None


def test_workers_are_bounded_by_the_memory_that_is_free(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 64000000 kB\nMemAvailable: 10000000 kB\n")
    monkeypatch.setattr(work, "MEMORY", meminfo)
    crew = Crew(root=tmp_path, workers=8)
    assert work.bounded(crew, 4_000_000_000).workers == 2
    assert work.bounded(crew, 1_000_000_000).workers == 8
    assert work.bounded(crew, 40_000_000_000).workers == 1


def test_what_is_already_made_needs_no_space_again(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 500})()
    monkeypatch.setattr(work.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(work.HostError, match="set needs"):
        work.require_space(tmp_path, 1000, "the set")
    (tmp_path / "half").write_bytes(bytes(600))
    work.require_space(tmp_path, 1000, "the set")


def test_what_a_kill_after_the_last_step_left_is_swept_up(prepared):
    root = prepared["bert"]
    leftovers = (root / work.STATE / "receipts", work.text_place(root) / work.STATE)
    for leftover in leftovers:
        leftover.mkdir(parents=True)
    request = sources.Request(source=root, crew=Crew(root=root), rehearsal=True)
    assert sources.prepare(Benchmark.BERT, request) == dataset.read(root)[0]
    assert not (root / work.STATE).exists()
    assert not work.text_place(root).exists()
