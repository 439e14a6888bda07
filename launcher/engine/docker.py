"""One container by the Docker SDK: spec in, output bytes and Exit out.

Output is read from an attached stream, with our own polling: a silent container is not an error, a
stream that hangs or dies is noticed by asking for the container's state, and the engine's copy of
the log fills what did not arrive. Every wait is bounded. It removes no container that ever ran:
whoever holds its log and exit state on disk says `remove`.
"""

import contextlib
import re
import select
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from socket import SocketIO
from typing import Any

import docker  # noqa: TID251 - this module is the seam to Docker
import docker.errors  # noqa: TID251
import requests
from docker.models.containers import Container  # noqa: TID251

from launcher.engine.base import ContainerSpec, Exit, OnOutput, Stopping
from launcher.engine.docker_words import ending, options, refused
from launcher.engine.frames import STDERR, STDOUT, Differs, Frames, Tally
from launcher.errors import EngineError, HostError

TIMEOUT_S = 60  # of one request to the engine
TICK_S = 0.5  # how often a quiet container is looked after
STATE_S = 5.0  # how often its state is asked for while its stream is open
DRAIN_S = 10.0  # how long a stream may stay open after its container ended
PATIENCE_S = 90.0  # how long the engine may be gone (a daemon restart) before we give up
ORPHAN_GRACE_S = 10.0  # between SIGTERM and SIGKILL for a container found running
KILL_S = 30.0  # how long a killed container may take to end

_FAILURES = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@dataclass(slots=True)
class _Watch:
    """What is known about one container while it runs."""

    name: str
    stopping: Stopping
    grace_s: float
    stopped: bool = False  # by us
    kill_at: float = float("inf")
    give_up_at: float = float("inf")
    tallies: dict[int, Tally] = field(default_factory=lambda: {STDOUT: Tally(), STDERR: Tally()})


