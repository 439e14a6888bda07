"""The patched ResNet reference to goldens/resnet.npz: what it computes on the inputs of inputs.py.

    python make_resnet_goldens.py --tree build/resnet   # TensorFlow 2.15.1; `make tree TASK=resnet`

Nothing here re-implements the reference: its own modules are imported from the tree and run. Large
tensors are kept as two numbers: their norm, and their dot product with a fixed random direction.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))
import inputs

SUBTREE = "image_classification/tensorflow2"


def _build(dtype: str) -> tf.keras.Model:
    """Build the reference's network in a precision and give it the weights of inputs.py."""
    import resnet_model

    for backend in {resnet_model.backend, tf.keras.backend}:
        backend.set_floatx(dtype)
        backend.set_image_data_format("channels_last")
    model = resnet_model.resnet50(num_classes=1000, use_l2_regularizer=False)
    for weight in model.weights:
        weight.assign(inputs.resnet_variable(_name(weight), tuple(weight.shape)))
    return model


def _name(weight: tf.Variable) -> str:
    return weight.name.removesuffix(":0")


def measured(name: str, value: np.ndarray) -> np.ndarray:
    """Reduce a tensor to its norm and its component along a fixed direction."""
    flat = np.asarray(value, np.float64)
    return np.array([np.linalg.norm(flat), np.vdot(flat, inputs.probe(name, flat.shape))])


def gradient_goldens() -> dict[str, np.ndarray]:
    """Loss (label smoothing, mean over the global batch) and all 161 gradients, float64."""
    model = _build("float64")
    images = tf.constant(inputs.resnet_images())
    labels = tf.one_hot(inputs.resnet_labels(), 1000, dtype=tf.float64)
    with tf.GradientTape() as tape:
        probabilities = model(images, training=True)
        losses = tf.keras.losses.categorical_crossentropy(
            labels, probabilities, label_smoothing=inputs.RESNET_SMOOTHING
        )
        loss = tf.reduce_sum(losses) / inputs.RESNET_BATCH
    gradients = tape.gradient(loss, model.trainable_variables)
    out = {"train/loss": loss.numpy(), "train/probabilities": probabilities.numpy()}
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        out[f"gradient/{_name(variable)}"] = measured(_name(variable), gradient.numpy())
    # Evaluation, with moving statistics that keep the activations sane.
    fresh = _build("float64")
    out["eval/probabilities"] = fresh(images, training=False).numpy()
    logits = tf.keras.Model(fresh.input, fresh.layers[-2].output)
    out["eval/logits"] = logits(images, training=False).numpy()
    return out


def statistics_goldens() -> dict[str, np.ndarray]:
    """Moving mean and variance after one fp32 training step (the fused, unbiased path)."""
    model = _build("float32")
    model(tf.constant(inputs.resnet_images(), tf.float32), training=True)
    return {
        f"moving/{_name(weight)}": weight.numpy()
        for weight in model.non_trainable_weights
        if _name(weight).startswith(("bn_conv1", "bn3a_branch2b"))
    }


def initial_goldens() -> dict[str, np.ndarray]:
    """Deviation and extremes of freshly initialised kernels, in units of sqrt(2/fan_in)."""
    import resnet_model

    resnet_model.backend.set_floatx("float32")
    model = resnet_model.resnet50(num_classes=1000, use_l2_regularizer=False)
    out = {}
    for weight in model.trainable_weights:
        name, value = _name(weight), weight.numpy()
        if name in {"res5a_branch2b/kernel", "res4a_branch1/kernel"}:
            unit = (2.0 / np.prod(value.shape[:-1])) ** 0.5
            out[f"initial/{name}"] = np.array([value.std(), np.abs(value).max()]) / unit
        elif name == "fc1000/kernel":
            out[f"initial/{name}"] = np.array([value.std(), np.abs(value).max()]) / 0.01
    return out


def _schedule(index: int) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    import lars_util

    chosen = inputs.RESNET_SCHEDULES[index]
    return lars_util.PolynomialDecayWithWarmup(
        batch_size=1024,
        steps_per_epoch=chosen["steps_per_epoch"],
        train_steps=chosen["steps_per_epoch"] * chosen["epochs"],
        initial_learning_rate=chosen["base"],
        end_learning_rate=chosen["end"],
        warmup_epochs=chosen["warmup_epochs"],
    )


def schedule_goldens() -> dict[str, np.ndarray]:
    """The learning rate at chosen iterations of every schedule."""
    out = {}
    for index in range(len(inputs.RESNET_SCHEDULES)):
        schedule = _schedule(index)
        out[f"schedule/{index}"] = np.array(
            [
                float(schedule(tf.constant(step, tf.float32)))
                for step in inputs.RESNET_SCHEDULE_STEPS
            ]
        )
    return out


