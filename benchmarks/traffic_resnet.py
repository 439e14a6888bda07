"""The memory traffic of a ResNet-50 training step, counted layer by layer for docs/resnet.md.

python benchmarks/traffic_resnet.py [--gigabytes-per-second 4300] [--teraflops 790]

Counts activations of 16 bits that are read or written once per kernel, no reuse in caches; weights
are shared by the batch and left out. A model, not a measurement: what it predicts is a limit.
"""

import argparse
from dataclasses import dataclass

BYTES = 2
STAGES, WIDTH, IMAGE, CLASSES = (3, 4, 6, 3), 64, 224, 1000
TRAINING_PASSES = 3  # forward, data gradient, weight gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Elements per image, and multiply-adds."""

    inputs: int  # of all convolutions
    outputs: int  # of all convolutions, which is what batch norms see
    image: int  # the stem's input has no data gradient
    rectified: int  # outputs of ReLUs
    joins: int  # outputs of the additions
    inner: int  # batch-norm outputs that only a convolution reads
    pooled: int
    padded: int  # inputs of the strided 3x3 convolutions, copied to pad them unevenly
    multiply_adds: int


def count() -> Counts:
    """Walk the network (resnet_model.py:278-440) and count."""
    size, channels = IMAGE // 4, WIDTH
    stem = WIDTH * (IMAGE // 2) ** 2
    layers = [(3, WIDTH, 7, IMAGE, IMAGE // 2)]  # inputs, outputs, kernel, size before and after
    rectified, joins, inner, padded = stem, 0, 0, 0
    for stage, blocks in enumerate(STAGES):
        width = WIDTH << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            after = size // stride
            layers += [
                (channels, width, 1, size, size),
                (width, width, 3, size, after),
                (width, 4 * width, 1, after, after),
            ]
            if not block:
                layers.append((channels, 4 * width, 1, size, after))
            inner += width * size**2 + width * after**2
            joins += 4 * width * after**2
            rectified += width * size**2 + width * after**2 + 4 * width * after**2
            padded += width * size**2 if stride == 2 else 0
            size, channels = after, 4 * width
    return Counts(
        inputs=sum(i * before**2 for i, _, _, before, _ in layers),
        outputs=sum(o * after**2 for _, o, _, _, after in layers),
        image=3 * IMAGE**2,
        rectified=rectified,
        joins=joins,
        inner=inner,
        pooled=2 * (stem + stem // 4),
        padded=padded,
        multiply_adds=sum(i * o * k**2 * after**2 for i, o, k, _, after in layers)
        + channels * CLASSES,
    )


def ladder(c: Counts) -> dict[str, int]:
    """Return elements moved per image for each way of computing the same step."""
    convolutions = TRAINING_PASSES * (c.inputs + c.outputs) - c.image
    # Forward: statistics read, apply reads and writes. Backward: sums read 2, apply 2 and 1.
    norms = 8 * c.outputs
    relus = 5 * c.rectified  # read, write; read 2, write
    additions = 6 * c.joins  # read 2, write; the split's gradients the same
    # In one kernel with its norm a ReLU costs nothing more; an addition reads the shortcut and
    # writes its gradient, and the split still adds two gradients.
    fused = convolutions + norms + c.pooled + 5 * c.joins
    statistics = 3 * c.outputs  # done where a convolution writes what they read
    applied = 2 * c.inner  # done where a convolution reads it
    return {
        "convolutions alone": convolutions,
        "eager: norm, ReLU and addition apart": convolutions + norms + relus + additions + c.pooled,
        "norm, ReLU and addition in one kernel": fused,
        "statistics and sums in the convolutions' epilogues": fused - statistics,
        "forward normalisation in the convolutions' prologues, too": fused - statistics - applied,
        "uneven padding as copies of its own (added to any of these)": 4 * c.padded,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes-per-second", type=float, default=4300, help="memory, copied")
    parser.add_argument("--teraflops", type=float, default=790, help="16-bit matrix products")
    arguments = parser.parse_args()
    c = count()
    flops = 2 * (TRAINING_PASSES * c.multiply_adds - WIDTH * 3 * 49 * (IMAGE // 2) ** 2)
    print(f"{c.multiply_adds / 1e9:.3f} GMAC forward, {flops / 1e9:.2f} GFLOP trained per image")
    print(f"tensor limit {arguments.teraflops * 1e12 / flops:,.0f} img/s")
    print("| way | MB per image | limit, img/s |\n|---|---|---|")
    for way, elements in ladder(c).items():
        limit = arguments.gigabytes_per_second * 1e9 / (elements * BYTES)
        print(f"| {way} | {elements * BYTES / 1e6:.1f} | {limit:,.0f} |")


if __name__ == "__main__":
    main()
