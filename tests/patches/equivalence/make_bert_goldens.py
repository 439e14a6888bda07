"""The patched BERT reference to goldens/bert.npz: what it computes on the inputs of inputs.py.

    python make_bert_goldens.py --tree build/bert   # TensorFlow 2.15.1; `make tree TASK=bert`

Nothing here re-implements the reference: its own modules are imported from the tree and run.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, str(Path(__file__).parent))
import inputs

tf.disable_eager_execution()
SUBTREE = "language_model/tensorflow/bert"


def model_goldens() -> dict[str, np.ndarray]:
    """Forward, both losses, every gradient (also clipped) and the accuracy metric of one batch."""
    import modeling
    import run_pretraining

    batch = inputs.bert_batch()
    with tf.Graph().as_default():
        ids = {name: tf.constant(getattr(batch, name), tf.int32) for name in (
            "input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids",
            "next_sentence_labels",
        )}  # fmt: skip
        weights = tf.constant(batch.masked_lm_weights, tf.float32)
        config = modeling.BertConfig.from_dict(inputs.BERT)
        model = modeling.BertModel(
            config=config,
            is_training=True,
            input_ids=ids["input_ids"],
            input_mask=ids["input_mask"],
            token_type_ids=ids["segment_ids"],
        )
        mlm_loss, mlm_losses, mlm_log_probs = run_pretraining.get_masked_lm_output(
            config,
            model.get_sequence_output(),
            model.get_embedding_table(),
            ids["masked_lm_positions"],
            ids["masked_lm_ids"],
            weights,
        )
        nsp_loss, _, nsp_log_probs = run_pretraining.get_next_sentence_output(
            config, model.get_pooled_output(), ids["next_sentence_labels"]
        )
        variables = tf.trainable_variables()
        gradients = tf.gradients(mlm_loss + nsp_loss, variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        clipped, norm = tf.clip_by_global_norm(gradients, clip_norm=1.0)
        accuracy, update = tf.metrics.accuracy(
            labels=tf.reshape(ids["masked_lm_ids"], [-1]),
            predictions=tf.argmax(mlm_log_probs, axis=-1, output_type=tf.int32),
            weights=tf.reshape(weights, [-1]),
        )
        names = [variable.op.name for variable in variables]
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            for name, variable in zip(names, variables, strict=True):
                variable.load(inputs.bert_variable(name, tuple(variable.shape)), session)
            session.run(update)
            out = session.run(
                {
                    "loss/mlm": mlm_loss,
                    "loss/nsp": nsp_loss,
                    "loss/mlm_each": mlm_losses,
                    "sequence_output": model.get_sequence_output(),
                    "pooled_output": model.get_pooled_output(),
                    "mlm_log_probs": mlm_log_probs,
                    "nsp_log_probs": nsp_log_probs,
                    "accuracy": accuracy,
                    "global_norm": norm,
                }
            )
            plain, cut = session.run([gradients, clipped])
    out |= {f"gradient/{name}": value for name, value in zip(names, plain, strict=True)}
    out |= {f"clipped/{name}": value for name, value in zip(names, cut, strict=True)}
    return out


def _optimizer(setting: tuple[float, float, float], learning_rate: tf.Tensor) -> tf.train.Optimizer:
    import lamb_optimizer_v1

    beta_1, beta_2, decay = setting
    return lamb_optimizer_v1.LAMBOptimizer(
        learning_rate=learning_rate,
        weight_decay_rate=decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=1e-6,
        exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
    )


def _learning_rates(
    schedule: tuple[float, int, int, int, float], steps: tuple[int, ...]
) -> np.ndarray:
    """Read the rate that optimization.create_optimizer hands to its optimizer at each step."""
    import optimization

    init_lr, train_steps, warmup_steps, start_warmup_step, power = schedule
    seen = {}

    class Recorder(tf.train.GradientDescentOptimizer):
        def __init__(self, learning_rate: tf.Tensor, **_: object) -> None:
            seen["rate"] = learning_rate
            super().__init__(learning_rate)

    original = optimization.lamb_optimizer.LAMBOptimizer
    optimization.lamb_optimizer.LAMBOptimizer = Recorder
    try:
        with tf.Graph().as_default():
            weight = tf.get_variable("w", shape=[], initializer=tf.ones_initializer())
            optimization.create_optimizer(
                weight * weight, init_lr, train_steps, warmup_steps, False, "lamb", power,  # noqa: FBT003
                start_warmup_step,
            )  # fmt: skip
            step = tf.train.get_global_step()
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                rates = []
                for value in steps:
                    step.load(value, session)
                    rates.append(session.run(seen["rate"]))
    finally:
        optimization.lamb_optimizer.LAMBOptimizer = original
    return np.array(rates)


def lamb_goldens() -> dict[str, np.ndarray]:
    """Weights after each of ten LAMB updates, for two settings, rates from the schedule."""
    chosen = inputs.LAMB_SCHEDULE
    schedule = (chosen["init_lr"], chosen["train_steps"], chosen["warmup_steps"],
                chosen["start_warmup_step"], 1.0)  # fmt: skip
    rates = _learning_rates(schedule, tuple(range(inputs.LAMB_STEPS)))
    out = {"lamb/rates": rates}
    for index, setting in enumerate(inputs.LAMB_SETTINGS):
        with tf.Graph().as_default():
            rate = tf.placeholder(tf.float32, [])
            variables = {
                name: tf.get_variable(name, shape=shape)
                for name, shape in inputs.LAMB_VARIABLES.items()
            }
            feeds = {
                name: tf.placeholder(tf.float32, shape)
                for name, shape in inputs.LAMB_VARIABLES.items()
            }
            update = _optimizer(setting, rate).apply_gradients(
                [(feeds[name], variable) for name, variable in variables.items()]
            )
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                for name, variable in variables.items():
                    variable.load(inputs.lamb_weight(name), session)
                for step in range(inputs.LAMB_STEPS):
                    session.run(update, {rate: rates[step]} | {
                        feeds[name]: inputs.lamb_gradient(name, step) for name in variables
                    })  # fmt: skip
                    for name, value in session.run(variables).items():
                        out[f"lamb/{index}/{step}/{name}"] = value
    return out


def schedule_goldens() -> dict[str, np.ndarray]:
    """The learning rate at chosen steps of every schedule."""
    return {
        f"schedule/{index}": _learning_rates(schedule, inputs.BERT_SCHEDULE_STEPS)
        for index, schedule in enumerate(inputs.BERT_SCHEDULES)
    }


def accumulation_goldens() -> dict[str, np.ndarray]:
    """Weights after 4 micro-steps at 2 per update: clipped each, divided by 2, summed."""
    import deferred_grad_optimizer

    name, shape = "bert/pooler/dense/kernel", (8, 8)
    micro = [inputs.array(f"micro{index}", shape, scale=3.0) for index in range(4)]
    with tf.Graph().as_default():
        variable = tf.get_variable(name, shape=shape)
        feed = tf.placeholder(tf.float32, shape)
        optimizer = deferred_grad_optimizer.GradientAggregationOptimizer(
            tf.train.GradientDescentOptimizer(1.0), 2, use_tpu=False
        )
        (clipped,), _ = tf.clip_by_global_norm([feed], 1.0)
        step = tf.train.get_or_create_global_step()
        update = optimizer.apply_gradients([(clipped, variable)], global_step=step)
        out = {}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            variable.load(inputs.array("micro.weight", shape), session)
            for index, gradient in enumerate(micro):
                session.run(update, {feed: gradient})
                out[f"accumulation/{index}"] = session.run(variable)
    return out


def main() -> None:
    """Write the golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "goldens/bert.npz")
    options = parser.parse_args()
    sys.path.insert(0, str(options.tree / SUBTREE))
    import optimization  # noqa: F401 - defines the flags it reads
    from absl import flags

    flags.FLAGS(["goldens"])
    out = model_goldens() | lamb_goldens() | schedule_goldens() | accumulation_goldens()
    assert not any(re.search("nan", str(value)) for value in out.values())
    np.savez_compressed(options.output, **out)
    print(f"{options.output}: {len(out)} arrays, {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