class DockerEngine:
    """Runs containers on the Docker engine that DOCKER_HOST or the default socket names."""

    name = "docker"

    def __init__(self, *, timeout_s: int = TIMEOUT_S) -> None:
        with _translated("reach"):
            self._client = docker.from_env(timeout=timeout_s)
            self._client.ping()

    def close(self) -> None:
        """Close the connections to the engine."""
        self._client.close()

    def describe(self) -> dict[str, Any]:
        """Return what the engine says of itself, for the plan's host facts."""
        with _translated("describe"):
            facts = self._client.info()
        keys = ("ServerVersion", "Driver", "CgroupDriver", "CgroupVersion", "DefaultRuntime")
        return {key: facts.get(key) for key in keys} | {
            "Runtimes": sorted(facts.get("Runtimes") or {}),
            "SecurityOptions": facts.get("SecurityOptions"),
        }

    def image(self, name: str) -> dict[str, Any]:
        """Return name, id, digests and labels of an image that is here."""
        try:
            with _translated("look for an image at", docker.errors.ImageNotFound):
                image = self._client.images.get(name)
        except docker.errors.ImageNotFound:
            raise EngineError(
                f"the image {name} is not on this machine; build it with `make images`."
            ) from None
        return {
            "name": name,
            "id": image.id,
            "digest": (image.attrs.get("RepoDigests") or [None])[0],
            "labels": dict(image.labels or {}),
        }

    def check(self, spec: ContainerSpec, *, accelerators: int) -> None:
        """Raise EngineError or HostError when this spec cannot be started here."""
        self.image(spec.image)
        if spec.all_gpus:
            seen = self._gpus(spec)
            if seen != accelerators:
                raise HostError(
                    f"the system file says accelerators_per_node is {accelerators}, but a "
                    f"container sees {seen}; correct the file, or free the missing accelerators."
                )

    def run(
        self, spec: ContainerSpec, *, on_stdout: OnOutput, on_stderr: OnOutput, stopping: Stopping
    ) -> Exit:
        """Start a fresh container and hand over its output until it has ended.

        A callback that raises stops the container, and its error goes on.
        """
        watch = _Watch(name=spec.name, stopping=stopping, grace_s=spec.stop_grace_s)
        sinks = {STDOUT: on_stdout, STDERR: on_stderr}
        container = self._create(spec)
        try:
            with self._started(container, spec) as stream:
                self._pump(container, stream, watch, sinks)
            state = self._finish(container, watch)
        except BaseException:
            self._kill_quietly(container)
            raise
        agrees = self._reconcile(container, watch, sinks)
        return ending(str(container.id), state, stopped=watch.stopped, log_agrees=agrees)

    def orphans(self, labels: Mapping[str, str]) -> list[str]:
        """Name the containers that carry these labels, running or not."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        with _translated("list containers of"):
            found = self._client.containers.list(all=True, filters={"label": wanted})
        return sorted(str(container.name) for container in found)

    def collect(self, name: str, *, on_stdout: OnOutput, on_stderr: OnOutput) -> Exit:
        """Stop an orphan if it still runs, hand over all its output, return how it ended."""
        with _translated("find"):
            container = self._client.containers.get(name)
        watch = _Watch(name=name, stopping=lambda: True, grace_s=ORPHAN_GRACE_S)
        state = self._finish(container, watch)
        self._reconcile(container, watch, {STDOUT: on_stdout, STDERR: on_stderr})
        return ending(str(container.id), state, stopped=watch.stopped, log_agrees=True)

    def remove(self, name: str) -> None:
        """Remove a container and its anonymous volumes; one that is gone already is no error."""
        with contextlib.suppress(docker.errors.NotFound), _gone("remove a container of"):
            self._client.containers.get(name).remove(v=True, force=True)

    def _create(self, spec: ContainerSpec) -> Container:
        try:
            with _translated("create a container on", docker.errors.APIError):
                return self._client.containers.create(spec.image, **options(spec))
        except docker.errors.APIError as error:
            if error.status_code == 409:  # noqa: PLR2004 - HTTP: conflict
                raise EngineError(
                    f"a container named {spec.name} exists already; if it is not needed, remove it "
                    f"with `docker rm -f {spec.name}`."
                ) from error
            refused(spec, error)

    @contextlib.contextmanager
    def _started(self, container: Container, spec: ContainerSpec) -> Iterator[SocketIO]:
        """Attach, then start: nothing is printed unheard. One that cannot start is removed."""
        with _translated("attach to a container of"):
            stream: Any = container.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1})
        try:
            with _translated("start a container on", docker.errors.APIError):
                container.start()
            yield stream
        except docker.errors.APIError as error:
            self.remove(spec.name)
            refused(spec, error)
        finally:
            stream._response.close()  # noqa: SLF001 - the SDK hangs the socket's owner there

    def _gpus(self, spec: ContainerSpec) -> int:
        """Count the GPUs that a container of this shape sees, in one that only lists them."""
        listing = ("nvidia-smi", "--list-gpus")
        name, out, err = f"{spec.name}-gpus", bytearray(), bytearray()
        probe = replace(spec, name=name, command=listing, mounts=(), working_dir="/")
        try:
            end = self.run(
                probe, on_stdout=out.extend, on_stderr=err.extend, stopping=lambda: False
            )
        finally:
            self.remove(name)
        if end.exit_code:
            said = err.decode("utf-8", "replace").strip()
            raise HostError(
                f"nvidia-smi fails in a container of {spec.image} ({said}); make it work by "
                f"`docker run --rm --gpus all {spec.image} nvidia-smi`."
            )
        return len(re.findall(rb"^GPU \d+:", out, re.MULTILINE))

    def _pump(
        self,
        container: Container,
        stream: SocketIO,
        watch: _Watch,
        sinks: Mapping[int, OnOutput],
    ) -> None:
        """Hand over output until the stream ends, or hangs although the container ended."""
        frames, ask_at, drained_at = Frames(), time.monotonic() + STATE_S, float("inf")
        while time.monotonic() < drained_at:
            ready, _, _ = select.select([stream], [], [], TICK_S)
            if ready:
                data = _read(stream)
                if not data:
                    return
                for number, piece in frames.feed(data):
                    watch.tallies[number].add(piece)
                    sinks[number](piece)
            self._stop_if_asked(container, watch)
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + STATE_S
                if drained_at == float("inf") and not self._state(container)["Running"]:
                    drained_at = time.monotonic() + DRAIN_S

    def _finish(self, container: Container, watch: _Watch) -> dict[str, Any]:
        """Wait for the end of a container whose stream is closed; return its state."""
        pause_s = 0.002  # a container ends moments after its stream
        while True:
            state = self._state(container)
            if not state["Running"] and state["Status"] not in ("restarting", "removing"):
                return state
            self._stop_if_asked(container, watch)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, TICK_S)

    def _stop_if_asked(self, container: Container, watch: _Watch) -> None:
        """Ask once with SIGTERM, then SIGKILL after the grace; fail if even that does not help."""
        now = time.monotonic()
        if not watch.stopped and watch.stopping():
            watch.stopped = self._signal(container, "SIGTERM")
            watch.kill_at = now + watch.grace_s
        elif now >= watch.kill_at:
            watch.kill_at, watch.give_up_at = float("inf"), now + KILL_S
            self._signal(container, "SIGKILL")
        elif now >= watch.give_up_at:
            raise EngineError(
                f"the container {watch.name} does not end although it was killed; look at "
                f"`docker inspect {watch.name}` and restart the engine."
            )

    def _signal(self, container: Container, signal: str) -> bool:
        """Send a signal; say whether there was a running container to take it."""
        try:
            with _translated("signal a container of", docker.errors.APIError):
                container.kill(signal=signal)
        except docker.errors.APIError:  # it ended in this moment
            return False
        return True

    def _kill_quietly(self, container: Container) -> None:
        """Kill on the way out of an error, which must not be hidden by another one."""
        with contextlib.suppress(EngineError), _translated("stop a container of"):
            container.kill()

    def _state(self, container: Container) -> dict[str, Any]:
        """Ask for the state; outlast a daemon that restarts."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                with _gone("ask"):
                    container.reload()
            except docker.errors.NotFound:
                return {"Running": False, "Status": "lost"}
            except EngineError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(TICK_S)
            else:
                return dict(container.attrs["State"])

    def _reconcile(
        self, container: Container, watch: _Watch, sinks: Mapping[int, OnOutput]
    ) -> bool:
        """Hand over what the engine's copy has and the stream did not bring; say if they agree."""
        agrees = True
        for number, tally in watch.tallies.items():
            try:
                for piece in tally.missing(self._copy(container, number)):
                    if not tally.is_own_newline(piece):
                        sinks[number](piece)
            except Differs:
                agrees = False
        return agrees

    def _copy(self, container: Container, number: int) -> Iterator[bytes]:
        with contextlib.suppress(docker.errors.NotFound), _gone("read the log of"):
            yield from container.logs(stdout=number == STDOUT, stderr=number == STDERR, stream=True)


def _read(stream: SocketIO) -> bytes:
    try:
        return stream.read(1 << 16) or b""
    except OSError:  # the connection died; the engine's copy has the rest
        return b""


def _gone(doing: str) -> contextlib.AbstractContextManager[None]:
    """Translate all but the engine's answer that there is no such container."""
    return _translated(doing, docker.errors.NotFound)


@contextlib.contextmanager
def _translated(doing: str, *answers: type[docker.errors.APIError]) -> Iterator[None]:
    """Turn a silent, absent or failing engine into EngineError; these of its answers pass."""
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, answers):
            raise
        raise EngineError(
            f"cannot {doing} the Docker engine ({type(error).__name__}: {error}); start it, or "
            "rehearse without one by --engine process."
        ) from error
