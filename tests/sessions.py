"""Sessions of a launcher whose runs are scripts: what their ledgers say, and ways to end them."""

import subprocess
import sys
import time

from launcher.core import ledger
from launcher.paths import ROOT
from launcher.session import results_of

STARTED = ["init", "start", "sleep 60"]  # the clock runs, and nothing more comes
STARTING = ["init", "sleep 60"]  # the clock never starts


def events(store):
    chain = ledger.verify((store.folder / "ledger.jsonl").read_bytes())
    assert chain.intact
    return [(record.event, record.payload.get("run")) for record in chain.records]


def payloads(store, event):
    chain = ledger.verify((store.folder / "ledger.jsonl").read_bytes())
    return [record.payload for record in chain.records if record.event == event]


def statuses(store):
    return [result.status for result in results_of(store, store.plan())]


def wait_for(condition, seconds=30):
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.02)


def launch(folder):
    """Start a launcher of its own that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakerun", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def logged(store, number, text):
    log = store.run(number).log
    return log.exists() and text in log.read_bytes()
