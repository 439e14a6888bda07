import contextlib
import itertools
import subprocess
import threading
import time

import docker
import pytest

from launcher.engine.base import LABEL, ContainerSpec, Ended, Mount
from launcher.engine.docker import DockerEngine
from launcher.errors import EngineError, HostError

pytestmark = pytest.mark.docker

SILENCE = "sleep 60"
_numbers = itertools.count()


@pytest.fixture
def engine():
    with contextlib.closing(DockerEngine(timeout_s=2)) as engine:
        yield engine


@pytest.fixture
def spec(image, label):
    def make(script, **changes):
        values = {
            "image": image,
            "name": f"enginetest-{label}-{next(_numbers)}",
            "command": ("sh", "-c", script),
            "working_dir": "/",
            "labels": {LABEL: label},
            "all_gpus": False,
            "network": "none",
            "init": True,
            "shm_bytes": 64 << 20,
            "stop_grace_s": 1.0,
        }
        return ContainerSpec(**{**values, **changes})

    return make


def run(engine, spec, stopping=lambda: False):
    out, err = bytearray(), bytearray()
    end = engine.run(spec, on_stdout=out.extend, on_stderr=err.extend, stopping=stopping)
    return end, bytes(out), bytes(err)


def left(client, label):
    return client.containers.list(all=True, filters={"label": f"{LABEL}={label}"})


def test_ten_containers_have_ten_identities_and_none_is_left(engine, spec, client, label):
    identities = set()
    for number in range(10):
        chosen = spec(f"echo {number}")
        end, out, _ = run(engine, chosen)
        assert out == f"{number}\n".encode()
        engine.remove(chosen.name)
        identities.add(end.container_id)
    assert len(identities) == 10
    assert left(client, label) == []


def test_stdout_is_byte_identical(engine, spec):
    """With a line of 1 MB, no newline at the end, NUL, CR and bytes that are not UTF-8."""
    script = (
        "printf 'a\\377\\000\\r\\n\\n'; head -c 1048576 /dev/zero | tr '\\0' x; "
        "printf '\\ny'; printf 'e\\376' >&2"
    )
    options = {"max-size": "1t", "max-file": "1", "compress": "false"}
    end, out, err = run(engine, spec(script, log_options=options))
    assert out == b"a\xff\0\r\n\n" + b"x" * (1 << 20) + b"\ny"
    assert err == b"e\xfe"
    assert end.exit_code == 0
    assert end.log_agrees


def test_a_container_silent_for_longer_than_the_client_waits_is_not_an_error(engine, spec):
    end, out, _ = run(engine, spec("echo a; sleep 5; echo b"))
    assert (end.ended, end.exit_code, out) == (Ended.EXITED, 0, b"a\nb\n")


def test_a_failing_container_is_an_exit_not_an_error(engine, spec):
    end, _, err = run(
        engine, spec("echo bad >&2; sleep 0.2; exit 7")
    )  # the engine's own clock of a start may lag
    assert (end.ended, end.exit_code, err) == (Ended.EXITED, 7, b"bad\n")
    assert end.started_at < end.finished_at


@pytest.mark.parametrize("script", [SILENCE, "trap '' TERM; while :; do sleep 1; done"])
def test_stopping_is_bounded_even_when_sigterm_is_ignored(engine, spec, script):
    began = time.monotonic()
    end, out, _ = run(engine, spec(f"echo up; {script}"), stopping=lambda: True)
    assert end.ended is Ended.STOPPED
    assert time.monotonic() - began < 10
    assert out in (b"", b"up\n")


def test_a_broken_stream_is_completed_from_the_engines_copy(engine, spec, monkeypatch):
    read = itertools.chain([b""])  # the connection dies at once
    monkeypatch.setattr("launcher.engine.docker._read", lambda _: next(read))
    end, out, err = run(engine, spec("for i in 1 2 3; do echo $i; sleep 0.3; done; echo e >&2"))
    assert (out, err) == (b"1\n2\n3\n", b"e\n")
    assert end.log_agrees
    assert end.exit_code == 0


def test_a_stream_that_hangs_after_the_end_is_left(engine, spec, monkeypatch):
    monkeypatch.setattr("launcher.engine.docker.select.select", _never_ready)
    monkeypatch.setattr("launcher.engine.docker.STATE_S", 0.2)
    monkeypatch.setattr("launcher.engine.docker.DRAIN_S", 0.2)
    _, out, _ = run(engine, spec("echo all of it"))
    assert out == b"all of it\n"


def _never_ready(*_):
    time.sleep(0.05)
    return [], [], []


def test_a_callback_that_raises_stops_the_container_and_keeps_its_log(engine, spec, client):
    def full(_):
        raise OSError(28, "No space left on device")

    chosen = spec(f"echo evidence; {SILENCE}")
    with pytest.raises(OSError, match="No space"):
        engine.run(chosen, on_stdout=full, on_stderr=full, stopping=lambda: False)
    assert client.containers.get(chosen.name).wait(timeout=10)["StatusCode"] == 137
    again = bytearray()
    engine.collect(chosen.name, on_stdout=again.extend, on_stderr=again.extend)
    assert again == b"evidence\n"


