"""The ways to compute an update and an evaluation on this GPU to those that a run uses.

Whatever is fast is optional: it is tried on synthetic data against the plain way of computing the
same, and the verdict is logged. What one rank refuses none uses. Weights, moments and counters are
as before afterwards. It never reads data, and it is not needed on a CPU.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from bert import attention, fp8, graphs, synthetic
from bert.config import Config, Form, Precision
from bert.evaluate import Judge
from bert.lamb import Lamb, moments
from bert.model import Batch, Bert, losses
from bert.update import Losses, Update
from torch import Tensor

from pytorch_common import distributed
from pytorch_common.distributed import Process
from pytorch_common.failure import RunError
from pytorch_common.fastpath import Verdict, agreed, milliseconds, prove
from pytorch_common.mlperf import RunLog


def speed_up(model: Bert, update: Update, config: Config, process: Process, log: RunLog) -> None:
    """Compile, warm up and capture on synthetic data; weights and moments are put back."""
    training = config.training
    example = synthetic.batch(
        config, rows=config.rows(process.world_size), seed=process.rank, device=process.device
    )
    kept = update.state()
    if training.precision is Precision.FP8:
        verdict = prove_variant("fp8", in_fp8(model), model, update, example, gradients=False)
        log.event("fast_path", verdict.record)
        if not verdict.passed:
            raise RunError(f"training.precision is fp8, but it {verdict.note}; use bf16.")
    elif training.compile:  # TransformerEngine's layers are kernels already
        few = synthetic.batch(config, rows=synthetic.PROOF_ROWS, seed=0, device=process.device)
        fused = torch.compile(update.losses, dynamic=False)
        verdict = prove_variant("compile", fused, model, update, few)
        log.event("fast_path", verdict.record)
    if training.compile:
        log.event("fast_path", prove_moments(update.lamb).record)
    if not update.sharded:
        log.event("fast_path", prove_apex(update).record)
    update.restore(kept)
    update([example] * update.accumulation)  # loads kernels, makes NCCL's channels
    if training.cuda_graph and training.form is Form.PACKED:
        log.event("fast_path", graphs.capture_gradients(update, example).record)
        update.restore(kept)
        log.event("fast_path", graphs.capture_apply(update).record)
    update.restore(kept)
    torch.cuda.synchronize()


def speed_up_evaluation(
    model: Bert, judge: Judge, config: Config, process: Process, log: RunLog
) -> Judge:
    """Return what judges evaluation batches here: compiled and captured where that agrees."""
    training = config.training
    model.eval()
    with torch.no_grad():
        random = [
            synthetic.batch(config, rows=training.eval_rows, seed=seed, device=process.device)
            for seed in (0, 1)
        ]
        examples = [half_right(model, batch) for batch in random]
        if training.compile and training.precision is not Precision.FP8:
            fused = torch.compile(judge, dynamic=False)
            plain = [judge(example) for example in examples]
            verdict = prove(
                "compile:evaluation", lambda: list(map(fused, examples)), plain=plain, truth=None
            )
            verdict = agreed(verdict, device=process.device)
            log.event("fast_path", verdict.record)
            judge = fused if verdict.passed else judge
        if training.cuda_graph and training.form is Form.PACKED:
            judge, verdict = graphs.capture_judge(judge, examples)
            log.event("fast_path", verdict.record)
    model.train()
    return judge


def half_right(model: Bert, batch: Batch) -> Batch:
    """Make every second masked token of a batch what the model says, so that there is a number."""
    answers = model(batch)[0].argmax(-1)
    every_second = torch.arange(len(answers), device=answers.device) % 2 == 0
    return replace(batch, masked_ids=torch.where(every_second, answers, batch.masked_ids))


def prove_moments(lamb: Lamb) -> Verdict:
    """Let LAMB compute its elementwise part in one compiled kernel if that gives the same."""
    shape, device = (4, 1024), lamb.master.device
    start = torch.rand(shape, device=device)  # of gradients, m, v and u
    corrections = torch.tensor([0.4, 0.2], device=device)

    def run(compute: Callable[..., None]) -> list[Tensor]:
        parts = start.clone().unbind()
        compute(*parts, corrections, betas=(0.6, 0.8), epsilon=1e-6)
        return list(parts)

    fused = torch.compile(moments, dynamic=False)
    plain = run(moments)
    verdict = prove("lamb:compile", lambda: run(fused), plain=plain, truth=plain)
    verdict = agreed(verdict, device=device)
    if verdict.passed:
        lamb.moments = fused
    return verdict


def prove_apex(update: Update) -> Verdict:
    """Let apex's kernels compute LAMB where the image has them, they agree, and are faster here.

    Two steps from the middle of the schedule, on random gradients. Changes weights and moments.
    """
    lamb = update.lamb
    kept = update.state()
    before = lamb.master.clone()
    gradients = torch.zeros_like(update.total)
    for start, stop in update.flat.spans:  # what lies between never has any
        gradients[start:stop].normal_()
    plain_way = lamb.compute

    def run(compute: Callable[[Tensor, Tensor], None]) -> list[Tensor]:
        update.restore(kept)
        lamb.steps_taken.fill_(len(lamb.table) // 2)
        lamb.compute = compute
        for _ in range(2):
            lamb.step(gradients)
        lamb.compute = plain_way
        return [lamb.master - before]

    def fast() -> list[Tensor]:
        from bert.apex_lamb import ApexLamb  # noqa: PLC0415 - only some images carry apex

        made.append(ApexLamb(lamb, update.flat))
        return run(made[0])

    made: list[Callable[[Tensor, Tensor], None]] = []
    plain = run(plain_way)
    verdict = agreed(prove("lamb:apex", fast, plain=plain, truth=plain), device=update.device)
    if not verdict.passed:
        return verdict
    times = []
    for compute in (plain_way, made[0]):
        lamb.compute = compute
        times.append(milliseconds(lambda: lamb.step(gradients), device=update.device))
    ours, theirs = distributed.max_(torch.tensor(times, device=update.device)).tolist()
    if theirs >= ours:
        lamb.compute = plain_way
    note = f"agrees; {theirs:.3f} ms, the other way {ours:.3f} ms: the faster is used"
    return replace(verdict, passed=theirs < ours, note=note)


def in_fp8(model: Bert) -> Losses:
    """Compute the encoder's products in fp8, the losses outside."""
    network = fp8.InFp8(model)
    return lambda batch: losses(network(batch), batch)


