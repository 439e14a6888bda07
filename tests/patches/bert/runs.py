"""Renders the template and runs the program as the launcher does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jinja2

from launcher.core import presets
from launcher.core.benchmark import Benchmark

ROOT = Path(__file__).parents[3]
OVERLAY = ROOT / "patches/bert/files"
PROGRAM = OVERLAY / "language_model/pytorch/bert"
REAL = next(
    row
    for row in presets.TABLE
    if row.benchmark is Benchmark.BERT and row.hyperparameters["global_batch_size"] == 768
)


def render(*, rehearsal=True, accelerators=None, hyperparameters=None, training=None):
    """Render the template with the launcher's own presets."""
    preset = presets.REHEARSALS[Benchmark.BERT] if rehearsal else REAL
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML
    template = environment.from_string((ROOT / "templates/bert.yaml.j2").read_text())
    return template.render(
        preset=preset,
        implementation="pytorch",
        rehearsal=rehearsal,
        accelerators=preset.accelerators if accelerators is None else accelerators,
        submission={"org": "x", "division": "closed", "status": "onprem", "platform": "y"},
        hyperparameters={**preset.hyperparameters, **(hyperparameters or {})},
        training={**preset.training, **(training or {})},
        notes={},
    )


def environment():
    paths = [str(ROOT / "patches/common/files"), str(PROGRAM.parent)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


def run_program(folder, text, data, *, seed=1, ranks=1, more=(), timeout=240):
    """Run once; return exit status, MLLOG records and stderr."""
    file = folder / "hyperparameters.yaml"
    file.write_text(text)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    program = (
        (PROGRAM / "run_and_time.sh",)
        if ranks == 1
        else (*torchrun, f"--nproc-per-node={ranks}", PROGRAM / "train.py")
    )
    options = ("--hyperparameters", file, "--data", data, "--results", folder, "--seed", str(seed))
    done = subprocess.run(
        [*program, *options, *more],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, records(done.stdout), done.stderr


def records(stdout):
    parts = [line.partition(":::MLLOG ") for line in stdout.splitlines()]
    return [json.loads(text) for _, found, text in parts if found]


def values(log, key):
    return [record["value"] for record in log if record["key"] == key]


def losses(log):
    return [stats["loss"] for stats in values(log, "tracked_stats")]
