"""`hyperparameters.yaml` to frozen values; whatever the closed division fixes, it insists on.

It never fills in a default: a key that is missing or unknown is an error that names it. Only a
rehearsal may choose another model, target, data size or augmentation.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pytorch_common.failure import RunError

FILE = "hyperparameters.yaml"
EVAL_INTERVAL_EPOCHS = 4  # rules, "Appendix: Allowed evaluation frequency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Sizes of the network and its images; `REAL_MODEL` is ResNet-50."""

    stages: tuple[int, ...]  # bottleneck blocks in each stage
    width: int  # channels of the stem; stage k has width * 2**k, expanded by 4
    classes: int
    image_size: int  # pixels, training and evaluation
    resize_size: int  # short side before the central crop of evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What shapes the run without being an MLLOG key."""

    precision: str  # bf16, fp16 or fp32: of convolutions and activations; the rest is fp32
    padding: str  # "same" as the reference, or "symmetric" as past submissions
    step: str  # auto, eager or compile; CUDA graphs are used wherever there is a GPU
    label_smoothing: float
    crop_area: tuple[float, float]  # of training crops, as a share of the image
    flip_probability: float
    target_accuracy: float
    eval_offset_epochs: int  # epochs before the first evaluation; 0 means the interval
    max_epochs: int
    loader_threads: int  # of each rank
    hardware_decoder_load: float  # share of images for the GPU's JPEG engine
    keep_weights: bool  # write them to the results folder when the clock has stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """The MLLOG keys, and their values under names that do not depend on the optimizer."""

    logged: Mapping[str, Any]
    optimizer: str  # lars or sgd
    global_batch_size: int
    accumulation_steps: int
    base_learning_rate: float
    end_learning_rate: float
    decay_power: float
    decay_steps: int  # after warm-up
    warmup_epochs: float
    momentum: float
    weight_decay: float
    batch_norm_span: int  # samples that share batch statistics
    train_samples: int
    eval_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One run, but for its seed."""

    rehearsal: bool
    preset: str
    accelerators: int  # 0: CPU
    submission: Mapping[str, str]  # MLLOG's submission_* keys without the prefix
    hyperparameters: Hyperparameters
    training: Training
    model: Model

    @property
    def steps_per_epoch(self) -> int:
        """P: whole batches in an epoch; the rest straddles into the next (common.py:637-643)."""
        return self.hyperparameters.train_samples // self.hyperparameters.global_batch_size

    def micro_batch(self, world_size: int) -> int:
        """Return the images one rank takes at once."""
        return _micro_batch(self.hyperparameters, world_size)


# resnet_model.py:278-436 and imagenet_preprocessing.py:47-58, README.md: what a real run has.
REAL_MODEL = Model(stages=(3, 4, 6, 3), width=64, classes=1000, image_size=224, resize_size=256)
REAL_SAMPLES = (1_281_167, 50_000)
REAL_TRAINING = {"crop_area": (0.05, 1.0), "flip_probability": 0.5, "target_accuracy": 0.759}

_SUBMISSION = ("org", "division", "status", "platform")
_COMMON = {
    "global_batch_size": "global_batch_size",
    "gradient_accumulation_steps": "accumulation_steps",
    "opt_name": "optimizer",
    "model_bn_span": "batch_norm_span",
    "train_samples": "train_samples",
    "eval_samples": "eval_samples",
}
_DECAY = {
    "opt_base_learning_rate": "base_learning_rate",
    "opt_end_learning_rate": "end_learning_rate",
    "opt_learning_rate_decay_poly_power": "decay_power",
    "opt_learning_rate_decay_steps": "decay_steps",
    "opt_momentum": "momentum",
    "opt_weight_decay": "weight_decay",
}
# The keys of ruleset 4.0.0, closed_resnet_{lars,sgd}.yaml. lars_epsilon is logged as 0.0, the
# reference's flag; the epsilon in effect is lars.EPSILON.
_LOGGED = {
    "lars": _COMMON
    | {f"lars_{key}": name for key, name in _DECAY.items()}
    | {"lars_opt_learning_rate_warmup_epochs": "warmup_epochs", "lars_epsilon": ""},
    "sgd": _COMMON
    | {f"sgd_{key}": name for key, name in _DECAY.items()}
    | {"opt_learning_rate_warmup_epochs": "warmup_epochs"},
}
_CHOICES = {
    "precision": ("bf16", "fp16", "fp32"),
    "padding": ("same", "symmetric"),
    "step": ("auto", "eager", "compile"),
}


def load(path: Path) -> Config:
    """Read and check a file. Raises RunError naming the key and what it should be."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"{path}: cannot be read as YAML ({error}); render it again.") from error
    return parse(document)


def parse(document: Mapping[str, Any]) -> Config:
    """Turn a parsed file into a checked Config."""
    sections = ("benchmark", "implementation", "rehearsal", "preset", "accelerators", "submission")
    values = _exactly(document, (*sections, "hyperparameters", "training", "model"), "")
    whose = f"{values['benchmark']} in {values['implementation']}"
    if whose != "resnet in pytorch":
        raise RunError(f"{FILE}: it is for {whose}, but this program is resnet in pytorch.")
    config = Config(
        rehearsal=_typed("rehearsal", values["rehearsal"], bool),
        preset=_typed("preset", values["preset"], str),
        accelerators=_typed("accelerators", values["accelerators"], int),
        submission=_submission(values["submission"]),
        hyperparameters=_hyperparameters(values["hyperparameters"]),
        training=_section(Training, values["training"], "training."),
        model=_section(Model, values["model"], "model."),
    )
    _check(config)
    return config


