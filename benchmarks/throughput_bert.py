"""BERT-large's variants for throughput.py: our update and Hugging Face's model, same sequences.

Lengths come from the published histogram of the Wikipedia set (mean 255 of 512 tokens); a step
trains all sequences of some packed rows, and rates count real sequences. Ours packs them. Hugging
Face's `BertForPreTraining` gets one padded row for each, and, as the upper bound of an easy fix,
our rows under a block-diagonal mask. `equal_work` holds the two graphs against each other.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT / "patches/common/files"),
    str(ROOT / "patches/bert/files/language_model/pytorch"),
]

from bert import attention, build, synthetic  # noqa: E402
from bert.checkpoint import view  # noqa: E402
from bert.config import (  # noqa: E402
    Config,
    Form,
    Hyperparameters,
    Precision,
    Sizes,
    Submission,
    Training,
)
from bert.data import collate, to_device  # noqa: E402
from bert.model import Batch, Bert, initialise, losses  # noqa: E402
from bert.variables import variables  # noqa: E402
from throughput import Options, Workload  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from pytorch_common.distributed import Process  # noqa: E402
from pytorch_common.mlperf import RunLog  # noqa: E402

UNIT = "seq"
BATCH = 96  # sequences: 48 packed rows, one accelerator's share of the record's 768
ANCHOR = ("PyTorch fp8 on one H200, 8xH200 v4.0", 1_064)
LIMIT = ("all products in bf16 at 790 TFLOP/s, last layer whole", 1_588)
EVALUATION = "ours-evaluation"
IGNORED = -100  # Hugging Face's label of a token that is not predicted
SMALL = Sizes(
    vocab_size=997,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=64,
)
# The reference's names -> Hugging Face's modules; the rest of a name is spelled the same.
_PARTS = {
    "bert/embeddings/word_embeddings": "bert.embeddings.word_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "bert.embeddings.token_type_embeddings.weight",
    "bert/embeddings/position_embeddings": "bert.embeddings.position_embeddings.weight",
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}
_ENDINGS = {"kernel": "weight", "gamma": "weight", "beta": "bias"}


def ours(precision: str | None, *, compiled: bool) -> Callable[[Options], Workload]:
    """Return our update, LAMB included, on packed rows."""

    def prepare(options: Options) -> Workload:
        config = _config(options, precision or options.precision, compiled=compiled)
        log = RunLog(rank=1)
        update = build.prepare(config, _process(options), 1, None, log).update
        rows = _rows(options)
        batch = to_device(collate(rows), update.device)

        def step() -> None:
            update.loss_sums.zero_()
            update([batch])

        return Workload(
            step=step,
            items=int((rows["lengths"] > 0).sum()),
            loss=lambda: float(update.loss_sums.sum()),
            note=f"{len(rows)} rows",
        )

    return prepare


def theirs(*, compiled: bool, packed: bool) -> Callable[[Options], Workload]:
    """Return a plain mixed-precision loop around Hugging Face's model with fused AdamW."""

    def prepare(options: Options) -> Workload:
        device = torch.device(options.device)
        model = hugging_face(options).to(device)
        run = torch.compile(model) if compiled else model
        fused = {"fused": True} if options.device == "cuda" else {}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, **fused)
        rows = _rows(options)
        form = Form.PACKED if packed else Form.PADDED
        inputs = labelled(to_device(collate(rows, form), device))
        kept = torch.zeros((), device=device)
        low = options.precision != "fp32"

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
                loss = peer_loss(run, inputs)
            loss.backward()
            optimizer.step()
            kept.copy_(loss.detach())

        sequences = int((rows["lengths"] > 0).sum())
        note = f"{len(inputs['input_ids'])} rows"
        return Workload(step=step, items=sequences, loss=lambda: float(kept), note=note)

    return prepare


def evaluating(options: Options) -> Workload:
    """Judge evaluation batches as a run does."""
    config = _config(options, options.precision, compiled=True)
    made = build.prepare(config, _process(options), 1, None, RunLog(rank=1))
    count = 4 if options.small else config.training.eval_rows
    rows = synthetic.random_rows(config, count=count, seed=1)
    batch = to_device(collate(rows), made.update.device)
    totals = torch.zeros(4, dtype=torch.float64, device=made.update.device)
    made.model.eval()

    @torch.no_grad()
    def step() -> None:
        totals.add_(made.judge(batch))

    return Workload(
        step=step,
        items=int((rows["lengths"] > 0).sum()),
        loss=lambda: float(1 - totals[0] / totals[1]),  # share of masked tokens that are wrong
        note=f"{count} rows, forward only; in place of a loss the share of wrong tokens",
    )


def conclusion(rates: Mapping[str, float]) -> str:
    """Say what evaluating costs beside training: the rules ask for 10,000 after every 150,000."""
    if not all(rates.get(name) for name in ("ours-compile", EVALUATION)):
        return ""
    share = 10_000 / rates[EVALUATION] / (150_000 / rates["ours-compile"])
    return f"an evaluation costs {share:.1%} of the training before it (aim: below 3 %)"


VARIANTS: dict[str, Callable[[Options], Workload]] = {
    "ours-compile": ours(None, compiled=True),
    "ours-eager": ours(None, compiled=False),
    "ours-fp8": ours("fp8", compiled=False),
    EVALUATION: evaluating,
    "hf-padded-eager": theirs(compiled=False, packed=False),
    "hf-padded-compile": theirs(compiled=True, packed=False),
    "hf-packed-compile": theirs(compiled=True, packed=True),
}


