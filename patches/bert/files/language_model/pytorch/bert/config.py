"""`hyperparameters.yaml` to frozen values. Every key is known, every number possible, or it raises.

It knows nothing of data and devices: what can be said from the file alone is said here.
"""

import dataclasses
import enum
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pytorch_common.failure import RunError

T = TypeVar("T")


class Precision(enum.Enum):
    """What the matrix products compute in; norms, losses and the optimizer are always fp32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP8 = "fp8"  # TransformerEngine, encoder layers only


class Form(enum.Enum):
    """How sequences lie in a batch."""

    PACKED = "packed"  # as the rows on disk: up to three sequences a row, shapes never change
    PADDED = "padded"  # one sequence a row, the rest padding: the reference's form
    UNPADDED = "unpadded"  # one sequence after another without padding: shapes change


class Clip(enum.Enum):
    """When gradients are clipped; the rules accept either."""

    BEFORE = "before-reduction"  # each replica by its own norm, as the reference on GPUs
    AFTER = "after-reduction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of the network. The defaults are BERT-large's, which the rules fix."""

    vocab_size: int = 30522
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is not logged as a hyperparameter."""

    target_accuracy: float = 0.720
    eval_samples: int = 10_000  # 0: whatever the evaluation set has
    eval_every_samples: int
    evaluate_untrained: bool = False  # at 0 samples, inside the clock
    precision: Precision = Precision.BF16
    form: Form = Form.PACKED
    sequences_per_row: int = 2  # of the rows on disk, for the global batch size
    eval_rows: int = 64  # of one evaluation batch on one accelerator
    attention: str = "auto"
    clip: Clip = Clip.BEFORE
    clip_norm: float = 1.0
    last_layer_subset: bool = True
    sharded_optimizer: bool = True  # where there is more than one accelerator
    compile: bool = True  # on GPUs
    cuda_graph: bool = True  # on GPUs
    threads: int = 1  # of a CPU run


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The submission_* values of the log."""

    org: str
    division: str
    status: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """Keyed by MLLOG names and logged as they stand."""

    global_batch_size: int
    gradient_accumulation_steps: int
    max_sequence_length: int
    max_predictions_per_seq: int
    opt_name: str
    opt_base_learning_rate: float
    opt_lamb_epsilon: float
    opt_lamb_beta_1: float
    opt_lamb_beta_2: float
    opt_lamb_weight_decay_rate: float
    opt_lamb_learning_rate_decay_poly_power: float
    opt_learning_rate_training_steps: int
    opt_learning_rate_warmup_steps: int
    num_warmup_steps: int
    start_warmup_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One run, but for its seed."""

    benchmark: str
    implementation: str
    rehearsal: bool
    preset: str
    accelerators: int  # 0 = CPU
    submission: Submission
    hyperparameters: Hyperparameters
    training: Training
    model: Sizes

    def rows(self, world_size: int) -> int:
        """Return how many rows one accelerator computes at once."""
        share = world_size * self.hyperparameters.gradient_accumulation_steps
        return self.hyperparameters.global_batch_size // (share * self.training.sequences_per_row)


def load(path: Path) -> Config:
    """Read a rendered file. Raises RunError with file, key and remedy."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = _build(Config, values, "")
        _check(config)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise RunError(f"{path}: {error}") from error
    return config


def _build(kind: type[T], values: Any, where: str) -> T:  # noqa: ANN401 - whatever YAML holds
    """Make a dataclass out of a mapping, field by field."""
    if not isinstance(values, Mapping):
        message = f"{where or 'the file'} is not a mapping of keys to values"
        raise ValueError(message)  # noqa: TRY004 - one kind of error for a bad file
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(str(key) for key in values.keys() - fields.keys()):
        raise ValueError(f"{where}{unknown[0]} is not a key; use one of {', '.join(fields)}")
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"{where}{missing[0]} is missing; add it")
    kinds = typing.get_type_hints(kind)
    return kind(**{key: _value(kinds[key], value, where + key) for key, value in values.items()})


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - see _build
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f"{where}.")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        names = [member.value for member in kind]
        if value not in names:
            raise ValueError(f"{where} is {value!r}; use one of {', '.join(names)}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r}; it must be of type {kind.__name__}")
    return value


