"""Names to the same numbers on both sides: what the reference and the port are fed.

numpy only, so that the script under TensorFlow and the tests under PyTorch build identical weights,
batches and gradients without storing them. Every array is a function of its name and shape.
"""

import zlib
from dataclasses import dataclass

import numpy as np


def array(name: str, shape: tuple[int, ...], *, scale: float = 1.0, offset: float = 0.0):
    """Return float64 normal numbers that depend on the name alone."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return offset + scale * rng.standard_normal(shape)


def integers(name: str, shape: tuple[int, ...], low: int, high: int):
    """Return int64 numbers in [low, high) that depend on the name alone."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return rng.integers(low, high, shape)


# --- BERT -------------------------------------------------------------------------------------

BERT = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
LENGTHS = (24, 9, 17, 5)  # of 24: padding, and one row without
FIRST_SEGMENTS = (11, 4, 8, 3)
PREDICTIONS = (4, 1, 3, 2)  # of 4: padded predictions carry weight 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BertBatch:
    """One batch in the reference's padded form; [4, 24] and [4, 4]."""

    input_ids: np.ndarray
    input_mask: np.ndarray
    segment_ids: np.ndarray
    masked_lm_positions: np.ndarray
    masked_lm_ids: np.ndarray
    masked_lm_weights: np.ndarray
    next_sentence_labels: np.ndarray


def bert_batch(name: str = "batch") -> BertBatch:
    """Return a batch with rows of every length, as the records hold it."""
    rows, length, predictions = len(LENGTHS), max(LENGTHS), max(PREDICTIONS)
    place = np.arange(length)[None, :]
    lengths = np.array(LENGTHS)[:, None]
    mask = (place < lengths).astype(np.int64)
    ids = integers(f"{name}.ids", (rows, length), 1, BERT["vocab_size"]) * mask
    segments = ((place >= np.array(FIRST_SEGMENTS)[:, None]) & (place < lengths)).astype(np.int64)
    positions = np.zeros((rows, predictions), np.int64)
    labels = np.zeros((rows, predictions), np.int64)
    weights = np.zeros((rows, predictions))
    for row, count in enumerate(PREDICTIONS):
        chosen = np.argsort(integers(f"{name}.order{row}", (LENGTHS[row] - 1,), 0, 2**31))[:count]
        positions[row, :count] = np.sort(chosen) + 1
        labels[row, :count] = integers(f"{name}.label{row}", (count,), 1, BERT["vocab_size"])
        weights[row, :count] = 1.0
    return BertBatch(
        input_ids=ids,
        input_mask=mask,
        segment_ids=segments,
        masked_lm_positions=positions,
        masked_lm_ids=labels,
        masked_lm_weights=weights,
        next_sentence_labels=integers(f"{name}.next", (rows, 1), 0, 2),
    )


def bert_variable(name: str, shape: tuple[int, ...]):
    """Return the weight of a TensorFlow variable, in TensorFlow's layout.

    Scaled up against the 0.02 of real initialisation: with tiny activations tanh GELU and erf GELU
    cannot be told apart (they differ by 1e-9 there, and by 5e-4 at 2).
    """
    if name.endswith("gamma"):
        return array(name, shape, scale=0.2, offset=1.0)
    return array(name, shape, scale=0.1 if name.endswith(("bias", "beta")) else 0.2)


LAMB_VARIABLES = {
    "bert/encoder/layer_0/attention/self/query/kernel": (8, 8),
    "bert/encoder/layer_0/attention/self/query/bias": (8,),
    "bert/encoder/layer_0/attention/output/LayerNorm/gamma": (8,),
    "bert/embeddings/word_embeddings": (11, 8),
    "bert/embeddings/position_embeddings": (16, 8),
    "cls/predictions/output_bias": (11,),
    "cls/seq_relationship/output_weights": (2, 8),
    "bert/pooler/dense/kernel": (8, 8),  # starts at zero: its ratio must be 1
}
LAMB_STEPS = 10
# (beta_1, beta_2, weight decay): the classic set and the short-memory one of the records
LAMB_SETTINGS = ((0.9, 0.999, 0.01), (0.60466, 0.85437, 0.1))
LAMB_SCHEDULE = {"init_lr": 1e-2, "train_steps": 40, "warmup_steps": 6, "start_warmup_step": -2}


