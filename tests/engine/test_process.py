import os
import subprocess
import sys
import threading
import time

import pytest

from launcher.engine.base import ContainerSpec, Ended, Mount
from launcher.engine.process import ProcessEngine
from launcher.errors import ConfigError, EngineError


@pytest.fixture
def tree(tmp_path):
    place = tmp_path / "tree" / "benchmark"
    place.mkdir(parents=True)
    return place


def spec(tree, script, name="a", **changes):
    program = tree / "run_and_time.sh"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)
    values = {
        "image": "",
        "name": f"{name}-{tree}",
        "command": ("./run_and_time.sh", "--data", "/data/x", "/database"),
        "working_dir": "/workspace/training/benchmark",
        "mounts": (
            Mount(source=tree.parent, target="/workspace/training", read_only=True),
            Mount(source=tree, target="/data", read_only=True),
        ),
        "labels": {"gp2bm.set": str(tree)},
        "environment": {"HOME": "/nowhere"},
        "all_gpus": False,
        "network": "none",
        "init": True,
        "shm_bytes": 0,
        "stop_grace_s": 0.5,
    }
    return ContainerSpec(**{**values, **changes})


def run(spec, stopping=lambda: False):
    out, err = bytearray(), bytearray()
    end = ProcessEngine().run(spec, on_stdout=out.extend, on_stderr=err.extend, stopping=stopping)
    return end, bytes(out), bytes(err)


def alive(labels):
    return ProcessEngine().orphans(labels)


def test_output_comes_byte_for_byte_on_two_streams(tree):
    script = "import os\nos.write(1, b'a\\xff\\r\\n' + b'x' * (1 << 20))\nos.write(2, b'\\xfe')"
    end, out, err = run(spec(tree, script))
    assert out == b"a\xff\r\n" + b"x" * (1 << 20)
    assert err == b"\xfe"
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)


def test_mount_targets_become_sources_and_look_alikes_do_not(tree):
    _, out, _ = run(spec(tree, "import os, sys\nprint(os.getcwd(), *sys.argv[1:])"))
    assert out.decode().split() == [str(tree), "--data", f"{tree}/x", "/database"]


def test_the_environment_is_clean(tree, monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    _, out, _ = run(spec(tree, "import os\nprint(*sorted(os.environ))"))
    names = set(out.decode().split())
    assert "SECRET" not in names
    assert names - {"LC_CTYPE"} == {"GP2BM_NAME", "GP2BM_SET", "HOME", "LANG", "PATH"}


@pytest.mark.parametrize(("script", "code"), [("exit(7)", 7), ("import os; os.abort()", 134)])
def test_a_failing_program_is_an_exit_not_an_error(tree, script, code):
    end, _, _ = run(spec(tree, script))
    assert (end.ended, end.exit_code) == (Ended.EXITED, code)


def test_every_run_has_its_own_identity(tree):
    ends = {run(spec(tree, ""))[0].container_id for _ in range(3)}
    assert len(ends) == 3


def test_stopping_ends_the_whole_family_even_when_it_ignores_sigterm(tree):
    script = (
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    chosen, up = spec(tree, script), threading.Event()
    began = time.monotonic()
    end = ProcessEngine().run(
        chosen, on_stdout=lambda _: up.set(), on_stderr=lambda _: None, stopping=up.is_set
    )
    assert end.ended is Ended.STOPPED
    assert end.exit_code == 137
    assert time.monotonic() - began < 20
    assert alive(chosen.labels) == []


def test_a_stray_that_keeps_the_output_open_does_not_hang_us(tree):
    script = "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)"
    chosen = spec(tree, script)
    end, _, _ = run(chosen)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)
    assert alive(chosen.labels) == []


def test_a_program_that_closed_its_output_can_still_be_stopped(tree):
    script = "import os, time\nos.close(1); os.close(2)\ntime.sleep(60)"
    soon = time.monotonic() + 1
    end, _, _ = run(spec(tree, script), stopping=lambda: time.monotonic() > soon)
    assert end.ended is Ended.STOPPED


def test_a_callback_that_raises_ends_the_run_and_goes_on(tree):
    def full(_):
        raise OSError(28, "No space left on device")

    chosen = spec(tree, "import time\nprint('up', flush=True)\ntime.sleep(60)")
    with pytest.raises(OSError, match="No space"):
        ProcessEngine().run(chosen, on_stdout=full, on_stderr=full, stopping=lambda: False)
    assert alive(chosen.labels) == []


def test_an_orphan_is_found_by_its_labels_and_ended(tree):
    environment = {**os.environ, "GP2BM_SET": str(tree), "GP2BM_NAME": "lost"}
    with subprocess.Popen(["sleep", "60"], env=environment) as orphan:
        engine = ProcessEngine()
        while not engine.orphans({"gp2bm.set": str(tree)}):  # until exec
            time.sleep(0.01)
        assert engine.orphans({"gp2bm.set": str(tree)}) == ["lost"]
        assert engine.orphans({"gp2bm.set": "another"}) == []
        end = engine.collect("lost", on_stdout=lambda _: None, on_stderr=lambda _: None)
        assert end.ended is Ended.STOPPED
        assert orphan.wait() == -15
    assert engine.orphans({"gp2bm.set": str(tree)}) == []


def test_what_is_missing_is_said_before_the_start(tree):
    chosen = spec(tree, "")
    ProcessEngine().check(chosen, accelerators=0)
    (tree / "run_and_time.sh").chmod(0o644)
    with pytest.raises(EngineError, match="not executable"):
        ProcessEngine().check(chosen, accelerators=0)
    gone = Mount(source=tree / "gone", target="/data", read_only=True)
    with pytest.raises(ConfigError, match="gone"):
        ProcessEngine().check(spec(tree, "", mounts=(gone,)), accelerators=0)


def test_a_program_that_cannot_be_started_is_an_engine_error(tree):
    broken = spec(tree, "")
    (tree / "run_and_time.sh").write_text("#!/nowhere/python\n")
    with pytest.raises(EngineError, match="cannot be started"):
        ProcessEngine().run(broken, on_stdout=bytes, on_stderr=bytes, stopping=lambda: False)