def _check(config: Config) -> None:
    """Raise ValueError for the first combination that cannot run."""
    values, model = config.hyperparameters, config.model
    if config.benchmark != "bert":
        raise ValueError(f"benchmark is {config.benchmark!r}; this program trains bert")
    if model.hidden_size % model.num_attention_heads:
        raise ValueError(
            f"model.hidden_size is {model.hidden_size}, which {model.num_attention_heads} heads"
            " cannot share; use a multiple"
        )
    if values.max_sequence_length > model.max_position_embeddings:
        raise ValueError(
            f"hyperparameters.max_sequence_length is {values.max_sequence_length}, but the model"
            f" has {model.max_position_embeddings} positions; use at most that"
        )
    if config.training.eval_every_samples < 1:
        raise ValueError("training.eval_every_samples must be at least 1")
    _check_schedule(values)
    _check_batch(config)
    if not config.rehearsal:
        _check_fixed(config)


def _check_schedule(values: Hyperparameters) -> None:
    """Raise ValueError for an optimizer or a schedule that is none of ours."""
    if values.opt_name != "lamb":
        raise ValueError(f"hyperparameters.opt_name is {values.opt_name!r}; bert is for lamb")
    if min(values.opt_learning_rate_training_steps, values.gradient_accumulation_steps) < 1:
        raise ValueError(
            "hyperparameters.opt_learning_rate_training_steps and"
            " gradient_accumulation_steps must be at least 1"
        )
    if values.num_warmup_steps != values.opt_learning_rate_warmup_steps:
        raise ValueError(
            f"hyperparameters.num_warmup_steps is {values.num_warmup_steps} and"
            f" opt_learning_rate_warmup_steps {values.opt_learning_rate_warmup_steps}; they are one"
        )


def _check_fixed(config: Config) -> None:
    """Raise ValueError where a run that may become a result changes what the rules fix."""
    interval = evaluation_interval(config.hyperparameters.global_batch_size)
    fixed: dict[str, tuple[object, object]] = {
        "model": (config.model, Sizes()),
        "training.target_accuracy": (config.training.target_accuracy, 0.72),
        "training.eval_samples": (config.training.eval_samples, 10_000),
        "training.eval_every_samples": (config.training.eval_every_samples, interval),
        "training.clip_norm": (config.training.clip_norm, 1.0),
        "hyperparameters.max_sequence_length": (config.hyperparameters.max_sequence_length, 512),
        "hyperparameters.max_predictions_per_seq": (
            config.hyperparameters.max_predictions_per_seq,
            76,
        ),
    }
    for key, (found, wanted) in fixed.items():
        if found != wanted and config.submission.division == "closed":
            raise ValueError(f"{key} is {found}, which the closed division fixes at {wanted}")


def evaluation_interval(global_batch_size: int) -> int:
    """Return every how many samples the rules ask for an evaluation; README.md:173-194."""
    return int(0.05 * (230.23 * global_batch_size + 3_000_000) // 25_000) * 25_000


def _check_batch(config: Config) -> None:
    """Raise ValueError when the accelerators cannot share the global batch, with what they can."""
    values = config.hyperparameters
    accelerators, steps = max(1, config.accelerators), values.gradient_accumulation_steps
    per_row = config.training.sequences_per_row
    unit = accelerators * steps * per_row
    if values.global_batch_size < 1 or values.global_batch_size % unit:
        below = values.global_batch_size // unit * unit
        nearest = [str(size) for size in (below, below + unit) if size > 0]
        counts = [n for n in range(1, 17) if values.global_batch_size % (n * steps * per_row) == 0]
        raise ValueError(
            f"hyperparameters.global_batch_size is {values.global_batch_size}, which {accelerators}"
            f" accelerators with {steps} accumulation steps and {per_row} sequences"
            f" a row cannot share; use {' or '.join(nearest)}, or a count of accelerators out of"
            f" {', '.join(map(str, counts)) or 'none'}"
        )
