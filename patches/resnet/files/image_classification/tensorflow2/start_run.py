"""`hyperparameters.yaml` to the flags of `resnet_ctl_imagenet_main.py`, or a refusal.

References are to files of this folder at the pin. It trains nothing itself.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import records

from reference_common import start
from reference_common.start import Order, RefusedError, insist

PROGRAM = Path(__file__).resolve().parent / "resnet_ctl_imagenet_main.py"
EVAL_INTERVAL_EPOCHS = 4  # rules, "Appendix: Allowed evaluation frequency"

_COMMON = ("global_batch_size", "gradient_accumulation_steps", "opt_name", "model_bn_span")
_SAMPLES = ("train_samples", "eval_samples")
_SCHEDULE = (
    "opt_base_learning_rate",
    "opt_end_learning_rate",
    "opt_learning_rate_decay_poly_power",
    "opt_learning_rate_decay_steps",
    "opt_momentum",
    "opt_weight_decay",
)
_TRAINING = (
    "target_accuracy",
    "eval_offset_epochs",
    "max_epochs",
    "label_smoothing",
    "precision",
    "min_crop_area",
    "mirror",
)
_MODEL = ("classes", "image_size", "width_divisor", "identity_blocks")
_REAL = {  # imagenet_preprocessing.py:44,410-436 and resnet_model.py:278-436
    "training.min_crop_area": 0.05,
    "training.mirror": True,
    "model.image_size": 224,
    "model.width_divisor": 1,
    "model.identity_blocks": True,
}


def flags(order: Order) -> list[str]:
    """Return the program's flags. Raises RefusedError naming the key it cannot honour."""
    values, training, model = order.hyperparameters, order.training, order.model
    schedule = _schedule(values)
    start.exactly(training, _TRAINING, "training.")
    start.exactly(model, _MODEL, "model.")
    _check(order)
    start.count_gpus(order)
    return [
        f"--data_dir={_data(order)}",
        f"--model_dir={order.work / 'model'}",
        f"--seed={order.seed}",
        *start.submission_flags(order),
        *_devices(order.accelerators),
        f"--batch_size={values['global_batch_size']}",
        "--num_accumulation_steps=1",
        f"--train_images={values['train_samples']}",
        f"--eval_images={values['eval_samples']}",
        f"--optimizer={values['opt_name'].upper()}",
        "--lr_schedule=polynomial",
        f"--base_learning_rate={schedule['opt_base_learning_rate']!r}",
        f"--end_learning_rate={schedule['opt_end_learning_rate']!r}",
        f"--warmup_epochs={schedule['warmup_epochs']!r}",
        f"--momentum={schedule['opt_momentum']!r}",
        f"--weight_decay={schedule['opt_weight_decay']!r}",
        f"--train_epochs={train_epochs(values, schedule, training)}",
        f"--label_smoothing={training['label_smoothing']!r}",
        f"--target_accuracy={training['target_accuracy']!r}",
        f"--epochs_between_evals={EVAL_INTERVAL_EPOCHS}",
        f"--eval_offset_epochs={training['eval_offset_epochs']}",
        f"--min_crop_area={training['min_crop_area']!r}",
        f"--{'' if training['mirror'] else 'no'}mirror",
        f"--num_classes={model['classes']}",
        f"--image_size={model['image_size']}",
        f"--width_divisor={model['width_divisor']}",
        f"--{'' if model['identity_blocks'] else 'no'}identity_blocks",
    ]


def _schedule(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schedule under names that do not depend on the optimizer."""
    optimizer = values.get("opt_name")
    if optimizer not in ("lars", "sgd"):
        raise RefusedError(f"hyperparameters.opt_name is {optimizer!r}; use 'lars' or 'sgd'.")
    lars = optimizer == "lars"
    warmup = f"{'lars_' if lars else ''}opt_learning_rate_warmup_epochs"
    named = {f"{optimizer}_{key}": key for key in _SCHEDULE} | {warmup: "warmup_epochs"}
    epsilon = ("lars_epsilon",) if lars else ()
    start.exactly(values, (*_COMMON, *_SAMPLES, *named, *epsilon), "hyperparameters.")
    return {name: values[key] for key, name in named.items()}


def train_epochs(
    values: Mapping[str, Any], schedule: Mapping[str, Any], training: Mapping[str, Any]
) -> int:
    """Return the flag from which the reference makes these decay steps and this many epochs.

    D = P x epochs - warm-up steps + 1 (lars_util.py:114); the run is as long as the last evaluation
    at or after `epochs` (common.py:651-655).
    """
    per_epoch = values["train_samples"] // values["global_batch_size"]
    warmup = schedule["warmup_epochs"] * per_epoch
    steps = schedule["opt_learning_rate_decay_steps"]
    epochs = round((steps - 1 + warmup) / per_epoch)
    made = round(per_epoch * epochs - warmup + 1)
    if made != steps:
        raise RefusedError(
            f"hyperparameters: {values['opt_name']}_opt_learning_rate_decay_steps is {steps}, but "
            f"the reference decays over whole epochs; use {made} ({epochs} epochs)."
        )
    offset = training["eval_offset_epochs"]
    intervals = math.ceil((epochs - offset) / EVAL_INTERVAL_EPOCHS)
    last = offset + intervals * EVAL_INTERVAL_EPOCHS
    why = f"the reference ends at the first evaluation after its {epochs} epochs of decay"
    insist("training.max_epochs", training["max_epochs"], last, why)
    return epochs


def _check(order: Order) -> None:
    values, training = order.hyperparameters, order.training
    insist(
        "hyperparameters.gradient_accumulation_steps",
        values["gradient_accumulation_steps"],
        1,
        "the reference sums accumulated gradients and counts each as a step",
    )
    if values["global_batch_size"] > values["train_samples"]:
        raise RefusedError(
            f"hyperparameters.global_batch_size is {values['global_batch_size']}, more than the"
            f" {values['train_samples']} training images; use fewer."
        )
    span = values["global_batch_size"] / max(1, order.accelerators)
    why = f"{max(1, order.accelerators)} devices share a batch of {values['global_batch_size']}"
    insist("hyperparameters.model_bn_span", values["model_bn_span"], span, why)
    if values["opt_name"] == "lars":
        insist("hyperparameters.lars_epsilon", values["lars_epsilon"], 0, "the rules fix it")
    key = f"{values['opt_name']}_opt_learning_rate_decay_poly_power"
    insist(f"hyperparameters.{key}", values[key], 2, "the reference fixes it (lars_util.py:127)")
    insist("training.precision", training["precision"], "fp32", "the reference is the fp32 oracle")
    if not _schedule(values)["warmup_epochs"]:
        raise RefusedError(
            "hyperparameters: warm-up is 0 epochs, by which the reference divides "
            "(lars_util.py:147); use a fraction of an epoch or more."
        )
    if not order.rehearsal:
        for place, wanted in _REAL.items():
            section, _, key = place.partition(".")
            insist(place, getattr(order, section)[key], wanted, "this is no rehearsal")


def _devices(accelerators: int) -> list[str]:
    if accelerators:
        return [f"--num_gpus={accelerators}", "--distribution_strategy=mirrored"]
    return ["--num_gpus=0", "--distribution_strategy=off", "--data_format=channels_last"]


def _data(order: Order) -> Path:
    """Return the folder of TFRecord files; a rehearsal's images are put into such files first."""
    if any(order.data.glob("train-*-of-*")) or not order.rehearsal:
        return order.data
    folder = order.work / "records"
    records.write(order.data, folder)
    return folder


if __name__ == "__main__":
    start.main("resnet", PROGRAM, flags)
