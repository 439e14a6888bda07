"""BERT's pre-training network and loss, as `modeling.py` and `run_pretraining.py` define them.

T tokens in, two sets of logits out. Everything works on a flat list of tokens, so that packed,
padded and unpadded batches take the same path; only attention knows which tokens belong together.
It never touches a device, a process group or a clock.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from bert.attention import Route, Segments
from bert.config import Sizes
from torch import Tensor, nn
from torch.nn import functional

LAYER_NORM_EPSILON = 1e-12  # modeling.py:361-367 (Keras' default)
MLM_EPSILON = 1e-5  # run_pretraining.py:315
PADDED_LOGIT = -10000.0  # of vocabulary entries that only round its size up
VOCABULARY_MULTIPLE = 64  # rows of the table: tensor cores want multiples of 8, and some more

Linear = Callable[[int, int], nn.Module]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """T tokens, M masked places and S sequence slots; what is only there for its shape weighs 0."""

    tokens: Tensor  # int64 [T]
    positions: Tensor  # int64 [T]: in the sequence
    token_types: Tensor  # int64 [T]: 0 or 1
    segments: Segments
    masked_at: Tensor  # int64 [M]: which token
    masked_ids: Tensor  # int64 [M]: what stood there
    masked_weights: Tensor  # float32 [M]: 1, or 0
    first_at: Tensor  # int64 [S]: where a sequence's [CLS] is
    next_is_random: Tensor  # int64 [S]
    sequence_weights: Tensor  # float32 [S]: 1, or 0


class Layer(nn.Module):
    """One encoder block, post-LN: modeling.py:830-922."""

    def __init__(self, sizes: Sizes, attend: Route, linear: Linear) -> None:
        super().__init__()
        hidden = sizes.hidden_size
        self.attend, self.heads = attend, sizes.num_attention_heads
        self.attention_dropout = sizes.attention_probs_dropout_prob
        self.qkv = linear(hidden, 3 * hidden)
        self.attention_output = linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, LAYER_NORM_EPSILON)
        self.intermediate = linear(hidden, sizes.intermediate_size)
        self.output = linear(sizes.intermediate_size, hidden)
        self.output_norm = nn.LayerNorm(hidden, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)

    def forward(
        self, x: Tensor, segments: Segments, mask: Tensor | None, wanted: Tensor | None
    ) -> Tensor:
        """[T, hidden] -> [T, hidden]; only the `wanted` tokens [W] of it where given."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [T, 3, heads, d]
        rate = self.attention_dropout if self.training else 0.0
        context = self.attend(qkv, segments, mask, rate).flatten(1)  # [T, hidden]
        if wanted is not None:
            x, context = x.index_select(0, wanted), context.index_select(0, wanted)
        # LN(x + drop(proj)), modeling.py:883-893
        x = self.attention_norm(x + self.dropout(self.attention_output(context)))
        # GELU is the tanh form, modeling.py:263-276
        inner = functional.gelu(self.intermediate(x), approximate="tanh")  # [T, intermediate]
        return self.output_norm(x + self.dropout(self.output(inner)))  # type: ignore[no-any-return]


