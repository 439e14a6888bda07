"""Configurations, tiny data sets and runs of the program for the ResNet tests."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[3]
OVERLAY = ROOT / "patches/resnet/files"
PROGRAM = OVERLAY / "image_classification/pytorch"

LARS = {
    "opt_name": "lars",
    "lars_opt_base_learning_rate": 6.0,
    "lars_opt_end_learning_rate": 0.0001,
    "lars_opt_learning_rate_decay_poly_power": 2,
    "lars_opt_learning_rate_decay_steps": 177,
    "lars_epsilon": 0.0,
    "lars_opt_learning_rate_warmup_epochs": 1,
    "lars_opt_momentum": 0.9,
    "lars_opt_weight_decay": 0.00005,
}
SGD = {
    "opt_name": "sgd",
    "sgd_opt_base_learning_rate": 0.1,
    "sgd_opt_end_learning_rate": 0.0001,
    "sgd_opt_learning_rate_decay_poly_power": 2,
    "sgd_opt_learning_rate_decay_steps": 177,
    "opt_learning_rate_warmup_epochs": 1,
    "sgd_opt_momentum": 0.9,
    "sgd_opt_weight_decay": 0.00005,
}
REHEARSAL = {
    "global_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "model_bn_span": 32,
    "train_samples": 1433,
    "eval_samples": 364,
}
SMALL = {"global_batch_size": 8, "model_bn_span": 8, "train_samples": 60, "eval_samples": 21}
REAL = {
    "global_batch_size": 3200,
    "gradient_accumulation_steps": 1,
    "model_bn_span": 400,
    "train_samples": 1_281_167,
    "eval_samples": 50_000,
}


def render(*, rehearsal=True, accelerators=0, hyperparameters=None, training=None):
    """Render the template with a preset written down here."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML
    template = environment.from_string((ROOT / "templates/resnet.yaml.j2").read_text())
    return template.render(
        implementation="pytorch",
        preset={"name": "test", "source": "this test", "warnings": ["only a test"]},
        rehearsal=rehearsal,
        accelerators=accelerators,
        submission={"org": "x", "division": "closed", "status": "onprem", "platform": "y"},
        hyperparameters=(REHEARSAL if rehearsal else REAL) | LARS | (hyperparameters or {}),
        training={"target_accuracy": 0.9, "eval_offset_epochs": 0, "max_epochs": 8}
        if rehearsal and training is None
        else training or {},
        notes={"opt_name": "constrained: a note"},
    )


def jpeg_bytes(pixels, quality=95):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=quality)
    return target.getvalue()


def write_folders(root, split, counts, *, size=(20, 24), seed=0):
    """Write class folders of noisy images; the mean brightness tells the class."""
    generator = np.random.default_rng(seed)
    for label, count in enumerate(counts):
        folder = root / split / f"class-{label:02d}"
        folder.mkdir(parents=True)
        for number in range(count):
            noise = generator.integers(0, 40, (*size, 3))
            pixels = np.clip(noise + label * 20, 0, 255).astype(np.uint8)
            (folder / f"{number:04d}.JPEG").write_bytes(jpeg_bytes(pixels))


def environment():
    paths = [str(ROOT / "patches/common/files"), str(OVERLAY)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTHONSAFEPATH": "1",
    }


def run_program(folder, text, data, *, seed=1, ranks=1, timeout=240):
    """Run the program as the launcher does; return exit status, MLLOG records and stderr."""
    done = subprocess.run(
        command(folder, text, data, seed=seed, ranks=ranks),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, records(done.stdout), done.stderr


def command(folder, text, data, *, seed=1, ranks=1):
    """Return run_and_time.sh's command line; several CPU ranks need torchrun by hand."""
    file = folder / "hyperparameters.yaml"
    file.write_text(text)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    program = (
        (PROGRAM / "run_and_time.sh",)
        if ranks == 1
        else (*torchrun, f"--nproc-per-node={ranks}", PROGRAM / "train.py")
    )
    options = ("--hyperparameters", file, "--data", data, "--results", folder, "--seed", str(seed))
    return [*program, *options]


def records(stdout):
    parts = [line.partition(":::MLLOG ") for line in stdout.splitlines()]
    return [json.loads(text) for _, found, text in parts if found]


def values(log, key):
    return [record["value"] for record in log if record["key"] == key]
