"""A configuration to a network and its update on this rank's device, warm and proven.

All of it happens off the clock. Whatever is fast is optional: it is tried on synthetic data against
the plain way of computing the same, and its verdict is logged. It never reads data.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from bert import attention, fp8, synthetic
from bert.attention import Route
from bert.config import Config, Form, Precision
from bert.flat import Flat
from bert.graphs import capture
from bert.lamb import Lamb, moments
from bert.model import Batch, Bert, initialise, losses
from bert.packing import DEPTH, masked_capacity
from bert.update import Network, Update
from torch import Tensor, nn

from pytorch_common.distributed import Process
from pytorch_common.failure import RunError
from pytorch_common.fastpath import Verdict, prove
from pytorch_common.mlperf import RunLog

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP8: torch.bfloat16,  # of everything but the encoder's products
}
PROOF_ROWS = 4


def prepare(
    config: Config, process: Process, seed: int, checkpoint: Path | None, log: RunLog
) -> tuple[Bert, Update]:
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
    if process.device.type == "cuda":
        speed_up(model, update, config, process, log)
        torch.manual_seed(seed * 1_000_003 + process.rank)
    return model, update


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
        verdict = prove_attention(name, config, device, dtype)
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
    segments = synthetic.batch(config, rows=PROOF_ROWS, seed=0, device=device).segments
    generator = torch.Generator(device).manual_seed(0)
    shape = (PROOF_ROWS * length, 3, sizes.num_attention_heads, sizes.head_size)
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


def speed_up(model: Bert, update: Update, config: Config, process: Process, log: RunLog) -> None:
    """Compile, warm up and capture on synthetic data; weights and moments are put back."""
    example = synthetic.batch(
        config, rows=config.rows(process.world_size), seed=process.rank, device=process.device
    )
    kept = update.state()
    if config.training.precision is Precision.FP8:
        verdict = prove_variant("fp8", fp8.InFp8(model), model, update, example)
        log.event("fast_path", verdict.record)
        if not verdict.passed:
            raise RunError(f"training.precision is fp8, but it {verdict.note}; use bf16.")
    elif config.training.compile:  # TransformerEngine's layers are kernels already
        verdict = prove_variant("compile", torch.compile(model), model, update, example)
        log.event("fast_path", verdict.record)
    if config.training.compile:
        log.event("fast_path", prove_moments(update.lamb).record)
    update([example] * update.accumulation)  # loads kernels, makes NCCL's channels
    if config.training.cuda_graph and config.training.form is Form.PACKED:
        verdict = capture(update, example)
        log.event("fast_path", verdict.record)
    update.restore(kept)
    torch.cuda.synchronize()


def prove_moments(lamb: Lamb) -> Verdict:
    """Let LAMB compute its elementwise part in one compiled kernel if that gives the same."""
    shape, device = (4, 1024), lamb.master.device
    start = torch.rand(shape, device=device)  # of gradients, m, v and u
    corrections = torch.tensor([0.4, 0.2], device=device)

    def run(compute: Callable[..., None]) -> list[Tensor]:
        parts = start.clone().unbind()
        compute(*parts, corrections, betas=(0.6, 0.8), epsilon=1e-6)
        return list(parts)

    fused = torch.compile(moments)
    plain = run(moments)
    verdict = prove("lamb:compile", lambda: run(fused), plain=plain, truth=plain)
    if verdict.passed:
        lamb.moments = fused
    return verdict


def prove_variant(
    name: str, variant: Network, model: Bert, update: Update, example: Batch
) -> Verdict:
    """Compare losses of another way to compute the network, dropout off; use it if they agree."""
    model.eval()

    def run(network: Network) -> list[Tensor]:
        update.flat.gradients.zero_()
        masked, following = losses(network(example), example)
        (masked + following).backward()
        found = [torch.stack([masked, following]).detach()]
        return found if name == "fp8" else [*found, update.flat.gradients.clone()]

    plain = run(model)
    verdict = prove(name, lambda: run(variant), plain=plain, truth=None)
    if verdict.passed:
        update.network = variant
    model.train()
    return verdict
