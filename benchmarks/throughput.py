"""Training throughput, ours beside others', on the same synthetic data in one run.

python benchmarks/throughput.py --task resnet [--batch 400] [--only ours,torchvision-eager] [--json]

One process per variant, in the order ours, theirs, ours: what the first and the last say of ours
tells a machine that drifts from one that does not. Per variant: warm-up, compilation and capture
first, then blocks of some seconds; printed are the median rate, its spread, the peak memory, power
and clock, and the loss after equal steps. Bare matrix products and copies come first, so that a
slow machine is seen. Without a GPU everything is small and says nothing about speed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
PATHS = ("", "patches/common/files", "patches/resnet/files", "patches/bert/files")
sys.path[:0] = [str(ROOT / path) for path in PATHS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every variant is told."""

    batch: int
    device: str
    precision: str
    small: bool  # sizes for a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A training step, ready to be timed."""

    step: Callable[[], None]
    items: int  # per step
    loss: Callable[[], float]  # of the last step
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one process found."""

    variant: str
    rates: list[float] = field(default_factory=list)  # items per second, one a block
    peak_gib: float = 0.0
    telemetry: str = ""
    loss: float = 0.0
    note: str = ""

    @property
    def median(self) -> float:
        """The rate of the middle block."""
        return statistics.median(self.rates) if self.rates else 0.0


def main() -> None:
    arguments = parse_arguments()
    task = import_module(f"throughput_{arguments.task}")
    options = Options(
        batch=arguments.batch or (8 if arguments.small else task.BATCH),
        device=arguments.device,
        precision="fp32" if arguments.small else arguments.precision,
        small=arguments.small,
    )
    if arguments.variant:
        print(json.dumps(asdict(measure(task, arguments, options))))
        return
    chosen = arguments.only.split(",") if arguments.only else list(task.VARIANTS)
    ours = [name for name in chosen if name.startswith("ours")]
    theirs = [name for name in chosen if not name.startswith("ours")]
    results = [in_own_process(name) for name in (*ours, *theirs, *ours)]
    if arguments.json:
        print(to_json(results))
    else:
        print(table(task, results, f"{probes(options)}\n{task.evidence(options)}"))


def measure(task: object, arguments: argparse.Namespace, options: Options) -> Measured:
    """Time one variant in this process."""
    try:
        workload = task.VARIANTS[arguments.variant](options)
    except ImportError as error:
        return Measured(variant=arguments.variant, note=f"absent: {error.name or error}")
    synchronize = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    for _ in range(arguments.warm_steps):
        workload.step()
    synchronize()
    rates = []
    for _ in range(arguments.blocks):
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < arguments.block_seconds:
            for _ in range(arguments.burst):
                workload.step()
            synchronize()
            steps += arguments.burst
        rates.append(steps * workload.items / (time.perf_counter() - started))
    peak = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else 0.0
    return Measured(
        variant=arguments.variant,
        rates=rates,
        peak_gib=peak,
        telemetry=telemetry() if options.device == "cuda" else "",
        loss=workload.loss(),
        note=workload.note,
    )


def in_own_process(variant: str) -> Measured:
    """Run this file again for one variant: no variant sees another's memory or tuning."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--variant", variant],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return Measured(variant=variant, note=f"failed with status {done.returncode}")
    return Measured(**json.loads(lines[-1]))


def probes(options: Options) -> str:
    """Return what bare matrix products and copies reach here."""
    if options.device != "cuda":
        return "no GPU: rates below say nothing about speed"
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    big = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(big)
    products = 2 * 8192**3 / seconds_of(lambda: a @ a) / 1e12
    copies = 2 * 2**30 / seconds_of(lambda: target.copy_(big)) / 1e12
    return f"{torch.cuda.get_device_name()}: {products:.0f} TFLOP/s bf16, {copies:.2f} TB/s"


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time of one of many calls on the GPU."""
    for _ in range(10):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(100):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / 100


def telemetry() -> str:
    """Return power and clock while the GPU is still warm."""
    query = "--query-gpu=power.draw,clocks.sm,temperature.gpu"
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()[0] if done.stdout else "unknown"


def table(task: object, results: list[Measured], machine: str) -> str:
    """Return the results for a reader, with ratios to the first of ours and to the anchors."""
    lines = [machine]
    for name, (what, rate) in (("anchor", task.ANCHOR), ("limit", task.LIMIT)):
        lines.append(f"{name}: {rate:,} {task.UNIT}/s, {what}")
    lines.append("")
    first = next((one.median for one in results if one.rates), 0.0)
    for one in results:
        if not one.rates:
            lines.append(f"{one.variant:24} {one.note}")
            continue
        spread = (max(one.rates) - min(one.rates)) / one.median
        lines.append(
            f"{one.variant:24} {one.median:10,.0f} {task.UNIT}/s  +-{spread / 2:.1%}"
            f"  first/this {first / one.median:5.2f}  of anchor {one.median / task.ANCHOR[1]:6.1%}"
            f"  of limit {one.median / task.LIMIT[1]:6.1%}"
            f"  {one.peak_gib:6.1f} GiB  loss {one.loss:.4f}  {one.telemetry}  {one.note}"
        )
    closing = task.conclusion({one.variant: one.median for one in results})
    return "\n".join([*lines, closing]).rstrip()


def to_json(results: list[Measured]) -> str:
    return json.dumps([asdict(one) | {"median": one.median} for one in results], indent=1)


def tasks() -> list[str]:
    """Name the benchmarks that have a module of variants beside this one."""
    here = Path(__file__).parent
    return sorted(path.stem.removeprefix("throughput_") for path in here.glob("throughput_*.py"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=tasks(), required=True)
    parser.add_argument("--only", default="", help="variants, separated by commas")
    parser.add_argument("--batch", type=int, default=0, help="items of one step")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp16", "fp32"])
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--block-seconds", type=float, default=5.0)
    parser.add_argument("--burst", type=int, default=10, help="steps between two waits")
    parser.add_argument("--warm-steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--variant", default="", help="internal: time this one here")
    arguments = parser.parse_args()
    arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments.small = arguments.device == "cpu"
    return arguments


if __name__ == "__main__":
    main()