def _trajectory(optimizer: tf.keras.optimizers.Optimizer, decay: float) -> dict[str, np.ndarray]:
    """Apply ten updates; `decay` is the SGD path's L2 term, 2*wd*w on every gradient but BN's."""
    variables = {
        name: tf.Variable(inputs.lars_weight(name), dtype=tf.float32, name=name)
        for name in inputs.LARS_VARIABLES
    }
    optimizer.iterations.assign(inputs.LARS_FIRST_ITERATION)
    out = {}
    for step in range(inputs.LARS_STEPS):
        pairs = []
        for name, variable in variables.items():
            gradient = tf.constant(inputs.lars_gradient(name, step), tf.float32)
            if decay and "bn" not in name:
                with tf.GradientTape() as tape:
                    term = decay * tf.reduce_sum(variable * variable)  # resnet_runnable.py:284-296
                gradient += tape.gradient(term, variable)
            pairs.append((gradient, variable))
        optimizer.apply_gradients(pairs)
        out |= {f"{step}/{name}": variable.numpy() for name, variable in variables.items()}
    return out


def optimizer_goldens() -> dict[str, np.ndarray]:
    """Weights after each of ten updates of LARS and of SGD, rates from the third schedule."""
    import lars_optimizer

    lars = lars_optimizer.LARSOptimizer(
        learning_rate=_schedule(2),
        momentum=0.9,
        weight_decay=2e-4,
        skip_list=["batch_normalization", "bias", "bn"],
        epsilon=0.0,
    )
    out = {f"lars/{key}": value for key, value in _trajectory(lars, 0.0).items()}
    momentum = tf.keras.optimizers.legacy.SGD(learning_rate=_schedule(2), momentum=0.9)
    return out | {f"sgd/{key}": value for key, value in _trajectory(momentum, 2e-4).items()}


def evaluation_goldens() -> dict[str, np.ndarray]:
    """Two odd-sized pictures through the reference's own evaluation preprocessing."""
    import imagenet_preprocessing

    out = {}
    for name, (height, width) in {"wide": (281, 397), "tall": (351, 262)}.items():
        pixels = inputs.integers(f"picture.{name}", (height, width, 3), 0, 256).astype(np.uint8)
        png = tf.io.encode_png(pixels)  # lossless: the JPEG decoder is not what is compared
        image = imagenet_preprocessing.preprocess_image(
            image_buffer=png,
            bbox=None,
            output_height=224,
            output_width=224,
            num_channels=3,
            is_training=False,
        )
        out[f"evaluation/{name}"] = image.numpy().astype(np.float32)
    return out


def crop_goldens(draws: int = 6000) -> dict[str, np.ndarray]:
    """Area and aspect of the windows that the reference's training crop draws, two image sizes."""
    out = {}
    for height, width in ((375, 500), (500, 500)):
        tf.random.set_seed(1)

        @tf.function
        def draw(height: int = height, width: int = width) -> tf.Tensor:
            # The call of imagenet_preprocessing.py:407-414, with no boxes in the records.
            _, size, _ = tf.image.sample_distorted_bounding_box(
                [height, width, 3],
                bounding_boxes=tf.zeros([1, 0, 4]),
                min_object_covered=0.1,
                aspect_ratio_range=[0.75, 1.33],
                area_range=[0.05, 1.0],
                max_attempts=100,
                use_image_if_no_bounding_boxes=True,
            )
            return size

        sizes = np.array([draw().numpy()[:2] for _ in range(draws)], np.float64)
        area = sizes.prod(axis=1) / (height * width)
        aspect = sizes[:, 1] / sizes[:, 0]
        out[f"crop/{height}x{width}"] = np.concatenate([
            np.quantile(area, np.linspace(0, 1, 21)), np.quantile(aspect, np.linspace(0, 1, 21)),
            [area.mean(), aspect.mean()],
        ])  # fmt: skip
    return out


def main() -> None:
    """Write the golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "goldens/resnet.npz")
    options = parser.parse_args()
    sys.path.insert(0, str(options.tree / SUBTREE))
    import common
    from absl import flags

    common.define_keras_flags()
    flags.FLAGS(["goldens", "--optimizer=LARS"])
    out: dict[str, np.ndarray] = {}
    for make in (gradient_goldens, statistics_goldens, initial_goldens, schedule_goldens,
                 optimizer_goldens, evaluation_goldens, crop_goldens):  # fmt: skip
        made = make()
        print(f"{make.__name__}: {len(made)} arrays", flush=True)
        out |= made
    assert all(np.isfinite(value).all() for value in out.values())
    np.savez_compressed(options.output, **out)
    print(f"{options.output}: {len(out)} arrays, {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