class Bert(nn.Module):
    """Embeddings, encoder, pooler and both heads. Weights are uninitialised until `initialise`."""

    def __init__(
        self,
        sizes: Sizes,
        attend: Route,
        *,
        needs_mask: bool,
        last_layer_subset: bool = True,
        linear: Linear = nn.Linear,
    ) -> None:
        super().__init__()
        hidden = sizes.hidden_size
        rows = -(-sizes.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        self.sizes, self.needs_mask, self.last_layer_subset = sizes, needs_mask, last_layer_subset
        self.word_embeddings = nn.Parameter(torch.empty(rows, hidden))
        self.position_embeddings = nn.Parameter(torch.empty(sizes.max_position_embeddings, hidden))
        self.token_type_embeddings = nn.Parameter(torch.empty(sizes.type_vocab_size, hidden))
        self.embedding_norm = nn.LayerNorm(hidden, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)
        self.layers = nn.ModuleList(
            Layer(sizes, attend, linear) for _ in range(sizes.num_hidden_layers)
        )
        self.pooler = nn.Linear(hidden, hidden)
        self.transform = nn.Linear(hidden, hidden)
        self.transform_norm = nn.LayerNorm(hidden, LAYER_NORM_EPSILON)
        self.output_bias = nn.Parameter(torch.empty(rows))
        self.next_sentence = nn.Linear(hidden, 2)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of masked places [M, vocabulary] and of next sentences [S, 2]."""
        x = self.embed(batch)  # [T, hidden]
        mask = batch.segments.mask(x.dtype) if self.needs_mask else None
        masked_at, first_at, wanted = batch.masked_at, batch.first_at, None
        if self.last_layer_subset:  # the heads read nothing else of the last layer
            wanted = torch.cat([masked_at, first_at])
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, batch.segments, mask, wanted if number == last else None)
        if wanted is None:
            masked, first = x.index_select(0, masked_at), x.index_select(0, first_at)
        else:
            masked, first = x.split([len(masked_at), len(first_at)])
        return self.predict_masked(masked), self.predict_next(first)

    def embed(self, batch: Batch) -> Tensor:
        """Sum the three embeddings [T, hidden]; modeling.py:382-523."""
        types = functional.one_hot(batch.token_types, self.sizes.type_vocab_size)
        x = (
            functional.embedding(batch.tokens, self.word_embeddings)
            + functional.embedding(batch.positions, self.position_embeddings)
            + types.to(self.token_type_embeddings.dtype) @ self.token_type_embeddings
        )
        return self.dropout(self.embedding_norm(x))  # type: ignore[no-any-return]

    def predict_masked(self, x: Tensor) -> Tensor:
        """[M, hidden] -> logits [M, vocabulary, rounded up]; run_pretraining.py:276-301."""
        x = self.transform_norm(functional.gelu(self.transform(x), approximate="tanh"))
        return functional.linear(x, self.word_embeddings, self.output_bias)

    def predict_next(self, x: Tensor) -> Tensor:
        """[S, hidden] of [CLS] -> logits [S, 2]; modeling.py:211-219, run_pretraining.py:321."""
        return self.next_sentence(torch.tanh(self.pooler(x)))  # type: ignore[no-any-return]


def losses(logits: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """Return masked-LM and next-sentence loss of one replica, scalars in float32.

    The first divides by the number of masked tokens + 1e-5 (run_pretraining.py:303-316), the second
    is a plain mean (:321-341); training minimises their sum (:160).
    """
    entropy = functional.cross_entropy
    masked_loss = entropy(logits[0].float(), batch.masked_ids, reduction="none")  # [M]
    next_loss = entropy(logits[1].float(), batch.next_is_random, reduction="none")  # [S]
    masked_weights, sequence_weights = batch.masked_weights, batch.sequence_weights
    masked = (masked_weights * masked_loss).sum() / (masked_weights.sum() + MLM_EPSILON)
    following = (sequence_weights * next_loss).sum() / sequence_weights.sum()
    return masked, following


@torch.no_grad()
def initialise(model: Bert, generator: torch.Generator) -> None:
    """Draw the reference's initial weights: matrices from N(0, 0.02^2) cut at 2 sigma.

    modeling.py:377-379; biases and LayerNorm offsets 0, LayerNorm scales 1.
    """
    std = model.sizes.initializer_range
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, 0.0, std, -2 * std, 2 * std, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
    close_vocabulary(model)


@torch.no_grad()
def close_vocabulary(model: Bert) -> None:
    """Put the entries that only round the vocabulary up out of every softmax and every norm.

    Their logit is -10000, so their probability and every gradient of theirs is exactly 0.
    """
    model.word_embeddings[model.sizes.vocab_size :] = 0.0
    model.output_bias[model.sizes.vocab_size :] = PADDED_LOGIT
