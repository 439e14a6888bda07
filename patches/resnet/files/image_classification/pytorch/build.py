"""Everything a run needs, made before the clock starts: model, step, evaluation, data pipelines.

Warming up happens here, on synthetic data, and leaves no trace in the weights. It opens the data
set's names and indices and none of its images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from image_classification.pytorch import order, paths
from image_classification.pytorch.config import Config
from image_classification.pytorch.data import (
    Loader,
    Loading,
    evaluation_items,
    inspect,
    training_items,
)
from image_classification.pytorch.evaluate import Evaluation
from image_classification.pytorch.lars import Lars
from image_classification.pytorch.model import ResNet, adapted, decayed_by_sgd, initialise, lowered
from image_classification.pytorch.samples import Samples, open_split
from image_classification.pytorch.sgd import Sgd
from image_classification.pytorch.step import Learner, Optimizer, Shape, Step
from pytorch_common import graphs
from pytorch_common.distributed import Process
from pytorch_common.gradients import Gradients
from pytorch_common.masters import Masters
from pytorch_common.mlperf import RunLog

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FP16_LOSS_SCALE = 128.0  # static: tf2_common/utils/flags/_performance.py:45-54
DIVERGED = 10.0  # times the loss of guessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, ready for the clock."""

    step: Step
    evaluation: Evaluation
    training_data: Loader
    evaluation_data: Loader
    evaluation_batches: int  # of this rank
    loss_limit: float


def run(config: Config, process: Process, data: Path, seed: int, log: RunLog) -> Run:
    """Build and warm up everything. Raises RunError where data or machine do not fit."""
    if process.device.type == "cpu":
        torch.set_num_threads(1)  # the same sums on any machine; rehearsals are small
    torch.backends.cudnn.benchmark = process.device.type == "cuda"  # searched while warming up
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    batch = config.micro_batch(process.world_size)
    training, validation = _open(config, data)
    if config.rehearsal:  # a real run's images stay untouched until the clock runs
        inspect(training)
        inspect(validation)
    network = model(config, process.device, seed)
    batches = order.evaluation(len(validation), batch, process.rank, process.world_size)
    share = order.Share(
        seed=seed,
        samples=len(training),
        micro_batch=batch,
        rank=process.rank,
        world_size=process.world_size,
    )
    loading = _loading(config, process.device, batch)
    made = Run(
        step=step(config, network, process, seed, log),
        evaluation=Evaluation(
            network,
            batch=batch,
            image_size=config.model.image_size,
            input_dtype=input_dtype(config),
        ),
        training_data=Loader(
            training,
            training_items(
                training,
                share,
                image_size=config.model.image_size,
                crop_area=config.training.crop_area,
                flip_probability=config.training.flip_probability,
            ),
            loading,
        ),
        evaluation_data=Loader(
            validation,
            evaluation_items(
                validation,
                batches,
                image_size=config.model.image_size,
                resize_size=config.model.resize_size,
            ),
            loading,
        ),
        evaluation_batches=len(batches),
        loss_limit=DIVERGED * math.log(config.model.classes),
    )
    made.training_data.warm_up()
    made.evaluation_data.warm_up()
    if graphs.available(process.device):
        log.event("step_path_check", made.evaluation.capture().record)
    return made


def model(config: Config, device: torch.device, seed: int) -> ResNet:
    """Return the initialised network, equal on every rank."""
    network = ResNet(config.model, padding=config.training.padding)
    initialise(network, torch.Generator().manual_seed(seed))
    network.to(device=device, memory_format=torch.channels_last)
    return network


def step(config: Config, network: ResNet, process: Process, seed: int, log: RunLog) -> Step:
    """Return the update of a network, by the fastest way that proves itself here."""
    learning = learner(config, network, config.training.precision)

    def build(forward: paths.Forward) -> Step:
        return Step(
            learning,
            shape(config, process.world_size),
            input_dtype=input_dtype(config),
            forward=forward,
        )

    def exact() -> ResNet:
        return model(config, process.device, seed)

    return paths.choose(config.training.step, learning, build, exact, log)


def learner(config: Config, network: ResNet, precision: str) -> Learner:
    """Give a network an optimizer; its weights become masters and low-precision copies."""
    named = list(network.named_parameters())
    parameters = [parameter for _, parameter in named]
    masters = Masters(parameters)
    low = [lowered(name) for name, _ in named]
    masters.cast(parameters, low, PRECISIONS[precision])
    return Learner(
        model=network,
        masters=masters,
        gradients=Gradients(parameters),
        optimizer=_optimizer(config, named, masters),
    )


def shape(config: Config, world_size: int) -> Shape:
    """Return what an update consists of on this many ranks."""
    return Shape(
        micro_batch=config.micro_batch(world_size),
        accumulation_steps=config.hyperparameters.accumulation_steps,
        world_size=world_size,
        image_size=config.model.image_size,
        label_smoothing=config.training.label_smoothing,
        loss_scale=FP16_LOSS_SCALE if config.training.precision == "fp16" else 1.0,
    )


def input_dtype(config: Config) -> torch.dtype:
    """Return the type in which images reach the device: DALI has no bfloat16."""
    return torch.float32 if config.training.precision == "fp32" else torch.float16


def _optimizer(
    config: Config, named: Sequence[tuple[str, nn.Parameter]], masters: Masters
) -> Optimizer:
    kind, chosen = (
        (Lars, adapted) if config.hyperparameters.optimizer == "lars" else (Sgd, decayed_by_sgd)
    )
    return kind(
        masters.tensors,
        [chosen(name) for name, _ in named],
        momentum=config.hyperparameters.momentum,
        weight_decay=config.hyperparameters.weight_decay,
    )


def _open(config: Config, data: Path) -> tuple[Samples, Samples]:
    values, classes = config.hyperparameters, config.model.classes
    return (
        open_split(data, "train", classes=classes, expected=values.train_samples),
        open_split(data, "validation", classes=classes, expected=values.eval_samples),
    )


def _loading(config: Config, device: torch.device, batch: int) -> Loading:
    return Loading(
        batch=batch,
        image_size=config.model.image_size,
        device=device,
        dtype=input_dtype(config),
        threads=config.training.loader_threads,
        hardware_decoder_load=config.training.hardware_decoder_load,
    )
