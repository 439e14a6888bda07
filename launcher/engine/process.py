"""The engine's protocol without containers: one fresh process group per seed, for rehearsals.

Mount targets in the command become their sources, the environment is clean, and every process of a
run carries the run's labels in its environment, which is how strays are found and ended. It gives
no isolation: network, devices and the file system are the host's.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess  # noqa: TID251 - this module starts the processes of a rehearsal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from launcher.engine.base import ContainerSpec, Ended, Exit, OnOutput, Stopping
from launcher.errors import ConfigError, EngineError

TICK_S = 0.5  # how often a quiet process is looked after
DRAIN_S = 5.0  # how long a stray may keep the output open after the process ended
KILL_S = 30.0  # how long a killed process may take to end
NAME = "GP2BM_NAME"  # the environment variable that every process of a run carries


class ProcessEngine:
    """Runs the command of a spec as a process of this machine."""

    name = "process"

    def check(self, spec: ContainerSpec, *, accelerators: int) -> None:
        """Raise ConfigError or EngineError when the spec's command is not here to be started."""
        del accelerators  # the training program counts them itself
        for mount in spec.mounts:
            if not mount.source.exists():
                raise ConfigError(f"{mount.source} (for {mount.target}) does not exist.")
        program = Path(_rewritten(spec.working_dir, spec), spec.command[0])
        if shutil.which(program) is None:
            raise EngineError(f"{program} is not there or not executable; restore it with git.")

    def run(
        self, spec: ContainerSpec, *, on_stdout: OnOutput, on_stderr: OnOutput, stopping: Stopping
    ) -> Exit:
        """Start a fresh process group and hand over its output until it has ended."""
        started_at = _now()
        process = _started(spec)
        identity = f"process-{process.pid}-{_start_ticks(process.pid)}"
        try:
            stopped = _pump(process, spec, on_stdout, on_stderr, stopping)
        finally:  # also when a callback raised
            _end_all({NAME: spec.name}, grace_s=0)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        return Exit(
            ended=Ended.STOPPED if stopped else Ended.EXITED,
            exit_code=_exit_code(process.returncode),
            container_id=identity,
            started_at=started_at,
            finished_at=_now(),
        )

    def orphans(self, labels: Mapping[str, str]) -> list[str]:
        """Name the runs of which a process still lives, found by the labels in its environment."""
        wanted = {_variable(key): value for key, value in labels.items()}
        return sorted({environment[NAME] for _, environment in _carrying(wanted)})

    def collect(self, name: str, *, on_stdout: OnOutput, on_stderr: OnOutput) -> Exit:
        """End what still lives of a run; its output went with the launcher that read it."""
        del on_stdout, on_stderr
        _end_all({NAME: name}, grace_s=10)
        now = _now()
        return Exit(
            ended=Ended.STOPPED,
            exit_code=None,
            container_id=name,
            started_at="",
            finished_at=now,
            log_agrees=False,
        )

    def remove(self, name: str) -> None:
        """End what still lives of a run."""
        _end_all({NAME: name}, grace_s=0)


def _started(spec: ContainerSpec) -> "subprocess.Popen[bytes]":
    command = [_rewritten(word, spec) for word in spec.command]
    try:
        return subprocess.Popen(
            command,
            cwd=_rewritten(spec.working_dir, spec),
            env=_environment(spec),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise EngineError(f"{command[0]} cannot be started: {error}.") from error


def _pump(
    process: "subprocess.Popen[bytes]",
    spec: ContainerSpec,
    on_stdout: OnOutput,
    on_stderr: OnOutput,
    stopping: Stopping,
) -> bool:
    """Hand over output until the process ended and its output closed; say if we stopped it."""
    sinks = {
        stream.fileno(): sink
        for stream, sink in ((process.stdout, on_stdout), (process.stderr, on_stderr))
        if stream is not None
    }
    stopped, kill_at, drained_at = False, float("inf"), float("inf")
    while sinks and time.monotonic() < drained_at:
        for number in select.select(list(sinks), [], [], TICK_S)[0]:
            data = os.read(number, 1 << 16)
            sinks[number](data) if data else sinks.pop(number)
        if not stopped and stopping():
            stopped, kill_at = True, time.monotonic() + spec.stop_grace_s
            _signal_group(process.pid, signal.SIGTERM)
        elif time.monotonic() >= kill_at:
            _end_all({NAME: spec.name}, grace_s=0)
        if drained_at == float("inf") and process.poll() is not None:
            drained_at = time.monotonic() + DRAIN_S
    return stopped or _outlive(process, spec, stopping)


def _outlive(process: "subprocess.Popen[bytes]", spec: ContainerSpec, stopping: Stopping) -> bool:
    """Wait for a process that closed its output but lives; say if we stopped it."""
    while process.poll() is None:
        if stopping():
            _end_all({NAME: spec.name}, grace_s=spec.stop_grace_s)
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK_S)
    return False


def _rewritten(word: str, spec: ContainerSpec) -> str:
    """Replace a mount's target at the head of a word by the mount's source."""
    for mount in spec.mounts:
        if word == mount.target or word.startswith(f"{mount.target}/"):
            return str(mount.source) + word[len(mount.target) :]
    return word


def _environment(spec: ContainerSpec) -> dict[str, str]:
    """Return a clean environment that finds this Python first and names the run."""
    path = f"{Path(sys.executable).parent}:{os.defpath}:/usr/local/bin"
    labels = {_variable(key): value for key, value in spec.labels.items()}
    return {"PATH": path, "LANG": "C.UTF-8", **spec.environment, **labels, NAME: spec.name}


def _variable(label: str) -> str:
    return label.upper().replace(".", "_")


def _carrying(wanted: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the living processes whose environment has these variables."""
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = place.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if NAME in environment and wanted.items() <= environment.items():
            yield int(place.parent.name), environment


def _end_all(wanted: Mapping[str, str], *, grace_s: float) -> None:
    """End every process that carries these variables: SIGTERM, then after the grace SIGKILL."""
    kill_at = time.monotonic() + grace_s
    give_up_at = kill_at + KILL_S
    while found := [pid for pid, _ in _carrying(wanted) if pid != os.getpid()]:
        number = signal.SIGKILL if time.monotonic() >= kill_at else signal.SIGTERM
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if time.monotonic() >= give_up_at:
            raise EngineError(f"process {found[0]} does not end although it was killed; end it.")
        time.sleep(0.05)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _start_ticks(pid: int) -> str:
    """Return when the kernel started this process: with the pid, an id no other process has."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]


def _exit_code(returned: int) -> int:
    """Spell death by a signal as shells and Docker do."""
    return 128 - returned if returned < 0 else returned


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
