"""A fast way and a plain way of computing the same to a verdict: may this machine use the fast one.

Both run on synthetic data before the clock starts. A low-precision plain path has an error of its
own against the truth in fp32, so the fast path may be as wrong as the plain one is, within a
factor, and no more. A path that cannot run here is refused with the reason; it never ends the run.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from pytorch_common import distributed

T = TypeVar("T")

FACTOR = 1.5  # times the plain path's own error
FLOOR = 1e-5  # fp32: two orders of summation differ by about that
WITHOUT_TRUTH = 0.05  # of the plain path's result, where the truth does not fit into memory

# What an optional path can fail with: absent, not for this device, not compiled, out of memory.
REFUSALS = (ImportError, OSError, RuntimeError, AttributeError, LookupError, TypeError, ValueError)

Compute = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one fast path on this machine."""

    name: str
    passed: bool
    error: float | None  # relative, against the truth; None where it did not run
    allowed: float
    note: str

    @property
    def record(self) -> dict[str, float | str | bool | None]:
        """The verdict as the value of a log record."""
        return {
            "path": self.name,
            "passed": self.passed,
            "error": self.error,
            "allowed": self.allowed,
            "note": self.note,
        }


def relative_error(results: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return the L2 distance of two lists of tensors over the norm of the second, in float64."""
    distance = norm = 0.0
    for result, exact in zip(results, truth, strict=True):
        exact64 = exact.double()
        distance += float((result.double() - exact64).square().sum())
        norm += float(exact64.square().sum())
    return (distance / norm) ** 0.5 if norm else float(distance > 0)


def prove(
    name: str,
    fast: Compute,
    *,
    plain: Sequence[Tensor],
    truth: Sequence[Tensor] | None,
    without_truth: float = WITHOUT_TRUTH,
) -> Verdict:
    """Run the fast path and judge its result; `truth` is None where fp32 does not fit here."""
    if truth is None:
        allowed, exact = without_truth, plain
    else:
        allowed, exact = FACTOR * relative_error(plain, truth) + FLOOR, truth
    try:
        error = relative_error(fast(), exact)
    except REFUSALS as refusal:
        return refused(name, refusal, allowed=allowed)
    passed = error <= allowed  # false for NaN, too
    note = "agrees with the plain path" if passed else "disagrees with the plain path: not used"
    return Verdict(name=name, passed=passed, error=error, allowed=allowed, note=note)


def refused(name: str, refusal: Exception, *, allowed: float = 0.0) -> Verdict:
    """Return the verdict on a path that ended with one of REFUSALS."""
    first, _, _ = str(refusal).partition("\n")
    reason = f"cannot run here: {type(refusal).__name__}: {first}"
    return Verdict(name=name, passed=False, error=None, allowed=allowed, note=reason)


def agreed(verdict: Verdict, *, device: torch.device) -> Verdict:
    """Refuse on every rank what any rank refuses: where ranks must compute the same way.

    Rank 0 logs its own verdict only, so another's reason goes to stderr.
    """
    if distributed.rank() and not verdict.passed:
        text = f"rank {distributed.rank()}: {verdict.name}: {verdict.note}"
        print(text, file=sys.stderr, flush=True)
    against = torch.tensor(float(not verdict.passed), device=device)
    if distributed.max_(against).item() and verdict.passed:
        return replace(verdict, passed=False, note="agrees here, but not on another rank: not used")
    return verdict


def on_all_ranks(make: Callable[[], T], *, device: torch.device) -> T:
    """Make something that all ranks must have before any of them relies on it.

    Raises what `make` raised, and RuntimeError on the ranks where it did not.
    """
    try:
        made = make()
    except REFUSALS:
        distributed.max_(torch.ones((), device=device))
        raise
    if distributed.max_(torch.zeros((), device=device)).item():
        raise RuntimeError("another rank could not")
    return made


def milliseconds(run: Callable[[], None], *, device: torch.device, calls: int = 20) -> float:
    """Return the time of one call, of the fastest of three rounds. Waits for the device."""
    rounds = []
    for _ in range(3):
        _wait(device)
        started = time.perf_counter()
        for _ in range(calls):
            run()
        _wait(device)
        rounds.append((time.perf_counter() - started) / calls * 1e3)
    return min(rounds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
