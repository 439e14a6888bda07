"""Options of the test run: where the reference lies and which Python has TensorFlow; no engine."""

import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


def pytest_addoption(parser):
    group = parser.getgroup("reference")
    group.addoption(
        "--reference",
        default=os.environ.get("MLPERF_REFERENCE"),
        help="a clone (bare or not) of mlcommons/training; default: MLPERF_REFERENCE",
    )
    group.addoption(
        "--tensorflow-python",
        default=os.environ.get("MLPERF_TENSORFLOW_PYTHON"),
        help="a Python with TensorFlow 2.15.1; default: MLPERF_TENSORFLOW_PYTHON, else this one",
    )


@pytest.fixture(scope="session")
def reference(request) -> Path:
    """Return the clone of mlcommons/training, or skip."""
    place = request.config.getoption("--reference")
    if not place:
        pytest.skip("no reference: pass --reference or set MLPERF_REFERENCE")
    if not Path(place).is_dir():
        pytest.skip(f"no reference: {place} is not a directory")
    return Path(place)


@pytest.fixture(scope="session")
def tensorflow_python(request) -> str:
    """Return a Python that imports TensorFlow, or skip."""
    chosen = request.config.getoption("--tensorflow-python")
    if not chosen:
        if importlib.util.find_spec("tensorflow") is None:
            pytest.skip("no TensorFlow: pass --tensorflow-python or set MLPERF_TENSORFLOW_PYTHON")
        return sys.executable
    probe = "import importlib.metadata as m; m.version('tensorflow_estimator')"
    if subprocess.run([chosen, "-c", probe], check=False, capture_output=True).returncode:
        pytest.skip(f"no TensorFlow with Estimator in {chosen}")
    return chosen


@pytest.fixture
def no_engine(monkeypatch):
    """Point at an engine that is not there.

    The SDK leaves the socket of a failed connection to the garbage collector, so a test that uses
    this also ignores that ResourceWarning.
    """
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    yield
    gc.collect()
