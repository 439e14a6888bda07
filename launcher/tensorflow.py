"""A Python of the user's -> proof that it can run the reference outside a container.

It starts that Python once to ask what it has. It installs nothing.
"""

import subprocess  # noqa: TID251 - this module asks another Python
from pathlib import Path

from launcher.errors import HostError

VERSION = "2.15.1"  # the last with Estimator, on which the reference's BERT stands
ASK = "import importlib.metadata as m; [m.version(p) for p in ('mlperf-logging', 'pyyaml')]; {}"
FIND = "import tensorflow as tf; print(tf.__version__)"
REMEDY = "docs/reference.md says how to make one; or use --engine docker"


def python(chosen: Path | None) -> Path:
    """Return the Python to run the reference with, as an absolute path.

    Raises HostError when none was named, or when it lacks what the reference imports.
    """
    if chosen is None:
        raise HostError(
            f"--tensorflow-python is missing; the reference without a container needs a Python "
            f"with TensorFlow {VERSION}: {REMEDY}."
        )
    place = chosen.absolute()  # not resolved: a virtual environment's python is a link
    try:
        done = subprocess.run(
            [place, "-c", ASK.format(FIND)], check=False, capture_output=True, text=True
        )
    except OSError as error:
        raise HostError(f"--tensorflow-python: {chosen} does not start ({error}).") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise HostError(
            f"--tensorflow-python: {chosen} cannot run the reference ({said[0]}); {REMEDY}."
        )
    if (found := done.stdout.split()[-1]) != VERSION:
        raise HostError(
            f"--tensorflow-python: {chosen} has TensorFlow {found}, the reference needs {VERSION}; "
            f"{REMEDY}."
        )
    return place
