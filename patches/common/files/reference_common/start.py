"""The launcher's arguments and `hyperparameters.yaml` to one start of a reference program.

Every key has to be known and every value possible: what the reference cannot do as asked is refused
in one sentence. It never fills in a value, and never changes what the program computes.
"""

import argparse
import contextlib
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SECTIONS = ("benchmark", "implementation", "rehearsal", "preset", "accelerators", "submission")
SUBMISSION = ("org", "division", "status", "platform")


class RefusedError(Exception):
    """What the reference cannot do as asked, and what to ask instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the launcher wants one run to be."""

    rehearsal: bool
    accelerators: int  # 0: CPU
    submission: Mapping[str, str]
    hyperparameters: Mapping[str, Any]  # by MLLOG name
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    data: Path
    checkpoint: Path | None
    seed: int
    work: Path  # for what the program writes; gone when it has ended


def main(benchmark: str, program: Path, flags: Callable[[Order], Sequence[str]]) -> None:
    """Read the command line, turn the order into flags, and become the reference program."""
    parser = argparse.ArgumentParser(description=f"Train the reference's {benchmark} once.")
    parser.add_argument("--hyperparameters", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.results, prefix="work-") as work:
        try:
            document = read(chosen.hyperparameters, benchmark)
            given = flags(
                Order(
                    **document,
                    data=chosen.data,
                    checkpoint=chosen.checkpoint,
                    seed=chosen.seed,
                    work=Path(work),
                )
            )
        except RefusedError as error:
            sys.exit(f"error: {error}")
        become(program, given)


def read(path: Path, benchmark: str) -> dict[str, Any]:
    """Return the sections of a rendered file that an Order keeps."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RefusedError(f"{path}: cannot be read as YAML ({error}); render it again.") from error
    exactly(document, (*SECTIONS, "hyperparameters", "training", "model"), "")
    exactly(document["submission"], SUBMISSION, "submission.")
    asked = (document["benchmark"], document["implementation"])
    if asked != (benchmark, "reference"):
        raise RefusedError(
            f"{path}: it is for {asked[0]} by {asked[1]}; this is {benchmark} by the reference."
        )
    kept = ("rehearsal", "accelerators", "submission", "hyperparameters", "training", "model")
    return {key: document[key] for key in kept}


def exactly(section: Any, keys: Sequence[str], place: str) -> None:  # noqa: ANN401 - YAML's values
    """Refuse a section that lacks one of these keys or has another."""
    if not isinstance(section, Mapping):
        raise RefusedError(f"{place or 'the file'} is not a mapping; render it again.")
    if missing := [key for key in keys if key not in section]:
        raise RefusedError(f"key {place}{missing[0]} is missing; render the file again.")
    if unknown := sorted(section.keys() - set(keys)):
        raise RefusedError(f"key {place}{unknown[0]} is not one the reference knows; remove it.")


def insist(key: str, value: Any, wanted: Any, why: str) -> None:  # noqa: ANN401 - YAML's values
    """Refuse a value that the reference cannot take."""
    if value != wanted:
        raise RefusedError(f"{key} is {value!r}, but {why}; use {wanted!r} or our implementation.")


def count_gpus(order: Order) -> None:
    """Refuse when TensorFlow does not see the GPUs that the system file counts."""
    if not order.accelerators:
        return
    import tensorflow as tf  # noqa: PLC0415 - seconds, and only here

    seen = len(tf.config.list_physical_devices("GPU"))
    if seen != order.accelerators:
        raise RefusedError(
            f"accelerators is {order.accelerators}, but TensorFlow sees {seen} GPUs; correct the "
            "system file, or give the container its GPUs."
        )


def submission_flags(order: Order) -> list[str]:
    """Return who submits what, as the patched programs take it."""
    return [f"--submission_{key}={order.submission[key]}" for key in SUBMISSION]


def become(program: Path, flags: Sequence[str]) -> None:
    """Run a program in this process, as Python would run it by name."""
    sys.path.insert(0, str(program.parent))
    sys.argv = [str(program), *flags]
    with contextlib.chdir(program.parent):
        runpy.run_path(str(program), run_name="__main__")
