"""BERT's TensorFlow checkpoint -> `model.safetensors`, by the training program's own code.

It runs in a process of its own with the overlay on its path: the launcher imports none of it.
"""

import os
import subprocess  # noqa: TID251 - an edge
import sys
from pathlib import Path

from launcher.errors import ConfigError
from launcher.paths import PATCHES

_PATHS = (PATCHES / "common/files", PATCHES / "bert/files/language_model/pytorch")


def convert(source: Path, destination: Path) -> str:
    """Write destination/model.safetensors and return what was written, in one line.

    Raises ConfigError with the converter's own sentence when the source is not the checkpoint.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bert.convert", source, destination],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, _PATHS))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["the conversion ended without a word."]
        raise ConfigError(lines[-1].removeprefix("error: "))
    return done.stdout.strip()
