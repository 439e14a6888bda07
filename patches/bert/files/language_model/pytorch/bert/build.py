"""A configuration to a network, its update and its judge on this rank's device, warm and proven.

All of it happens off the clock. It chooses precision and attention; `paths` chooses among the ways
to compute the rest. It never reads data.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from bert import attention, fp8, paths, synthetic
from bert.attention import Route
from bert.config import Config, Precision
from bert.evaluate import Judge, judged
from bert.flat import Flat
from bert.model import Bert, initialise
from bert.packing import DEPTH, masked_capacity
from bert.update import Update
from torch import Tensor, nn

from pytorch_common.distributed import Process
from pytorch_common.failure import RunError
from pytorch_common.fastpath import Verdict, agreed, prove
from pytorch_common.mlperf import RunLog

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP8: torch.bfloat16,  # of everything but the encoder's products
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a run trains and evaluates with."""

    model: Bert
    update: Update
    judge: Judge


def prepare(
    config: Config, process: Process, seed: int, checkpoint: Path | None, log: RunLog
) -> Prepared:
    """Make network and update with equal weights on every rank, and warm them up."""
    dtype = DTYPES[config.training.precision]
    model = network(config, choose_attention(config, process.device, dtype, log), process)
    if checkpoint is None:
        initialise(model, torch.Generator().manual_seed(seed))
    else:
        from bert import checkpoint as files  # noqa: PLC0415 - rehearsals need no safetensors

        files.load(model, checkpoint)
    model.to(process.device)
    shares = process.world_size if config.training.sharded_optimizer else 1
    update = Update(model, config, process, Flat(model, shares=shares, dtype=dtype))
    torch.manual_seed(seed * 1_000_003 + process.rank)  # dropout differs between ranks
    judge: Judge = lambda batch: judged(model(batch), batch)  # noqa: E731 - typed
    if process.device.type == "cuda":
        paths.speed_up(model, update, config, process, log)
        judge = paths.speed_up_evaluation(model, judge, config, process, log)
        torch.manual_seed(seed * 1_000_003 + process.rank)
    return Prepared(model=model, update=update, judge=judge)


def network(config: Config, route: str, process: Process) -> Bert:
    """Make the network on the CPU, without values."""
    training, rows = config.training, config.rows(process.world_size)
    capacity = masked_capacity(config.hyperparameters.max_sequence_length, DEPTH)
    in_fp8 = training.precision is Precision.FP8
    subset = training.last_layer_subset and (not in_fp8 or fp8.fits(rows, capacity, DEPTH))
    return Bert(
        config.model,
        attention.ROUTES[route],
        needs_mask=route in attention.NEEDS_MASK,
        last_layer_subset=subset,
        linear=fp8.linear() if in_fp8 else nn.Linear,
    )


def choose_attention(config: Config, device: torch.device, dtype: torch.dtype, log: RunLog) -> str:
    """Return the fastest route that agrees with the plain one here. Raises RunError if none."""
    tried = attention.candidates(config.training.attention, on_gpu=device.type == "cuda")
    for name in tried:
        verdict = agreed(prove_attention(name, config, device, dtype), device=device)
        log.event("fast_path", verdict.record)
        if verdict.passed:
            return name
    raise RunError(
        f"training.attention is {config.training.attention}, but {' and '.join(tried)} did not pass"
        f" its check on this machine ({verdict.note}); use plain."
    )


def prove_attention(name: str, config: Config, device: torch.device, dtype: torch.dtype) -> Verdict:
    """Compare contexts and gradients of one route with the plain one, without dropout."""
    sizes, length = config.model, config.hyperparameters.max_sequence_length
    segments = synthetic.batch(config, rows=synthetic.PROOF_ROWS, seed=0, device=device).segments
    generator = torch.Generator(device).manual_seed(0)
    shape = (synthetic.PROOF_ROWS * length, 3, sizes.num_attention_heads, sizes.head_size)
    qkv = torch.randn(shape, device=device, generator=generator)

    def run(route: Route, kind: torch.dtype) -> list[Tensor]:
        mine = qkv.to(kind, copy=True).requires_grad_()
        context = route(mine, segments, segments.mask(kind), 0.0)
        context.float().square().sum().backward()
        return [context.detach(), mine.grad]

    plain = run(attention.plain, dtype)
    truth = run(attention.plain, torch.float32)
    return prove(
        f"attention:{name}", lambda: run(attention.ROUTES[name], dtype), plain=plain, truth=truth
    )
