"""ResNet-50 v1.5 as the reference builds it (resnet_model.py:240-440), in any precision.

The graph is the reference's, "same" padding included; sizes come from the configuration, so that a
rehearsal trains the same code. It never computes a loss and never changes its own weights.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from image_classification.pytorch.config import Model

BATCH_NORM_EPSILON = 1e-5  # resnet_model.py:41
BATCH_NORM_MOMENTUM = 0.1  # resnet_model.py:40 keeps 0.9; torch's is the share of the new value
EXPANSION = 4
# keras "he_normal" draws from a normal truncated at two sigma; dividing by the standard deviation
# of that distribution makes the result's sqrt(2 / fan_in) (keras VarianceScaling).
_TRUNCATED_STD = 0.87962566103423978
_DENSE_STD = 0.01  # resnet_model.py:425


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "same" padding of one axis: (before, after).

    At stride 2 an even size is padded at the end only: 56, 28 and 14 in the strided 3x3
    convolutions and 112 in the max-pool.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class BatchNorm(nn.Module):
    """Batch normalisation in fp32 statistics; running variance unbiased, as TF's fused one."""

    running_mean: Tensor  # (C,)
    running_var: Tensor  # (C,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Gamma 1 everywhere, also at the end of a block: no zero-gamma (resnet_model.py:112-160).
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> the same
        """Normalise by the batch in training, by the running statistics in evaluation."""
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPSILON,
        )


class Convolution(nn.Module):
    """A convolution without bias, padded as TensorFlow's "same"."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, same: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.stride, self.kernel, self.same = stride, kernel, same

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, outputs, H / stride, W / stride)
        """Convolve. Only an uneven padding needs a copy of its own."""
        if self.kernel == 1 or not self.same:
            return functional.conv2d(x, self.weight, stride=self.stride, padding=self.kernel // 2)
        top, bottom = same_padding(x.shape[2], self.kernel, self.stride)
        left, right = same_padding(x.shape[3], self.kernel, self.stride)
        if (top, left) == (bottom, right):
            return functional.conv2d(x, self.weight, stride=self.stride, padding=(top, left))
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, stride=self.stride)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride (v1.5), 1x1; a projected shortcut in a stage's first block."""

    def __init__(self, inputs: int, width: int, stride: int, *, first: bool, same: bool) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv_a = Convolution(inputs, width, 1, 1, same=same)
        self.bn_a = BatchNorm(width)
        self.conv_b = Convolution(width, width, 3, stride, same=same)
        self.bn_b = BatchNorm(width)
        self.conv_c = Convolution(width, outputs, 1, 1, same=same)
        self.bn_c = BatchNorm(outputs)
        self.conv_shortcut = Convolution(inputs, outputs, 1, stride, same=same) if first else None
        self.bn_shortcut = BatchNorm(outputs) if first else None

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, 4 * width, H', W')
        """resnet_model.py:112-160 (identity block) and 196-260 (projection block)."""
        y = functional.relu(self.bn_a(self.conv_a(x)))
        y = functional.relu(self.bn_b(self.conv_b(y)))
        y = self.bn_c(self.conv_c(y))
        if self.conv_shortcut is not None and self.bn_shortcut is not None:
            x = self.bn_shortcut(self.conv_shortcut(x))
        return functional.relu(y + x)


class Stem(nn.Module):
    """7x7 convolution at stride 2, explicitly padded by 3, and a 3x3 max-pool at stride 2."""

    def __init__(self, width: int, *, same: bool) -> None:
        super().__init__()
        self.conv = Convolution(3, width, 7, 2, same=False)  # conv1_pad: 3 on every side
        self.bn = BatchNorm(width)
        self.same = same

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, S, S) -> (N, width, S / 4, S / 4)
        """resnet_model.py:301-318."""
        x = functional.relu(self.bn(self.conv(x)))
        if self.same and same_padding(x.shape[2], 3, 2) == (0, 1):
            # After ReLU the missing last row and column can only lose, so leaving them out is
            # padding them: ceil_mode does that.
            return functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return functional.max_pool2d(x, 3, 2, padding=1)


class Head(nn.Module):
    """Mean over the image, and a dense layer with bias."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes), fp32
        """resnet_model.py:421-436: whatever follows the logits is fp32."""
        return self.dense(x.mean(dim=(2, 3))).float()


class ResNet(nn.Module):
    """The network, in parts that can be compiled and reduced one after another."""

    def __init__(self, sizes: Model, *, padding: str = "same") -> None:
        super().__init__()
        same = padding == "same"
        self.stem = Stem(sizes.width, same=same)
        stages, channels = [], sizes.width
        for index, blocks in enumerate(sizes.stages):
            width, stride = sizes.width << index, 1 if index == 0 else 2
            bottlenecks = []
            for number in range(blocks):
                first = number == 0
                bottlenecks.append(
                    Bottleneck(channels, width, stride if first else 1, first=first, same=same)
                )
                channels = EXPANSION * width
            stages.append(nn.Sequential(*bottlenecks))
        self.stages = nn.ModuleList(stages)
        self.head = Head(channels, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, S, S) -> (N, classes), fp32
        """Return logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits


@torch.no_grad()
def initialise(model: ResNet, generator: torch.Generator) -> None:
    """Draw convolutions from the truncated He normal, the dense kernel from N(0, 0.01**2).

    Drawn on the CPU in one fixed order: a seed gives the same weights on any device.
    """
    for module in model.modules():
        if isinstance(module, Convolution):
            fan_in = module.weight[0].numel()
            std = math.sqrt(2.0 / fan_in) / _TRUNCATED_STD
            drawn = torch.empty(module.weight.shape)
            nn.init.trunc_normal_(drawn, 0.0, std, -2 * std, 2 * std, generator=generator)
            module.weight.copy_(drawn)
        elif isinstance(module, nn.Linear):
            drawn = torch.empty(module.weight.shape)
            module.weight.copy_(drawn.normal_(0.0, _DENSE_STD, generator=generator))
            module.bias.zero_()


def lowered(name: str) -> bool:
    """Say whether this parameter computes in the run's precision; batch norm stays in fp32."""
    return "bn" not in name


def adapted(name: str) -> bool:
    """Say whether LARS adapts and decays this parameter: neither batch norm nor bias.

    common.py:228 skips names with "batch_normalization", "bias" or "bn".
    """
    return "bn" not in name and not name.endswith("bias")


def decayed_by_sgd(name: str) -> bool:
    """Say whether the reference's L2 loss covers this parameter: all but batch norm.

    resnet_runnable.py:284-296: the dense bias is in it.
    """
    return "bn" not in name
