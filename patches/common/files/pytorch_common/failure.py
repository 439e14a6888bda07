"""Ends of a run that nobody wished for: one clear sentence, a stopped clock, an exit status.

It never retries and never hides: whatever ends the run after run_start leaves a run_stop "aborted"
with the reason, and a run that could not start says why in one sentence on stderr.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import NoReturn

import torch

from pytorch_common.mlperf import RunLog

EXIT_BROKEN = 1  # a bug or a broken machine; there is a traceback
EXIT_REFUSED = 2  # the input or the machine is not fit; the sentence says what to change
EXIT_TERMINATED = 128 + signal.SIGTERM
OUT_OF_MEMORY = (
    "hyperparameters.yaml: a micro-batch does not fit into the device's memory; raise"
    " gradient_accumulation_steps or choose a preset for less memory"
)


class RunError(Exception):
    """The run cannot go on: one sentence with fact, place and remedy."""


class DivergedError(RunError):
    """Training left the finite numbers: the run is over, and that is its result."""


@contextlib.contextmanager
def guarded(log: RunLog) -> Iterator[None]:
    """Run the body; turn its failures into run_stop "aborted", a sentence and an exit status.

    A diverged run ended by itself, so it leaves with status 0; a RunError with 2, and so does a
    device without enough memory. Anything else is a bug or a broken machine and keeps its
    traceback.
    """
    try:
        yield
    except DivergedError as error:
        log.run_stop("aborted", reason=str(error))
        print(f"aborted: {error}", file=sys.stderr, flush=True)
    except RunError as error:
        _refuse(log, str(error))
    except torch.OutOfMemoryError as error:
        _refuse(log, f"{OUT_OF_MEMORY} ({_first_sentence(error)})")
    except BaseException as error:  # noqa: BLE001 - the last word of a process, with its traceback
        log.run_stop("aborted", reason=f"{type(error).__name__}: {error}")
        traceback.print_exc()
        _die(EXIT_BROKEN)


def _refuse(log: RunLog, sentence: str) -> NoReturn:
    log.run_stop("aborted", reason=sentence)
    print(f"error: {sentence}", file=sys.stderr)
    _die(EXIT_REFUSED)


def _die(status: int) -> NoReturn:
    """Leave at once: peers may hold this process in a collective, and at exit it would join them.

    Communicators that a CUDA graph refers to are not destroyed at exit either, but waited for.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _first_sentence(error: Exception) -> str:
    """Return the fact without torch's advice, which is about its allocator."""
    return str(error).partition(". ")[0]


def stop_on_termination(log: RunLog) -> None:
    """Make SIGTERM stop the clock at once, also while the main thread hangs in a collective.

    torchrun sends SIGTERM to all ranks when one dies, the launcher when it stops the container. A
    Python handler would wait for the main thread, which may sit in a NCCL call for ever; but the
    interpreter's C handler writes to a pipe at once, and a thread of its own reads it.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # set_wakeup_fd demands it
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_await_termination, args=(log, reader), daemon=True).start()


def _await_termination(log: RunLog, reader: int) -> None:
    while os.read(reader, 1) != bytes([signal.SIGTERM]):
        pass  # another signal with a handler, such as SIGINT
    reason = "terminated by SIGTERM: another rank died, or the container was stopped"
    log.run_stop("aborted", reason=reason)
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(EXIT_TERMINATED)