def hugging_face(options: Options, **others: float) -> nn.Module:
    """Make BertForPreTraining of the same sizes, attention by PyTorch's fused operator."""
    from transformers import BertConfig, BertForPreTraining

    sizes = _sizes(options)
    torch.manual_seed(1)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    names += ("intermediate_size", "max_position_embeddings", "type_vocab_size")
    same = {name: getattr(sizes, name) for name in names}
    made = BertConfig(
        **same | others,
        hidden_act="gelu_new",  # the tanh form
        layer_norm_eps=1e-12,
        attn_implementation="sdpa",
    )
    return BertForPreTraining(made)  # type: ignore[no-any-return]


def labelled(batch: Batch) -> dict[str, Tensor]:
    """Give a batch Hugging Face's names and shapes; an additive mask keeps segments apart."""
    segments = batch.segments
    shape = segments.numbers.shape
    labels = torch.full_like(batch.tokens, IGNORED)
    there = batch.masked_weights > 0
    labels[batch.masked_at[there]] = batch.masked_ids[there]
    return {
        "input_ids": batch.tokens.view(shape),
        "token_type_ids": batch.token_types.view(shape),
        "position_ids": batch.positions.view(shape),
        "attention_mask": segments.mask(torch.float32),
        "labels": labels.view(shape),
        "first_at": batch.first_at[batch.sequence_weights > 0],
        "next_is_random": batch.next_is_random[batch.sequence_weights > 0],
    }


def peer_loss(run: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Return Hugging Face's masked-LM loss plus that of the next sentence.

    A padded row has its [CLS] first, where Hugging Face looks; of a packed row it sees one of two.
    """
    rows, length = inputs["input_ids"].shape
    own = ("labels", "first_at", "next_is_random")
    out = run(**{name: value for name, value in inputs.items() if name not in own})
    masked = nn.functional.cross_entropy(
        out.prediction_logits.flatten(0, 1).float(),
        inputs["labels"].flatten(),
        ignore_index=IGNORED,
    )
    leading = inputs["first_at"] % length == 0
    following = nn.functional.cross_entropy(
        out.seq_relationship_logits.float(), inputs["next_is_random"][leading]
    )
    assert leading.sum() == rows
    return masked + following


@torch.no_grad()
def equal_work(options: Options) -> tuple[float, float]:
    """Return the losses of Hugging Face's network and of ours with its weights, no dropout."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    device = torch.device(options.device)
    peer = hugging_face(options, **still).to(device).eval()
    sizes = _sizes(options)
    network = Bert(sizes, attention.plain, needs_mask=True)
    initialise(network, torch.Generator().manual_seed(0))
    network.to(device).eval()
    state = peer.state_dict()
    for variable in variables(sizes):
        view(network, variable).copy_(state[peer_name(variable.name)])
    batch = to_device(collate(_rows(options)[:4], Form.PADDED), device)
    mine = sum(losses(network(batch), batch))
    return float(peer_loss(peer, labelled(batch))), float(mine)


def peer_name(name: str) -> str:
    """Return what Hugging Face calls a variable of the reference."""
    if name in _PARTS:
        return _PARTS[name]
    path, _, ending = name.replace("/layer_", "/layer/").rpartition("/")
    return f"{path.replace('/', '.')}.{_ENDINGS.get(ending, ending)}"


def evidence(options: Options) -> str:
    """Say how far the two graphs are apart, and what a step is made of."""
    rows = _rows(options)
    lengths = rows["lengths"].astype(int)
    tokens, sequences = int(lengths.sum()), int((lengths > 0).sum())
    said = (
        f"a step: {sequences} sequences of {tokens / sequences:.0f} tokens on average in"
        f" {len(rows)} rows, {1 - tokens / lengths.shape[0] / rows['tokens'].shape[1]:.1%} padding"
    )
    try:
        peer, mine = equal_work(options)
    except ImportError as error:
        return f"{said}\nequal work not checked: {error.name} is absent"
    return f"{said}\nequal work: first loss {peer:.6f} in Hugging Face, {mine:.6f} in ours"


def _sizes(options: Options) -> Sizes:
    return SMALL if options.small else Sizes()


@functools.cache
def _rows(options: Options):
    config = _config(options, options.precision, compiled=False)
    return synthetic.random_rows(config, count=options.batch // 2, seed=0)


def _process(options: Options) -> Process:
    return Process(rank=0, local_rank=0, world_size=1, device=torch.device(options.device))


def _config(options: Options, precision: str, *, compiled: bool) -> Config:
    sizes = _sizes(options)
    text = dict.fromkeys(("org", "division", "status", "platform"), "benchmark")
    return Config(
        benchmark="bert",
        implementation="pytorch",
        rehearsal=True,
        preset="benchmark",
        accelerators=int(options.device == "cuda"),
        submission=Submission(**text),
        hyperparameters=Hyperparameters(
            global_batch_size=options.batch,
            gradient_accumulation_steps=1,
            max_sequence_length=sizes.max_position_embeddings,
            max_predictions_per_seq=76,
            opt_name="lamb",
            opt_base_learning_rate=9.6e-4,
            opt_lamb_epsilon=1e-6,
            opt_lamb_beta_1=0.60466,
            opt_lamb_beta_2=0.85437,
            opt_lamb_weight_decay_rate=0.1,
            opt_lamb_learning_rate_decay_poly_power=1.0,
            opt_learning_rate_training_steps=100_000,
            opt_learning_rate_warmup_steps=0,
            num_warmup_steps=0,
            start_warmup_step=0,
        ),
        training=Training(
            eval_every_samples=150_000,
            precision=Precision(precision),
            compile=compiled,
        ),
        model=sizes,
    )
