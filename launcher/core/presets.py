"""Accelerator memory and count to hyperparameters, each row with its source and its odds.

One table. It never starts from nothing: a node that no row fits gets the nearest row, scaled, and a
warning that says so. Whether values keep the rules is core/rules' question.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core.benchmark import Benchmark

SEQUENCES_PER_ROW = 2  # what a packed row of 512 tokens counts for in BERT's global batch size


class Purpose(enum.Enum):
    """What a row is good for."""

    RECORD = "record"  # the fastest that is known to converge
    SAFE = "safe"  # converges more surely and costs little
    OTHER = "other"  # was used; by name only
    REHEARSAL = "rehearsal"  # tiny, on any machine; never a result


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One row: what to run on which node, and what it did where it ran."""

    name: str
    benchmark: Benchmark
    purpose: Purpose
    accelerators: int
    memory_gib: float  # of one accelerator, at least
    hyperparameters: Mapping[str, Any]  # keyed by MLLOG names, logged as they stand
    training: Mapping[str, Any]  # evaluation schedule and target, which are not logged
    source: str  # who ran it
    progress: float | None = None  # mean epochs or samples to converge, measured
    runs: int = 0  # how many runs that was
    failed: int | None = None  # how many of them did not converge; None where not known
    warnings: tuple[str, ...] = ()

    @property
    def failure_odds(self) -> float | None:
        """Share of runs that did not converge; None where not known."""
        return None if self.failed is None or not self.runs else self.failed / self.runs


def resnet_hyperparameters(
    *,
    batch: int,
    accumulation: int,
    accelerators: int,
    rate: float,
    warmup_epochs: float = 2,
    decay_epochs: float = 37,
    weight_decay: float = 5e-5,
    train_samples: int = 1_281_167,
    eval_samples: int = 50_000,
) -> dict[str, Any]:
    """Return all values of a LARS run from those that a row chooses.

    Decay steps are counted as the reference does (lars_util.py:53-159), from the end of warm-up:
    P x epochs - W + 1. Published logs count otherwise (NVIDIA's log epochs).
    """
    per_epoch = train_samples // batch
    warmup_steps = round(warmup_epochs * per_epoch)
    return {
        "global_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "opt_name": "lars",
        "lars_opt_base_learning_rate": rate,
        "lars_opt_end_learning_rate": 0.0001,
        "lars_opt_learning_rate_decay_poly_power": 2,
        "lars_opt_learning_rate_decay_steps": round(per_epoch * decay_epochs) - warmup_steps + 1,
        "lars_epsilon": 0.0,
        "lars_opt_learning_rate_warmup_epochs": warmup_epochs,
        "lars_opt_momentum": 0.9,
        "lars_opt_weight_decay": weight_decay,
        "model_bn_span": batch // (max(1, accelerators) * accumulation),
        "train_samples": train_samples,
        "eval_samples": eval_samples,
    }


def bert_hyperparameters(
    *,
    batch: int,
    accumulation: int,
    rate: float,
    steps: int,
    betas: tuple[float, float],
    weight_decay: float,
) -> dict[str, Any]:
    """Return all values of a LAMB run from those that a row chooses."""
    return {
        "global_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "max_sequence_length": 512,
        "max_predictions_per_seq": 76,
        "opt_name": "lamb",
        "opt_base_learning_rate": rate,
        "opt_lamb_epsilon": 1e-6,
        "opt_lamb_beta_1": betas[0],
        "opt_lamb_beta_2": betas[1],
        "opt_lamb_weight_decay_rate": weight_decay,
        "opt_lamb_learning_rate_decay_poly_power": 1.0,
        "opt_learning_rate_training_steps": steps,
        "opt_learning_rate_warmup_steps": 0,
        "num_warmup_steps": 0,
        "start_warmup_step": 0,
    }


def bert_eval_interval(batch: int) -> int:
    """Return samples between evaluations (reference README.md:173-194)."""
    return int(0.05 * (230.23 * batch + 3_000_000) / 25_000) * 25_000


