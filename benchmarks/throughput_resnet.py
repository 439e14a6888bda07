"""ResNet-50's variants for throughput.py: our step, torchvision's and timm's model in a plain loop.

All train the same synthetic batch with label smoothing 0.1 and momentum. `equal_work` holds the
graphs against each other: torchvision's weights in our network give torchvision's loss.
"""

import dataclasses
import io
from collections.abc import Callable, Mapping

import torch
import yaml
from throughput import Options, Workload
from torch import Tensor, nn
from torch.nn import functional

from image_classification.pytorch import build, config, paths
from image_classification.pytorch.config import REAL_MODEL, Model
from image_classification.pytorch.model import ResNet
from launcher import render
from pytorch_common.distributed import Process
from pytorch_common.mlperf import RunLog

UNIT = "img"
BATCH = 400
ANCHOR = ("MXNet on one H200, 8xH200 v4.0", 7_950)
LIMIT = ("4.3 TB/s with norm, ReLU and addition in one kernel", 11_704)
SMOOTHING = 0.1
SMALL = Model(stages=(1, 1, 1, 1), width=64, classes=10, image_size=32, resize_size=36)
_PARTS = {"conv1": "conv_a", "conv2": "conv_b", "conv3": "conv_c"} | {
    "bn1": "bn_a",
    "bn2": "bn_b",
    "bn3": "bn_c",
    "downsample.0": "conv_shortcut",
    "downsample.1": "bn_shortcut",
}


def ours(way: str) -> Callable[[Options], Workload]:
    """Return our step, LARS included, computed in one way."""

    def prepare(options: Options) -> Workload:
        read = _config(options, way)
        process = Process(rank=0, local_rank=0, world_size=1, device=torch.device(options.device))
        torch.backends.cudnn.benchmark = True
        network = build.model(read, process.device, seed=1)
        record = io.StringIO()
        step = build.step(read, network, process, 1, RunLog(rank=0, stream=record))
        paths.synthetic(step)
        return Workload(
            step=lambda: step(lambda *_: None, 0.1),
            items=options.batch,
            loss=lambda: float(step.loss),
            note=record.getvalue().rpartition('"value": ')[2].partition(', "metadata"')[0],
        )

    return prepare


def theirs(create: Callable[[Options], nn.Module], way: str) -> Callable[[Options], Workload]:
    """Return a plain mixed-precision loop around somebody's model, as their scripts have it."""

    def prepare(options: Options) -> Workload:
        torch.backends.cudnn.benchmark = True
        device = torch.device(options.device)
        model = create(options).to(device=device, memory_format=torch.channels_last)
        run = torch.compile(model) if way == "compile" else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5)
        images, labels = _batch(options, device)
        kept = torch.zeros((), device=device)
        low = options.precision != "fp32"

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            dtype = torch.float16 if options.precision == "fp16" else torch.bfloat16
            with torch.autocast(device.type, dtype=dtype, enabled=low):
                loss = functional.cross_entropy(run(images), labels, label_smoothing=SMOOTHING)
            loss.backward()
            optimizer.step()
            kept.copy_(loss.detach())

        return Workload(step=step, items=options.batch, loss=lambda: float(kept))

    return prepare


def torchvision_model(options: Options) -> nn.Module:
    from torchvision.models import resnet

    sizes = _sizes(options)
    torch.manual_seed(1)
    return resnet.ResNet(resnet.Bottleneck, list(sizes.stages), num_classes=sizes.classes)


def timm_model(options: Options) -> nn.Module:
    from timm.models import resnet

    sizes = _sizes(options)
    torch.manual_seed(1)
    return resnet.ResNet(resnet.Bottleneck, sizes.stages, num_classes=sizes.classes)


VARIANTS: dict[str, Callable[[Options], Workload]] = {
    "ours-eager": ours("eager"),
    "ours-compile": ours("compile"),
    "torchvision-eager": theirs(torchvision_model, "eager"),
    "torchvision-compile": theirs(torchvision_model, "compile"),
    "timm-eager": theirs(timm_model, "eager"),
    "timm-compile": theirs(timm_model, "compile"),
}


@torch.no_grad()
def equal_work(options: Options) -> tuple[float, float]:
    """Return the losses of torchvision's network and of ours with its weights, padded as it."""
    device = torch.device(options.device)
    peer = torchvision_model(options).to(device)
    network = ResNet(_sizes(options), padding="symmetric").to(device)
    network.load_state_dict(from_torchvision(peer.state_dict()))
    images, labels = _batch(options, device)
    theirs_loss, our_loss = (
        float(functional.cross_entropy(one(images), labels, label_smoothing=SMOOTHING))
        for one in (peer, network)
    )
    return theirs_loss, our_loss


def evidence(options: Options) -> str:
    """Say how far the two graphs are apart."""
    try:
        theirs_loss, our_loss = equal_work(dataclasses.replace(options, batch=8))
    except ImportError as error:
        return f"equal work not checked: {error.name} is absent"
    return f"equal work: first loss {theirs_loss:.7f} in torchvision, {our_loss:.7f} in ours"


def conclusion(_: Mapping[str, float]) -> str:
    """Have nothing to add to the table."""
    return ""


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name torchvision's tensors as ours."""
    named = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        path, _, kind = name.rpartition(".")
        if path in {"conv1", "bn1"}:
            place = f"stem.{path[:-1]}"
        elif path == "fc":
            place = "head.dense"
        else:
            layer, block, part = path.split(".", 2)
            place = f"stages.{int(layer[-1]) - 1}.{block}.{_PARTS[part]}"
        named[f"{place}.{kind}"] = tensor
    return named


def _sizes(options: Options) -> Model:
    return SMALL if options.small else REAL_MODEL


def _batch(options: Options, device: torch.device) -> tuple[Tensor, Tensor]:
    sizes = _sizes(options)
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, sizes.image_size, sizes.image_size, 3)
    noise = torch.rand(shape, generator=generator) * 255 - 117
    images = noise.permute(0, 3, 1, 2).to(device)  # channels_last
    return images, (torch.arange(options.batch) % sizes.classes).to(device)


def _config(options: Options, way: str) -> config.Config:
    """Return a rehearsal's configuration of the wanted size: it is not a run and never logged."""
    sizes = _sizes(options)
    text = (
        render.environment()
        .get_template("resnet.yaml.j2")
        .render(
            preset={"name": "benchmark", "source": "none", "warnings": []},
            implementation="pytorch",
            rehearsal=True,
            accelerators=int(options.device == "cuda"),
            submission=dict.fromkeys(("org", "division", "status", "platform"), "benchmark"),
            hyperparameters={
                "global_batch_size": options.batch,
                "gradient_accumulation_steps": 1,
                "model_bn_span": options.batch,
                "train_samples": 1_281_167,
                "eval_samples": 50_000,
                "opt_name": "lars",
                "lars_opt_base_learning_rate": 9.0,
                "lars_opt_end_learning_rate": 0.0001,
                "lars_opt_learning_rate_decay_poly_power": 2,
                "lars_opt_learning_rate_decay_steps": 1000,
                "lars_epsilon": 0.0,
                "lars_opt_learning_rate_warmup_epochs": 2,
                "lars_opt_momentum": 0.9,
                "lars_opt_weight_decay": 0.00005,
            },
            training={"max_epochs": 39, "step": way, "precision": options.precision},
            notes={},
        )
    )
    document = yaml.safe_load(text)
    document["model"] = {
        "stages": list(sizes.stages),
        "width": sizes.width,
        "classes": sizes.classes,
        "image_size": sizes.image_size,
        "resize_size": sizes.resize_size,
    }
    return config.parse(document)