def lamb_weight(name: str):
    """Return the first value of one of LAMB_VARIABLES."""
    shape = LAMB_VARIABLES[name]
    return np.zeros(shape) if name.startswith("bert/pooler") else array(name, shape, scale=0.3)


def lamb_gradient(name: str, step: int):
    """Return the gradient of one of LAMB_VARIABLES at a step, sizes spread over four decades."""
    return array(f"{name}.g{step}", LAMB_VARIABLES[name], scale=10.0 ** -(step % 4))


# Each: init_lr, train_steps, warmup_steps, start_warmup_step and poly_power.
BERT_SCHEDULES = (
    (4e-4, 600, 287, -76, 1.0),
    (9.6e-4, 3680, 0, 0, 1.0),
    (2e-3, 1141, 100, 0, 1.0),
    (1e-3, 50, 10, 0, 2.0),
)
BERT_SCHEDULE_STEPS = (0, 1, 5, 9, 10, 11, 49, 50, 99, 100, 210, 211, 212, 400, 599, 600, 1140)

# --- ResNet -----------------------------------------------------------------------------------

RESNET_BATCH = 4
RESNET_SMOOTHING = 0.1


def resnet_images():
    """Return images as preprocessing leaves them: means subtracted; NHWC float64 [4,224,224,3]."""
    return array("images", (RESNET_BATCH, 224, 224, 3), scale=60.0)


def resnet_labels():
    """Return labels 0..999, int64 [4]."""
    return integers("labels", (RESNET_BATCH,), 0, 1000)


def resnet_variable(name: str, shape: tuple[int, ...]):
    """Return the weight of a Keras variable, e.g. `res2a_branch2a/kernel`, in Keras's layout."""
    kind = name.rsplit("/", 1)[1]
    if kind == "kernel":
        fan_in = int(np.prod(shape[:-1]))
        return array(name, shape, scale=(2.0 / fan_in) ** 0.5 if len(shape) == 4 else 0.05)
    if kind == "gamma":
        return array(name, shape, scale=0.1, offset=0.7)
    if kind == "moving_variance":
        return np.abs(array(name, shape, scale=0.3)) + 0.5
    return array(name, shape, scale=0.1)


def probe(name: str, shape: tuple[int, ...]):
    """Return the direction a large tensor is measured along: its dot with this is one number."""
    return array(f"{name}.probe", shape)


LARS_VARIABLES = {
    "conv1/kernel": (7, 7, 3, 8),
    "bn_conv1/gamma": (8,),
    "bn_conv1/beta": (8,),
    "fc1000/kernel": (16, 10),
    "fc1000/bias": (10,),
    "res2a_branch2a/kernel": (1, 1, 8, 8),  # starts at zero: ratio must be 1
    "res2a_branch2b/kernel": (3, 3, 8, 8),  # gradient zero at odd steps: ratio must be 1
}
LARS_STEPS = 10
LARS_FIRST_ITERATION = 3  # at 0 the learning rate is 0 and a step tests nothing


def lars_weight(name: str):
    """Return the first value of one of LARS_VARIABLES."""
    shape = LARS_VARIABLES[name]
    return np.zeros(shape) if name == "res2a_branch2a/kernel" else array(name, shape, scale=0.3)


def lars_gradient(name: str, step: int):
    """Return the gradient of one of LARS_VARIABLES at a step."""
    if name == "res2a_branch2b/kernel" and step % 2:
        return np.zeros(LARS_VARIABLES[name])
    return array(f"{name}.g{step}", LARS_VARIABLES[name], scale=10.0 ** -(step % 3))


# One schedule as a run sets it: a small one, and the README's of the reference (batch 1024).
RESNET_SCHEDULES = (
    {"base": 8.5, "warmup_epochs": 5, "epochs": 41, "steps_per_epoch": 1251, "end": 1e-4},
    {"base": 11.0, "warmup_epochs": 2, "epochs": 37, "steps_per_epoch": 400, "end": 1e-4},
    {"base": 2.0, "warmup_epochs": 2, "epochs": 5, "steps_per_epoch": 4, "end": 1e-4},
)
RESNET_SCHEDULE_STEPS = (
    0, 1, 2, 7, 8, 9, 12, 19, 20, 21, 25, 799, 800, 801, 6254, 6255, 6256, 14799, 14800, 14801,
    30000, 51290, 51291, 51292, 52000,
)  # fmt: skip