# Evaluation after 3, 7, ... 35 epochs: the schedule of the published runs; 39 is a last chance
# that costs nothing where 35 was enough.
RESNET_TRAINING = {"eval_offset_epochs": 3, "max_epochs": 39, "target_accuracy": 0.759}


def bert_training(batch: int) -> dict[str, Any]:
    """Return BERT's evaluation schedule and target."""
    return {"eval_every_samples": bert_eval_interval(batch), "target_accuracy": 0.72}


def _resnet(
    shape: tuple[int, int],
    memory_gib: float,
    purpose: Purpose,
    evidence: tuple[str, int | None, int],
    *,
    rate: float,
    warmup_epochs: float = 2,
    decay_epochs: float = 37,
    weight_decay: float = 5e-5,
) -> Preset:
    """Make a row; `shape` is accelerators and images of each, `evidence` source, failed, runs."""
    accelerators, local = shape
    return Preset(
        name=f"resnet-{accelerators}x{local}",
        benchmark=Benchmark.RESNET,
        purpose=purpose,
        accelerators=accelerators,
        memory_gib=memory_gib,
        hyperparameters=resnet_hyperparameters(
            batch=local * accelerators,
            accumulation=1,
            accelerators=accelerators,
            rate=rate,
            warmup_epochs=warmup_epochs,
            decay_epochs=decay_epochs,
            weight_decay=weight_decay,
        ),
        training=RESNET_TRAINING,
        source=evidence[0],
        progress=35,
        failed=evidence[1],
        runs=evidence[2],
    )


def _bert(
    shape: tuple[int, ...],
    memory_gib: float,
    purpose: Purpose,
    evidence: tuple[str, float, int],
    optimizer: tuple[float, int, tuple[float, float], float],
) -> Preset:
    """Make a row.

    `shape` is accelerators, packed rows of each, accumulation steps (1); `evidence` source, mean
    samples, runs; `optimizer` rate, steps, betas, weight decay.
    """
    accelerators, rows, accumulation = (*shape, 1)[:3]
    batch = accelerators * rows * accumulation * SEQUENCES_PER_ROW
    rate, steps, betas, weight_decay = optimizer
    return Preset(
        name="bert-" + "x".join(map(str, shape)),
        benchmark=Benchmark.BERT,
        purpose=purpose,
        accelerators=accelerators,
        memory_gib=memory_gib,
        hyperparameters=bert_hyperparameters(
            batch=batch,
            accumulation=accumulation,
            rate=rate,
            steps=steps,
            betas=betas,
            weight_decay=weight_decay,
        ),
        training=bert_training(batch),
        source=evidence[0],
        progress=evidence[1],
        runs=evidence[2],
    )


_RECORD, _SAFE, _OTHER = Purpose.RECORD, Purpose.SAFE, Purpose.OTHER
_FAST = (0.60466, 0.85437)  # betas of the newer family, with weight decay 0.1
_SLOW = (0.9, 0.999)  # of the older one, with 0.01
_L40S = ("16x L40S, v4.0", 2_300_117, 9)
_A100 = ("8x and 4x A100-80GB, v2.0 to v3.0", 2_500_811, 158)