def _submission(document: Mapping[str, Any]) -> Mapping[str, str]:
    values = _exactly(document, _SUBMISSION, "submission.")
    return {key: _typed(f"submission.{key}", values[key], str) for key in _SUBMISSION}


def _hyperparameters(document: Mapping[str, Any]) -> Hyperparameters:
    optimizer = document.get("opt_name") if isinstance(document, Mapping) else None
    if optimizer not in _LOGGED:
        raise RunError(f"{FILE}: hyperparameters.opt_name is {optimizer!r}; use lars or sgd.")
    names = _LOGGED[optimizer]
    values = _exactly(document, tuple(names), "hyperparameters.")
    return _section(
        Hyperparameters,
        {"logged": dict(values)} | {name: values[key] for key, name in names.items() if name},
        "hyperparameters.",
    )


def _check(config: Config) -> None:
    for key, allowed in _CHOICES.items():
        if getattr(config.training, key) not in allowed:
            value = getattr(config.training, key)
            raise RunError(f"{FILE}: training.{key} is {value!r}; use {', '.join(allowed)}.")
    _check_evaluations(config.training)
    micro_batch = _micro_batch(config.hyperparameters, max(config.accelerators, 1))
    if config.accelerators and config.hyperparameters.batch_norm_span != micro_batch:
        raise RunError(
            f"{FILE}: hyperparameters.model_bn_span is {config.hyperparameters.batch_norm_span},"
            f" but batch statistics span the {micro_batch} images of one GPU; write {micro_batch}."
        )
    if not config.rehearsal:
        _check_real(config)


def _check_evaluations(training: Training) -> None:
    offset = training.eval_offset_epochs
    if not 0 <= offset < EVAL_INTERVAL_EPOCHS:
        raise RunError(f"{FILE}: training.eval_offset_epochs is {offset}; the rules allow 0 to 3.")
    if training.max_epochs < 1 or (training.max_epochs - offset) % EVAL_INTERVAL_EPOCHS:
        raise RunError(
            f"{FILE}: training.max_epochs is {training.max_epochs}, which does not end in an"
            f" evaluation; use {offset} plus a multiple of {EVAL_INTERVAL_EPOCHS}."
        )


def _check_real(config: Config) -> None:
    """Refuse a real run that is not the closed division's benchmark."""
    samples = (config.hyperparameters.train_samples, config.hyperparameters.eval_samples)
    fixed = {f"training.{key}": getattr(config.training, key) for key in REAL_TRAINING}
    fixed |= {f"model.{key}": value for key, value in dataclasses.asdict(config.model).items()}
    wanted = {f"training.{key}": value for key, value in REAL_TRAINING.items()}
    wanted |= {f"model.{key}": value for key, value in dataclasses.asdict(REAL_MODEL).items()}
    fixed["hyperparameters.train_samples and eval_samples"] = samples
    wanted["hyperparameters.train_samples and eval_samples"] = REAL_SAMPLES
    for key, value in fixed.items():
        if value != wanted[key]:
            raise RunError(
                f"{FILE}: {key} is {value}, but the closed division fixes {wanted[key]};"
                " correct it, or rehearse."
            )


def _micro_batch(hyperparameters: Hyperparameters, world_size: int) -> int:
    shares = world_size * hyperparameters.accumulation_steps
    size, rest = divmod(hyperparameters.global_batch_size, shares)
    if rest or not size:
        raise RunError(
            f"{FILE}: hyperparameters.global_batch_size is {hyperparameters.global_batch_size},"
            f" which {world_size} ranks with {hyperparameters.accumulation_steps} accumulation"
            f" steps cannot share; use a multiple of {shares}."
        )
    if hyperparameters.global_batch_size > hyperparameters.train_samples:
        raise RunError(
            f"{FILE}: hyperparameters.global_batch_size is {hyperparameters.global_batch_size},"
            f" more than the {hyperparameters.train_samples} training images; use fewer."
        )
    return size


def _section(kind: type[Any], document: Mapping[str, Any], place: str) -> Any:  # noqa: ANN401 - kind
    """Build a dataclass from a mapping with exactly its fields, each of its annotated type."""
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    values = _exactly(document, tuple(fields), place)
    return kind(**{key: _typed(place + key, values[key], fields[key]) for key in fields})


def _typed(key: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - YAML's values are any
    """Return the value as its annotated type, or say what it is instead."""
    name = str(getattr(kind, "__name__", kind))
    if name == "tuple" and isinstance(value, list):
        return tuple(value)
    if name == "float" and type(value) in (int, float):
        return float(value)
    if name not in {"tuple", "Mapping"} and type(value).__name__ != name:
        raise RunError(f"{FILE}: {key} is {value!r}; it must be of type {name}.")
    return value


def _exactly(document: Any, keys: tuple[str, ...], place: str) -> Mapping[str, Any]:  # noqa: ANN401
    """Return the mapping if it has these keys and no others."""
    if not isinstance(document, Mapping):
        raise RunError(f"{FILE}: {place or 'the file'} is not a mapping; render it again.")
    for problem, names in (
        ("is missing", [key for key in keys if key not in document]),
        ("is unknown", sorted(set(document) - set(keys))),
    ):
        if names:
            raise RunError(f"{FILE}: key {place}{names[0]} {problem}; render the file again.")
    return document
