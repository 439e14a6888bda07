"""Configurations, tiny data sets and runs of the program for the ResNet tests."""

import io

import numpy as np
from PIL import Image

from tests.patches.program import ROOT, Program, losses, records, values

__all__ = ["PROGRAM", "command", "environment", "losses", "records", "run_program", "values"]

OVERLAY = ROOT / "patches/resnet/files"
PROGRAM = Program(
    folder=OVERLAY / "image_classification/pytorch",
    imports=OVERLAY,
    template="resnet.yaml.j2",
)
command, environment, run_program = PROGRAM.command, PROGRAM.environment, PROGRAM.run

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
    return PROGRAM.render(
        preset={"name": "test", "source": "this test", "warnings": ["only a test"]},
        rehearsal=rehearsal,
        accelerators=accelerators,
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