def test_orphans_are_found_by_label_and_their_output_is_whole(engine, spec, client, label):
    running, ended, other = spec(f"echo r; {SILENCE}"), spec("echo e; exit 3"), spec("true")
    for chosen in (running, ended):
        shape = {"name": chosen.name, "labels": chosen.labels, "init": True, "detach": True}
        client.containers.run(chosen.image, list(chosen.command), **shape)
    client.containers.get(ended.name).wait(timeout=10)
    assert engine.orphans({LABEL: label}) == sorted([running.name, ended.name])
    assert engine.orphans({LABEL: "another"}) == []
    out = bytearray()
    end = engine.collect(ended.name, on_stdout=out.extend, on_stderr=out.extend)
    assert (end.ended, end.exit_code, out) == (Ended.EXITED, 3, b"e\n")
    end = engine.collect(running.name, on_stdout=out.extend, on_stderr=out.extend)
    assert end.ended is Ended.STOPPED
    for chosen in (running, ended, other):  # the last was never there
        engine.remove(chosen.name)
    assert engine.orphans({LABEL: label}) == []


def test_a_container_created_but_never_started_is_lost(engine, spec, client):
    chosen = spec("true")
    client.containers.create(chosen.image, list(chosen.command), name=chosen.name)
    end = engine.collect(chosen.name, on_stdout=lambda _: None, on_stderr=lambda _: None)
    engine.remove(chosen.name)
    assert (end.ended, end.exit_code) == (Ended.LOST, None)


def test_a_container_removed_under_our_feet_is_lost(engine, spec, client):
    chosen, up = spec(f"echo up; {SILENCE}"), threading.Event()

    def remove():
        up.wait(10)
        client.containers.get(chosen.name).remove(force=True)

    thread = threading.Thread(target=remove)
    thread.start()
    end = engine.run(
        chosen, on_stdout=lambda _: up.set(), on_stderr=lambda _: None, stopping=lambda: False
    )
    thread.join()
    assert end.ended is Ended.LOST


def test_a_name_that_is_taken_is_one_sentence_and_touches_nothing(engine, spec, client):
    chosen = spec("true")
    taken = client.containers.create(chosen.image, ["true"], name=chosen.name)
    with pytest.raises(EngineError, match=f"docker rm -f {chosen.name}"):
        run(engine, chosen)
    taken.remove()


def test_the_container_has_the_shape_of_its_spec(engine, spec, client, tmp_path):
    (tmp_path / "in").write_text("data")
    chosen = spec(
        "cat /data/in; echo x >/data/out",
        mounts=(Mount(source=tmp_path, target="/data", read_only=True),),
        ulimits={"stack": (64 << 20, 64 << 20)},
        cap_add=("SYS_NICE",),
        user="0:1000",
        environment={"A": "b"},
    )
    end, out, err = run(engine, chosen)
    assert out == b"data"
    assert b"Read-only" in err
    assert end.exit_code
    attributes = client.containers.get(chosen.name).attrs
    shape = attributes["HostConfig"]
    assert shape["NetworkMode"] == "none"
    assert shape["Init"] is True
    assert shape["IpcMode"] == "private"
    assert shape["ShmSize"] == 64 << 20
    assert shape["CapAdd"] == ["SYS_NICE"]
    assert {"Name": "stack", "Soft": 64 << 20, "Hard": 64 << 20} in shape["Ulimits"]
    assert not shape["Privileged"]
    assert attributes["Config"]["User"] == "0:1000"
    assert "A=b" in attributes["Config"]["Env"]


def test_an_image_that_is_not_here_is_not_pulled_but_named(engine, spec):
    with pytest.raises(EngineError, match=r"no/such:image is not on this machine.*make images"):
        engine.check(spec("true", image="no/such:image"), accelerators=0)


def test_an_engine_without_gpus_says_what_to_install(engine, spec, client, label):
    if "nvidia" in client.info()["Runtimes"]:
        pytest.skip("this engine has GPUs")
    with pytest.raises(HostError, match="NVIDIA Container Toolkit"):
        engine.check(spec("true", all_gpus=True), accelerators=8)
    assert left(client, label) == []


def test_a_program_that_is_not_in_the_image_is_one_sentence(engine, spec, client, label):
    with pytest.raises(EngineError, match="not-there"):
        run(engine, spec("", command=("not-there",), init=False))
    assert left(client, label) == []


def test_our_engine_agrees_with_the_docker_command(engine, spec, image):
    script = "head -c 100000 /dev/urandom >/tmp/x; cat /tmp/x; printf '\\n'; cat /tmp/x >&2"
    _, out, err = run(engine, spec(script))
    assert out == err + b"\n"
    assert len(err) == 100000
    plain = subprocess.run(
        ["docker", "run", "--rm", image, "sh", "-c", "printf 'a\\377'"],
        check=True,
        capture_output=True,
    )
    assert run(engine, spec("printf 'a\\377'"))[1] == plain.stdout


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_one_sentence():
    with pytest.raises(EngineError, match="start it, or rehearse"):
        DockerEngine()


def test_the_sdk_is_the_one_we_know():
    assert docker.__version__.startswith("7.")
