"""A training program, run as the launcher runs it, and its log read back."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher import render

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "patches/common/files"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Where a program lies, and the template of what it reads."""

    folder: Path  # holds run_and_time.sh and train.py
    imports: Path  # where its own modules are found; the common ones lie elsewhere
    template: str  # its name under templates/

    def render(self, **values):
        """Return hyperparameters.yaml; only what tests never vary is filled in."""
        return (
            render.environment()
            .get_template(self.template)
            .render(
                implementation="pytorch",
                submission={"org": "x", "division": "closed", "status": "onprem", "platform": "y"},
                **values,
            )
        )

    def environment(self):
        """Return what the program finds in its container: one thread, and no path but its own."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (COMMON, self.imports))),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PYTHONSAFEPATH": "1",
        }

    def command(self, folder, text, data, *, seed=1, ranks=1, more=()):
        """Return run_and_time.sh's command line; several CPU ranks need torchrun by hand."""
        file = folder / "hyperparameters.yaml"
        file.write_text(text)
        alone = (self.folder / "run_and_time.sh",)
        several = (*TORCHRUN, f"--nproc-per-node={ranks}", self.folder / "train.py")
        options = ("--hyperparameters", file, "--data", data, "--results", folder)
        return [*(alone if ranks == 1 else several), *options, "--seed", str(seed), *more]

    def run(self, folder, text, data, *, timeout=240, **options):
        """Run once; return exit status, MLLOG records and stderr."""
        return run(self.command(folder, text, data, **options), self.environment(), timeout=timeout)

    def run_ranks(self, script, *arguments, ranks=2, timeout=120):
        """Run a script of these tests on several CPU ranks; return the same."""
        paths = os.pathsep.join((self.environment()["PYTHONPATH"], str(ROOT)))
        return run(
            [*TORCHRUN, f"--nproc-per-node={ranks}", script, *arguments],
            self.environment() | {"PYTHONPATH": paths},
            timeout=timeout,
        )


def run(command, environment, *, timeout):
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, records(done.stdout), done.stderr


def records(stdout):
    parts = [line.partition(":::MLLOG ") for line in stdout.splitlines()]
    return [json.loads(text) for _, found, text in parts if found]


def values(log, key):
    return [record["value"] for record in log if record["key"] == key]


def losses(log):
    return [stats["loss"] for stats in values(log, "tracked_stats")]
