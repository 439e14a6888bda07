import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_common.failure import OUT_OF_MEMORY

FILES = Path(__file__).parents[3] / "patches/common/files"

# Holds the main thread in one C call that Python's own signal handling cannot leave.
HANG = """
import ctypes, sys
from pytorch_common.failure import stop_on_termination
from pytorch_common.mlperf import RunLog
log = RunLog(rank=0)
stop_on_termination(log)
log.run_start()
libc = ctypes.CDLL(None)
print("hanging", flush=True)
while True:
    libc.sleep(1000)
"""

FAIL = """
import torch
from pytorch_common.failure import *
from pytorch_common.mlperf import RunLog
log = RunLog(rank=0)
with guarded(log):
    log.run_start()
    raise {error}
"""


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(FILES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_record(stdout):
    record = json.loads(stdout.splitlines()[-1].removeprefix(":::MLLOG "))
    assert record["key"] == "run_stop"
    return record["metadata"]


def test_sigterm_stops_the_clock_while_the_main_thread_hangs():
    process = start(HANG)
    while process.stdout.readline() != "hanging\n":
        pass
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 143
    assert stop_record(stdout)["status"] == "aborted"
    assert "SIGTERM" in stderr


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        ("DivergedError('loss is nan at step 7')", 0, "loss is nan at step 7"),
        ("RunError('train/ is empty')", 2, "train/ is empty"),
        (
            "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has')",
            2,
            f"{OUT_OF_MEMORY} (CUDA out of memory)",
        ),
        ("KeyError('x')", 1, "KeyError: 'x'"),
    ],
)
def test_every_failure_leaves_an_aborted_run_stop_with_its_reason(error, status, reason):
    process = start(FAIL.format(error=error))
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == status
    stopped = stop_record(stdout)
    assert (stopped["status"], stopped["reason"]) == ("aborted", reason)
    assert stderr.count("Traceback") == (status == 1)


# At exit, a communicator that a CUDA graph refers to is waited for: here, a thread is.
CLING = """
import threading, time
from pytorch_common.failure import guarded
from pytorch_common.mlperf import RunLog
threading.Thread(target=time.sleep, args=(1000,)).start()
with guarded(RunLog(rank=0)):
    raise KeyError("x")
"""


def test_a_failing_rank_dies_at_once_so_that_torchrun_ends_the_others():
    process = start(CLING)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "KeyError: 'x'" in stderr