def prove_variant(
    name: str,
    variant: Losses,
    model: Bert,
    update: Update,
    example: Batch,
    *,
    gradients: bool = True,
) -> Verdict:
    """Compare another way to compute losses and gradients with fp32; use it if as good as plain.

    Without dropout. Weights are those of `model`, so that fp32 is the truth about both ways.
    Without `gradients`, for fp8, whose are other numbers, losses alone are held against the plain.
    """
    model.eval()

    def run(compute: Losses, network: Bert) -> list[Tensor]:
        network.zero_grad(set_to_none=network is not model)  # its own are views of a flat buffer
        masked, following = compute(example)
        (masked + following).backward()
        found = [torch.stack([masked, following]).detach()]
        return found + [p.grad.clone() for p in network.parameters()] if gradients else found

    plain = run(update.losses, model)
    truth = None
    if gradients:
        exact = in_fp32(model)
        truth = run(lambda batch: losses(exact(batch), batch), exact)
    verdict = prove(name, lambda: run(variant, model), plain=plain, truth=truth)
    verdict = agreed(verdict, device=update.device)
    if verdict.passed:
        update.losses = variant
    model.train()
    return verdict


def in_fp32(model: Bert) -> Bert:
    """Copy a network, with the same weights in fp32 and an attention that can take them."""
    exact = copy.deepcopy(model).float()
    exact.needs_mask = True
    for layer in exact.layers:
        layer.attend = attention.sdpa
    return exact
