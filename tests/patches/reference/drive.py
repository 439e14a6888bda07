"""Run a reference program as it is, or as our patches make it, so that two runs can be compared.

    drive.py PROGRAM SEED FLAG...      in the folder of PROGRAM, under a Python with TensorFlow 2.15

Input is read in order and every step's loss is shown. `--unpatched` as first flag stands in for
what the series does to make the program start at all: names that have moved, the seed, a size.
It stands in for nothing else, so whatever else the series did to the mathematics would show.
"""

import functools
import runpy
import sys
import types
from pathlib import Path

import absl.flags
import tensorflow as tf
from tensorflow.python.framework import ops

IMAGE_SIZE = 32
WIDTH_DIVISOR = 4


def restore_names() -> None:
    """Put back what TensorFlow 2.15 has moved or dropped, under its old names."""

    sharding = "tensorflow.compiler.xla.experimental.xla_sharding"
    for name in (sharding.rpartition(".")[0], sharding):
        module = types.ModuleType(name)
        module.xla_sharding = None
        sys.modules[name] = module
    ops.convert_to_tensor_v2 = ops.convert_to_tensor
    sys.modules["tensorflow.python.keras.layers"] = tf.keras.layers
    for part in ("backend", "initializers", "layers", "models", "regularizers"):
        public = getattr(tf.keras, part)
        sys.modules[f"tensorflow.python.keras.{part}"] = public
        setattr(sys.modules["tensorflow.python.keras"], part, public)
    legacy = types.ModuleType("tensorflow.python.keras.optimizer_v2")
    legacy.optimizer_v2 = types.SimpleNamespace(OptimizerV2=tf.keras.optimizers.legacy.Optimizer)
    legacy.gradient_descent = tf.keras.optimizers.legacy
    sys.modules["tensorflow.python.keras.optimizer_v2"] = legacy
    tf.keras.mixed_precision.experimental = types.SimpleNamespace(
        set_policy=tf.keras.mixed_precision.set_global_policy
    )
    define = absl.flags.DEFINE_enum

    def define_enum(name, default, enum_values, *rest, **named):
        values = enum_values.split("', '") if isinstance(enum_values, str) else enum_values
        return define(name, default, values, *rest, **named)

    absl.flags.DEFINE_enum = define_enum


def shrink(side: int, divisor: int) -> None:
    """Give the unpatched network the sizes that flags give the patched one."""
    import imagenet_preprocessing  # noqa: PLC0415 - the program's folder decides which
    import resnet_model  # noqa: PLC0415

    class Layers:
        def __getattr__(self, name):
            return getattr(tf.keras.layers, name)

        def Input(self, shape):  # noqa: N802 - Keras's name
            return tf.keras.layers.Input(shape=(side, side, shape[-1]))

        def Conv2D(self, filters, *rest, **named):  # noqa: N802
            return tf.keras.layers.Conv2D(filters // divisor, *rest, **named)

    resnet_model.tf_python_keras_layers = Layers()
    resnet_model.identity_block = lambda tensor, *_, **__: tensor
    imagenet_preprocessing.DEFAULT_IMAGE_SIZE = side


def seed_resnet(seed: int) -> None:
    """Seed the unpatched program where the series seeds it: before it prints its flags."""
    import common  # noqa: PLC0415 - the program's folder decides which

    show = common.print_flags

    def print_flags(flags):
        tf.keras.utils.set_random_seed(seed)
        show(flags)

    common.print_flags = print_flags


def read_in_order() -> None:
    """Let one element pass the input pipeline after the other.

    Distortions draw from one generator; side by side, elements take turns as they come. The step
    itself needs nothing of this: XLA's and Eigen's CPU kernels repeat themselves to the last bit.
    """

    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False  # they run maps abreast

    def one_by_one(method):
        def sequential(*arguments, num_parallel_calls=None, **named):
            del num_parallel_calls
            return method(*arguments, **named).with_options(options)

        return sequential

    for name in ("map", "interleave"):
        setattr(tf.data.Dataset, name, one_by_one(getattr(tf.data.Dataset, name)))


def show_every_loss(seed: int | None) -> None:
    """Make Estimator log each step's loss, and seed it where the program does not."""
    config = tf.estimator.RunConfig

    def run_config(**named):
        if seed is not None:
            named["tf_random_seed"] = seed
        return config(**named, log_step_count_steps=1)

    tf.estimator.RunConfig = tf.compat.v1.estimator.RunConfig = run_config


def main() -> None:
    program, seed, *flags = sys.argv[1:]
    unpatched = bool(flags) and flags[0] == "--unpatched"
    resnet = program.startswith("resnet")
    sys.path.insert(0, str(Path.cwd()))
    read_in_order()
    if unpatched:
        del flags[0]
        restore_names()
        if resnet:
            sample = tf.image.sample_distorted_bounding_box
            tf.image.sample_distorted_bounding_box = functools.partial(sample, seed=1)
            seed_resnet(int(seed))
            shrink(IMAGE_SIZE, WIDTH_DIVISOR)
    else:
        flags.append(f"--seed={seed}")
        if resnet:
            flags += ["--noidentity_blocks"]
            flags += [f"--image_size={IMAGE_SIZE}", f"--width_divisor={WIDTH_DIVISOR}"]
    if not resnet:
        show_every_loss(int(seed) if unpatched else None)
    sys.argv = [program, *flags]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
