"""`hyperparameters.yaml` to the flags of `run_pretraining.py`, or a refusal.

References are to files of this folder at the pin. It trains nothing itself.
"""

import json
import math
from pathlib import Path

import records

from reference_common import start
from reference_common.start import Order, RefusedError, insist

PROGRAM = Path(__file__).resolve().parent / "run_pretraining.py"
LARGEST_EVAL_BATCH = 64  # evaluation runs on one device

_VALUES = (
    "global_batch_size",
    "gradient_accumulation_steps",
    "max_sequence_length",
    "max_predictions_per_seq",
    "opt_name",
    "opt_base_learning_rate",
    "opt_lamb_epsilon",
    "opt_lamb_beta_1",
    "opt_lamb_beta_2",
    "opt_lamb_weight_decay_rate",
    "opt_lamb_learning_rate_decay_poly_power",
    "opt_learning_rate_training_steps",
    "opt_learning_rate_warmup_steps",
    "num_warmup_steps",
    "start_warmup_step",
)
_TRAINING = ("target_accuracy", "eval_samples", "eval_every_samples", "precision")
_MODEL = (
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


def flags(order: Order) -> list[str]:
    """Return the program's flags. Raises RefusedError naming the key it cannot honour."""
    values, training = order.hyperparameters, order.training
    start.exactly(values, _VALUES, "hyperparameters.")
    start.exactly(training, _TRAINING, "training.")
    start.exactly(order.model, _MODEL, "model.")
    _check(order)
    start.count_gpus(order)
    train, evaluation = _data(order)
    batch = _eval_batch(training["eval_samples"])
    return [
        "--do_train",
        f"--bert_config_file={_config(order)}",
        f"--input_file={train}",
        f"--eval_input_file={evaluation}",
        *_checkpoint(order),
        f"--output_dir={order.work / 'checkpoints'}",
        "--keep_checkpoint_max=1",
        f"--seed={order.seed}",
        *start.submission_flags(order),
        f"--num_gpus={order.accelerators}",
        f"--max_seq_length={values['max_sequence_length']}",
        f"--max_predictions_per_seq={values['max_predictions_per_seq']}",
        f"--train_batch_size={values['global_batch_size']}",
        f"--eval_batch_size={batch}",
        f"--max_eval_steps={training['eval_samples'] // batch}",
        f"--eval_interval_samples={training['eval_every_samples']}",
        f"--target_accuracy={training['target_accuracy']!r}",
        "--optimizer=lamb",
        f"--learning_rate={values['opt_base_learning_rate']!r}",
        f"--lamb_beta_1={values['opt_lamb_beta_1']!r}",
        f"--lamb_beta_2={values['opt_lamb_beta_2']!r}",
        f"--log_epsilon={_exponent(values['opt_lamb_epsilon'])!r}",
        f"--lamb_weight_decay_rate={values['opt_lamb_weight_decay_rate']!r}",
        f"--poly_power={values['opt_lamb_learning_rate_decay_poly_power']!r}",
        f"--num_train_steps={values['opt_learning_rate_training_steps']}",
        f"--num_warmup_steps={values['num_warmup_steps']}",
        f"--start_warmup_step={values['start_warmup_step']}",
    ]


def _check(order: Order) -> None:
    values, training = order.hyperparameters, order.training
    insist("hyperparameters.opt_name", values["opt_name"], "lamb", "the rules fix it")
    insist(
        "hyperparameters.gradient_accumulation_steps",
        values["gradient_accumulation_steps"],
        1,
        "the reference counts its schedule in micro-batches",
    )
    insist(
        "hyperparameters.opt_learning_rate_warmup_steps",
        values["opt_learning_rate_warmup_steps"],
        values["num_warmup_steps"],
        "it is num_warmup_steps under another name",
    )
    insist("training.precision", training["precision"], "fp32", "the reference is the fp32 oracle")
    devices = max(1, order.accelerators)
    if values["global_batch_size"] % devices:
        raise RefusedError(
            f"hyperparameters.global_batch_size is {values['global_batch_size']}, which {devices} "
            f"devices cannot share; use a multiple of {devices}."
        )


def _exponent(epsilon: float) -> float:
    """Return x of epsilon = 10**x, which is how the reference takes it (optimization.py:22)."""
    exponent = round(math.log10(epsilon), 9)
    if 10**exponent != epsilon:
        raise RefusedError(
            f"hyperparameters.opt_lamb_epsilon is {epsilon!r}, but the reference takes powers of "
            "ten; use one, 1e-06 for example."
        )
    return exponent


def _eval_batch(samples: int) -> int:
    """Return the largest batch that evaluates each sample once: 10,000 needs an exact product."""
    return max(size for size in range(1, LARGEST_EVAL_BATCH + 1) if samples % size == 0)


def _config(order: Order) -> Path:
    """Write bert_config.json, whose keys are the model's and its activation."""
    path = order.work / "bert_config.json"
    path.write_text(json.dumps({**order.model, "hidden_act": "gelu"}), encoding="utf-8")
    return path


def _checkpoint(order: Order) -> list[str]:
    """Return the initial checkpoint, without which only a rehearsal starts."""
    if order.checkpoint is None:
        if order.rehearsal:
            return []
        raise RefusedError("--checkpoint is missing; name the folder with model.ckpt-28252.index.")
    found = sorted(order.checkpoint.rglob("*.index"))
    if len(found) != 1:
        raise RefusedError(
            f"{order.checkpoint}: {len(found)} TensorFlow checkpoints (*.index); the reference "
            "needs exactly one, model.ckpt-28252."
        )
    return [f"--init_checkpoint={found[0].with_suffix('')}"]


def _data(order: Order) -> tuple[str, str]:
    """Return the patterns of TFRecord files; a rehearsal's prose is put into such files first."""
    if order.rehearsal and not any((order.data / "train").glob("*.tfrecord*")):
        return records.write(
            order.data / "vocab.txt",
            order.work / "records",
            length=order.hyperparameters["max_sequence_length"],
            predictions=order.hyperparameters["max_predictions_per_seq"],
            samples=order.training["eval_samples"],
        )
    patterns = str(order.data / "train" / "*"), str(order.data / "eval" / "*")
    for pattern in patterns:
        if not any(Path(pattern).parent.glob("*")):
            raise RefusedError(f"{pattern}: no TFRecord files; make them with the patched scripts.")
    return patterns


if __name__ == "__main__":
    start.main("bert", PROGRAM, flags)
