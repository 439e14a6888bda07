"""The stored numbers are what the patched reference computes, wherever it can be run."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from launcher import patchqueue
from launcher.core.benchmark import Benchmark

HERE = Path(__file__).parent
RANDOM = ("initial/", "crop/")  # drawn anew by every process, whatever the seed


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.tensorflow
@pytest.mark.parametrize("benchmark", list(Benchmark))
def test_the_patched_reference_computes_the_stored_numbers(
    benchmark, reference, tensorflow_python, tmp_path
):
    tree = tmp_path / "tree"
    patchqueue.materialise(benchmark, tree, place=str(reference))
    made = tmp_path / "made.npz"
    script = HERE / f"make_{benchmark.value}_goldens.py"
    subprocess.run(
        [tensorflow_python, script, "--tree", tree, "--output", made],
        check=True,
        capture_output=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
        timeout=280,
    )

    with np.load(made) as new, np.load(HERE / f"goldens/{benchmark.value}.npz") as stored:
        assert sorted(new) == sorted(stored)
        for key in new:
            if not key.startswith(RANDOM):
                scale = max(np.abs(stored[key]).max(), 1e-12)
                assert np.abs(new[key] - stored[key]).max() <= 1e-6 * scale, key
