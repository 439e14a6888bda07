"""Hyperparameters to verdicts: free, constrained or fixed; kept or not; by which rule.

It judges values, never results, and knows the closed division only. The rules: MLPerf
training_rules at 6e668456, "Hyperparameters and Optimizer"; what mlperf-logging 4.1.68 checks
besides stands in its training_4.0.0 and training_3.1.0/closed_resnet_{lars,sgd} rule files.
"""

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core import rcp
from launcher.core.benchmark import Benchmark

RULES = "training_rules 6e668456, Hyperparameters and Optimizer"
LARGEST = 1e15  # nothing that is counted here comes near; NaN and what no float holds fail it, too
LARGE_BATCH = 32_768  # below it, momentum is 0.9


class Freedom(enum.Enum):
    """How far a submitter may choose a value."""

    FREE = "free"
    CONSTRAINED = "constrained"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is allowed for one hyperparameter."""

    freedom: Freedom
    allowed: str  # for a reader
    keeps: Callable[[Any], bool]
    source: str = RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say about one value."""

    key: str
    value: Any
    freedom: Freedom
    ok: bool
    allowed: str
    source: str
    note: str = ""  # global_batch_size: its place on the RCPs


def verdicts(benchmark: Benchmark, hyperparameters: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Judge every hyperparameter that the rules know, and name those that are missing.

    Keys the rules do not know are not judged; a missing one has the value None and is not ok.
    """
    rules = _rules(benchmark, hyperparameters)
    return tuple(
        Verdict(
            key=key,
            value=hyperparameters.get(key),
            freedom=rule.freedom,
            ok=_keeps(rule, hyperparameters.get(key)),
            allowed=rule.allowed,
            source=rule.source,
            note=_note(benchmark, hyperparameters[key]) if key == "global_batch_size" else "",
        )
        for key, rule in rules.items()
        if key in hyperparameters or key not in _OPTIONAL[benchmark]
    )


def _keeps(rule: Rule, value: object) -> bool:
    try:
        return rule.keeps(value)
    except (TypeError, ValueError, OverflowError):  # a text, a list or nothing where a number goes
        return False


def _note(benchmark: Benchmark, batch: Any) -> str:  # noqa: ANN401 - whatever was logged
    if not _whole(batch):
        return ""
    reference = rcp.reference(benchmark, int(batch))
    if reference.mean is None:
        return f"It is {reference.position.value}."
    unit = benchmark.facts.convergence_unit
    mean = f"{reference.mean:,.0f}" if reference.mean > 1000 else f"{reference.mean:.4f}"  # noqa: PLR2004 - samples
    return f"It is {reference.position.value}: {mean} {unit} on average."


def _rules(benchmark: Benchmark, values: Mapping[str, Any]) -> dict[str, Rule]:
    if benchmark is Benchmark.BERT:
        return _BERT
    if values.get("opt_name") == "sgd":
        return _RESNET | _SGD
    return _RESNET | _LARS | {"lars_opt_momentum": _momentum(values.get("global_batch_size"))}


def _number(value: Any) -> bool:  # noqa: ANN401 - whatever was logged
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _whole(value: Any, low: int = 1) -> bool:  # noqa: ANN401 - whatever was logged
    return _number(value) and value == int(value) and value >= low


def _power_of_two_of(unit: float) -> Callable[[Any], bool]:
    return lambda value: _number(value) and math.log2(value / unit).is_integer()


def _free(allowed: str = "any number", keeps: Callable[[Any], bool] = _number) -> Rule:
    return Rule(freedom=Freedom.FREE, allowed=allowed, keeps=keeps)


def _counted(low: int) -> Rule:
    return _free(f"a whole number from {low}", lambda value: _whole(value, low))


def _fixed(wanted: float, source: str = RULES) -> Rule:
    return Rule(
        freedom=Freedom.FIXED,
        allowed=f"{wanted:g}" if wanted < 1 else str(wanted),
        keeps=lambda value: _number(value) and value == wanted,
        source=source,
    )


def _constrained(allowed: str, keeps: Callable[[Any], bool]) -> Rule:
    return Rule(freedom=Freedom.CONSTRAINED, allowed=allowed, keeps=keeps)


def _momentum(batch: object) -> Rule:
    if isinstance(batch, int) and batch >= LARGE_BATCH:
        return _free()
    return _constrained("0.9 below a batch of 32k", lambda value: value == 0.9)  # noqa: PLR2004


_DATA = "training_rules 6e668456, Benchmarks; the data set is the reference's"
_SHARED: dict[str, Rule] = {
    "global_batch_size": _counted(1),
    "gradient_accumulation_steps": _counted(1),
}
_DECAY = _constrained("0.0001 x 2^N", _power_of_two_of(0.0001))
_RESNET: dict[str, Rule] = {
    **_SHARED,
    "opt_name": _constrained("lars or sgd", lambda value: value in ("lars", "sgd")),
    "train_samples": _fixed(1_281_167, _DATA),
    "eval_samples": _fixed(50_000, _DATA),
    "model_bn_span": _counted(1),
}
_LARS: dict[str, Rule] = {
    "lars_opt_base_learning_rate": _free(),
    "lars_opt_end_learning_rate": _fixed(0.0001),
    "lars_opt_learning_rate_decay_poly_power": _fixed(2),
    "lars_opt_learning_rate_decay_steps": _free(),
    "lars_epsilon": _fixed(0.0),
    "lars_opt_learning_rate_warmup_epochs": _free(),
    "lars_opt_momentum": _momentum(None),
    "lars_opt_weight_decay": _DECAY,
}
_SGD: dict[str, Rule] = {
    "sgd_opt_base_learning_rate": _constrained(
        "a multiple of 0.001", lambda value: _number(value) and (value / 0.001).is_integer()
    ),
    "sgd_opt_end_learning_rate": _fixed(0.0001),
    "sgd_opt_learning_rate_decay_poly_power": _fixed(2),
    "sgd_opt_learning_rate_decay_steps": _counted(0),
    "sgd_opt_momentum": _fixed(0.9),
    "sgd_opt_weight_decay": _DECAY,
    "opt_learning_rate_warmup_epochs": _counted(0),
}
_BERT: dict[str, Rule] = {
    **_SHARED,
    "opt_name": _constrained("lamb", lambda value: value in ("lamb", "LAMB")),
    "eval_samples": _fixed(10_000, _DATA),
    "max_sequence_length": _fixed(512, _DATA),
    "max_predictions_per_seq": _fixed(76, _DATA),
    "opt_base_learning_rate": _free(),
    "opt_lamb_epsilon": _free(),
    "opt_lamb_beta_1": _free(),
    "opt_lamb_beta_2": _free(),
    "opt_lamb_weight_decay_rate": _free(),
    "opt_lamb_learning_rate_decay_poly_power": _free(),
    "opt_learning_rate_training_steps": _free(),
    "opt_learning_rate_warmup_steps": _free(),
    "num_warmup_steps": _free(),
    "start_warmup_step": _free(),
}
# Published logs that passed do without them; mlperf-logging does not ask for them either.
_OPTIONAL = {
    Benchmark.RESNET: {"model_bn_span", "train_samples", "eval_samples"},
    Benchmark.BERT: {
        "opt_name",
        "eval_samples",
        "max_sequence_length",
        "max_predictions_per_seq",
        "opt_lamb_learning_rate_decay_poly_power",
    },
}
