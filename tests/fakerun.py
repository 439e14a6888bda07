"""A run set with a trainer of a few lines, and a launcher for it that a test can kill.

The trainer does what data/steps.json says for its seed; everything else is the launcher's own code.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

from rich.console import Console

from launcher.containers import engine_of
from launcher.core.benchmark import Benchmark
from launcher.core.plan import Plan
from launcher.engine import base
from launcher.engine.base import LABEL, ContainerSpec, Mount
from launcher.progress import Board
from launcher.runner import SEED, Limits, Runner, Stop
from launcher.session import rows
from launcher.store import Store

HYPERPARAMETERS = "training:\n  target_accuracy: 0.5\n"
GOOD = ["init", "start", "eval 0.6", "success"]
TRAINER = """
import json, sys, time
seed = sys.argv[sys.argv.index("--seed") + 1]
data = sys.argv[sys.argv.index("--data") + 1]
def log(key, value=None, kind="POINT_IN_TIME", **metadata):
    record = {"namespace": "", "time_ms": time.time_ns() // 1_000_000, "event_type": kind,
              "key": key, "value": value, "metadata": metadata}
    print(":::MLLOG " + json.dumps(record), flush=True)
steps = json.load(open(data + "/steps.json"))
for step in steps.get(seed, steps["all"]):
    word, _, value = step.partition(" ")
    if word == "init":
        log("seed", int(seed)); log("init_start"); log("init_stop")
    elif word == "start":
        log("run_start", kind="INTERVAL_START")
    elif word == "eval":
        log("tracked_stats", {"throughput": 100.0}); log("eval_accuracy", float(value), epoch_num=4)
    elif word in ("success", "aborted"):
        time.sleep(0.01); log("run_stop", kind="INTERVAL_END", status=word)
    elif word == "sleep":
        time.sleep(float(value))
    elif word == "say":
        print(value, file=sys.stderr)
    elif word == "exit":
        sys.exit(int(value))
"""
# The same for an image that has a shell and little else.
SHELL_TRAINER = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --seed ] && seed=$2; shift; done
log() {
  printf ':::MLLOG {"namespace": "", "time_ms": %s, "event_type": "POINT_IN_TIME", "key": "%s", ' \\
    "$(date +%s%3N)" "$1"
  printf '"value": %s, "metadata": {%s}}\\n' "$2" "$3"
}
log seed "$seed"; log init_start null; log init_stop null; log run_start null
log eval_accuracy 0.6 '"epoch_num": 4'
if [ -e "/data/sleep-$seed" ]; then sleep 60; fi
sleep 0.02
log run_stop null '"status": "success"'
"""


def make(
    folder: Path, steps: list[str] | None = None, *, runs: int = 3, image: str = "", **by_seed
) -> Store:
    """Freeze a plan of runs with seeds 100, 101, ... in `folder`/set; return its store.

    With an image, which needs no more than a shell, the runs are Docker's.
    """
    tree, data, place = folder / "tree", folder / "data", folder / "set"
    for each in (tree, data, place):
        each.mkdir(exist_ok=True)
    script = tree / "run_and_time.sh"
    script.write_text(SHELL_TRAINER if image else f"#!{sys.executable}\n{TRAINER}")
    script.chmod(0o755)
    told = {name.removeprefix("s"): value for name, value in by_seed.items()}
    (data / "steps.json").write_text(json.dumps({"all": steps or GOOD, **told}))
    store = Store(place, rehearsal=True)
    store.freeze(plan(folder, runs, image), HYPERPARAMETERS)
    return store


def plan(folder: Path, runs: int, image: str) -> Plan:
    label = hashlib.sha256(str(folder).encode()).hexdigest()[:16] if image else str(folder)
    spec = ContainerSpec(
        image=image,
        name=f"enginetest-{label}" if image else f"fake-{folder.name}",
        command=("./run_and_time.sh", "--data", "/data", "--results", "/results", "--seed", SEED),
        working_dir="/workspace/training",
        mounts=(
            Mount(source=folder / "tree", target="/workspace/training", read_only=True),
            Mount(source=folder / "data", target="/data", read_only=True),
            Mount(source=folder / "set", target="/results", read_only=False),
        ),
        labels={LABEL: label},
        all_gpus=False,
        network="none",
        init=True,
        shm_bytes=0,
        stop_grace_s=1.0,
    )
    return Plan(
        benchmark=Benchmark.RESNET,
        implementation="pytorch",
        rehearsal=True,
        created="2026-01-01T00:00:00Z",
        launcher_version="0",
        seeds=tuple(range(100, 100 + runs)),
        seed_source="os.urandom",
        engine="docker" if image else "process",
        image={"id": image} if image else None,
        source={},
        system={},
        preset="rehearsal",
        hyperparameters={},
        hyperparameters_sha256=hashlib.sha256(HYPERPARAMETERS.encode()).hexdigest(),
        container=base.to_json(spec),
        host={},
        dataset=None,
    )


def work(store: Store, *, stop: Stop | None = None, limits: Limits | None = None, engine=None):
    """Work on the set as `launcher run` does; return the outcome and what was printed."""
    printed = io.StringIO()
    stop = stop or Stop()
    with stop.listening(), store.locked():
        frozen = store.plan()
        board = Board("fake", rows(store, frozen), expected=None, console=Console(file=printed))
        runner = Runner(
            store,
            frozen,
            engine or engine_of(frozen),
            board,
            stop=stop,
            limits=limits or Limits(run_s=60),
        )
        outcome = runner.work()
    return outcome, printed.getvalue()


if __name__ == "__main__":  # a launcher to be killed: python -m tests.fakerun FOLDER
    result, text = work(Store(Path(sys.argv[1]) / "set", rehearsal=True))
    sys.stdout.write(f"{text}{result.value}\n")