# Published logs v1.0 to v5.0, single nodes. ResNet's odds are runs that failed at epoch 35.
TABLE: tuple[Preset, ...] = (
    _resnet((8, 400), 75, _RECORD, ("8x H100 and H200, v3.0 to v4.0", 9, 180), rate=11.0),
    _resnet((8, 408), 38, _RECORD, ("8x A100, v1.0 to v3.0", 15, 214), rate=10.5),
    _resnet((8, 300), 44, _RECORD, ("8x L40S and L40, v3.1 and v4.0", 2, 25), rate=10.0),
    _resnet(
        (8, 256),
        24,
        _SAFE,
        ("8x Gaudi2, v3.0 and v3.1, 0.7616 at epoch 35", 0, 45),
        rate=9.0,
        warmup_epochs=3,
        decay_epochs=36,
    ),
    _resnet((4, 816), 75, _RECORD, ("4x H100, Fujitsu and Dell", 1, 25), rate=11.0),
    _resnet((4, 400), 44, _SAFE, ("4x H100 and 4x L40S, Dell v4.0", None, 0), rate=7.5),
    _resnet((4, 408), 38, _RECORD, ("4x A100, v1.1 to v2.1", 2, 55), rate=7.4),
    _resnet(
        (4, 256), 24, _RECORD, ("4x A100-40GB, Dell v2.1", None, 0), rate=6.0, weight_decay=2.5e-5
    ),
    _resnet((2, 408), 38, _RECORD, ("2x H100-PCIe", None, 0), rate=5.2),
    _resnet((2, 204), 20, _RECORD, ("2x A30", None, 0), rate=3.0),
    _bert(
        (8, 48), 75, _RECORD, ("8x H100, H200 and B200", 2_432_854, 617), (9.6e-4, 3680, _FAST, 0.1)
    ),
    _bert((4, 72), 75, _RECORD, ("4x H100 and GB200", 2_346_436, 20), (9.6e-4, 4500, _FAST, 0.1)),
    _bert((8, 22), 44, _RECORD, ("8x L40S, v3.1", 2_310_458, 10), (4.25e-4, 6700, _SLOW, 0.01)),
    _bert((8, 12, 2), 38, _RECORD, _L40S, (9.6e-4, 6700, _FAST, 0.1)),
    _bert((4, 16, 3), 44, _RECORD, _L40S, (9.6e-4, 6700, _FAST, 0.1)),
    _bert((4, 12, 4), 38, _RECORD, _L40S, (9.6e-4, 6700, _FAST, 0.1)),
    _bert((8, 28), 75, _OTHER, _A100, (4.25e-4, 6700, _SLOW, 0.01)),
    _bert((4, 28, 2), 75, _OTHER, _A100, (4.25e-4, 6700, _SLOW, 0.01)),
    _bert((4, 60), 75, _OTHER, ("4x H100", 2_627_815, 19), (9.6e-4, 6000, _FAST, 0.1)),
    _bert((4, 112), 75, _OTHER, ("4x H100", 2_754_872, 40), (9.6e-4, 3680, _FAST, 0.1)),
    _bert((4, 32), 75, _OTHER, ("4x A100-80GB", 2_477_082, 10), (3.6e-4, 12000, _SLOW, 0.01)),
    _bert((4, 16, 2), 38, _OTHER, ("4x A100-40GB", 2_703_514, 20), (3.5e-4, 13700, _SLOW, 0.01)),
    _bert((4, 22), 44, _OTHER, ("4x L40S, v4.0", 2_300_359, 9), (3e-4, 13900, _SLOW, 0.01)),
)

# Sizes fit for two CPU cores; the data is what launcher.rehearsal makes. Never a result.
REHEARSALS: Mapping[Benchmark, Preset] = {
    Benchmark.RESNET: Preset(
        name="rehearsal",
        benchmark=Benchmark.RESNET,
        purpose=Purpose.REHEARSAL,
        accelerators=0,
        memory_gib=0,
        hyperparameters=resnet_hyperparameters(
            batch=32,
            accumulation=1,
            accelerators=0,
            rate=6.0,
            warmup_epochs=1,
            decay_epochs=5,
            train_samples=1433,
            eval_samples=364,
        ),
        training={"eval_offset_epochs": 0, "max_epochs": 8, "target_accuracy": 0.9},
        source="measured on two CPU cores",
    ),
    Benchmark.BERT: Preset(
        name="rehearsal",
        benchmark=Benchmark.BERT,
        purpose=Purpose.REHEARSAL,
        accelerators=0,
        memory_gib=0,
        hyperparameters=bert_hyperparameters(
            batch=32, accumulation=1, rate=0.02, steps=400, betas=(0.9, 0.98), weight_decay=0.01
        )
        | {"max_sequence_length": 128, "max_predictions_per_seq": 19},
        training={"eval_every_samples": 640, "target_accuracy": 0.1},
        source="measured on two CPU cores",
    ),
}


def target(benchmark: Benchmark, *, rehearsal: bool) -> float:
    """Return the accuracy that a run must reach."""
    if rehearsal:
        return float(REHEARSALS[benchmark].training["target_accuracy"])
    return benchmark.facts.quality_target
