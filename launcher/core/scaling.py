"""A node to the preset that fits it, and a preset to other batch sizes.

What no published run proves carries a warning. It refuses a node that nothing fits.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

from launcher.core import presets
from launcher.core.benchmark import Benchmark
from launcher.core.presets import Preset, Purpose

MAX_RESNET_BATCH = 3264  # beyond it, the reference needs more epochs and one node gains nothing
MAX_BERT_BATCH = 768
IDEAL_HORIZON = 2.7e6  # samples over which BERT's learning rate should decay
_UNPROVEN = (
    "global_batch_size {batch} is not the preset's {old}: learning rate and schedule are scaled and"
    " no published run proves them; rehearse one run."
)


def choose(
    benchmark: Benchmark,
    *,
    accelerators: int,
    memory_gib: float,
    purpose: Purpose = Purpose.RECORD,
) -> Preset:
    """Return the row for a node: the most demanding one that fits, else the nearest, scaled.

    Raises ValueError for a node that nothing fits.
    """
    fits = [
        row
        for row in presets.TABLE
        if row.benchmark is benchmark
        and row.accelerators == accelerators
        and row.memory_gib <= memory_gib
    ]
    for wanted in (purpose, Purpose.RECORD):
        rows = [row for row in fits if row.purpose is wanted]
        if rows:
            return max(rows, key=lambda row: row.memory_gib)
    return _fit(benchmark, accelerators, memory_gib)


def scale(preset: Preset, *, batch: int, accelerators: int, accumulation: int) -> Preset:
    """Return a row for another batch size or number of accelerators, with a warning.

    Learning rates are read between published ones (ResNet) or follow the square root (BERT).
    """
    old = preset.hyperparameters
    values = dict(old) | {"gradient_accumulation_steps": accumulation, "global_batch_size": batch}
    if preset.benchmark is Benchmark.RESNET:
        values["model_bn_span"] = batch // (max(1, accelerators) * accumulation)
    if batch == old["global_batch_size"]:
        return dataclasses.replace(preset, hyperparameters=values, accelerators=accelerators)
    rescale = _scale_resnet if preset.benchmark is Benchmark.RESNET else _scale_bert
    return dataclasses.replace(
        preset,
        name=f"{preset.name} scaled to {batch}",
        accelerators=accelerators,
        hyperparameters=values | rescale(preset, batch),
        training=dict(preset.training)
        | (
            {"eval_every_samples": presets.bert_eval_interval(batch)}
            if preset.benchmark is Benchmark.BERT and preset.purpose is not Purpose.REHEARSAL
            else {}
        ),
        progress=None,
        runs=0,
        failed=None,
        warnings=(_UNPROVEN.format(batch=batch, old=old["global_batch_size"]),),
    )


def problem(benchmark: Benchmark, values: Mapping[str, Any], accelerators: int) -> str:
    """Say why the accelerators cannot share the batch, and what they could; empty if they can."""
    batch, accumulation = values["global_batch_size"], values["gradient_accumulation_steps"]
    real = values.get("max_sequence_length", 512) == 512  # noqa: PLR2004 - the real length
    per_row = presets.SEQUENCES_PER_ROW if benchmark is Benchmark.BERT and real else 1
    unit = max(1, accelerators) * accumulation * per_row
    if batch >= unit and batch % unit == 0:
        return ""
    below = batch // unit * unit
    near = " or ".join(str(size) for size in (below, below + unit) if size)
    rows = f" of rows of {per_row} sequences" if per_row > 1 else ""
    return (
        f"global_batch_size is {batch}, which {max(1, accelerators)} accelerators with"
        f" {accumulation} accumulation steps{rows} cannot share; use a multiple of {unit}: {near}"
    )


def _fit(benchmark: Benchmark, accelerators: int, memory_gib: float) -> Preset:
    """Scale the row that is nearest to a node without one of its own."""
    if benchmark is Benchmark.RESNET:
        local = min(int(memory_gib * 10), MAX_RESNET_BATCH // accelerators) // 8 * 8
        batch, accumulation = local * accelerators, 1
    else:
        rows = MAX_BERT_BATCH // presets.SEQUENCES_PER_ROW // accelerators
        capacity = max(4, int((memory_gib - 28) * 1.4))  # 72 rows in 80 GiB, 16 in 40
        accumulation = max(1, math.ceil(rows / capacity))
        local = rows // accumulation
        batch = local * accumulation * accelerators * presets.SEQUENCES_PER_ROW
    if local == 0 or memory_gib < 16:  # noqa: PLR2004 - no published run had less
        raise ValueError(
            f"no preset fits {accelerators} accelerators of {memory_gib:g} GiB; name one under"
            f" benchmarks.{benchmark.value}.preset and set its global_batch_size"
        )
    rows_by_batch = [row for row in presets.TABLE if row.benchmark is benchmark]
    base = min(
        (row for row in rows_by_batch if row.purpose is Purpose.RECORD),
        key=lambda row: abs(row.hyperparameters["global_batch_size"] - batch),
    )
    return scale(base, batch=batch, accelerators=accelerators, accumulation=accumulation)


def _scale_resnet(preset: Preset, batch: int) -> dict[str, Any]:
    old = preset.hyperparameters
    warmup = old["lars_opt_learning_rate_warmup_epochs"]
    per_epoch = old["train_samples"] // old["global_batch_size"]
    decay_epochs = (old["lars_opt_learning_rate_decay_steps"] - 1) / per_epoch + warmup
    new_per_epoch = old["train_samples"] // batch
    decay_steps = round(new_per_epoch * decay_epochs) - round(warmup * new_per_epoch) + 1
    rate = old["lars_opt_base_learning_rate"]
    if preset.purpose is not Purpose.REHEARSAL:
        rate = round(_published_rate(batch), 2)
    return {
        "lars_opt_base_learning_rate": rate,
        "lars_opt_learning_rate_decay_steps": decay_steps,
    }


def _published_rate(batch: int) -> float:
    """Interpolate the learning rates of the table; below its smallest batch, in proportion."""
    known = sorted(
        (
            row.hyperparameters["global_batch_size"],
            row.hyperparameters["lars_opt_base_learning_rate"],
        )
        for row in presets.TABLE
        if row.benchmark is Benchmark.RESNET
    )
    if batch <= known[0][0]:
        return float(known[0][1] * batch / known[0][0])
    for (low, slow), (high, fast) in itertools.pairwise(known):
        if low < high and batch <= high:
            return float(slow + (fast - slow) * (batch - low) / (high - low))
    return float(known[-1][1])


def _scale_bert(preset: Preset, batch: int) -> dict[str, Any]:
    if preset.purpose is Purpose.REHEARSAL:
        return {}
    newer = batch >= 384  # noqa: PLR2004 - the smallest batch that ran with the newer betas
    anchor = "bert-8x48" if newer else "bert-8x22"
    row = next(row for row in presets.TABLE if row.name == anchor).hyperparameters
    anchored = row["global_batch_size"]
    wide = batch > 1024 or not newer  # noqa: PLR2004 - up to there, one rate served them all
    factor = math.sqrt(batch / anchored) if wide else 1.0
    return {
        **{key: row[key] for key in row if key.startswith("opt_lamb_")},
        "opt_base_learning_rate": round(row["opt_base_learning_rate"] * factor, 7),
        "opt_learning_rate_training_steps": round(IDEAL_HORIZON / batch),
    }
