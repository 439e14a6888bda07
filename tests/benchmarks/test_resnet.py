import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_throughput_benchmark_runs_small_on_a_cpu():
    quick = ["--blocks", "2", "--block-seconds", "0.1", "--burst", "1", "--warm-steps", "1"]
    only = "ours-eager,torchvision-eager"
    stdout = run("benchmarks/throughput.py", "--task", "resnet", "--only", only, *quick, "--json")
    first, peer, last = json.loads(stdout)
    assert first["variant"] == last["variant"] == "ours-eager"
    assert first["median"] > 0
    assert len(first["rates"]) == 2
    assert first["loss"] > 0
    assert '"path": "eager"' in first["note"]
    assert peer["median"] > 0 or "torchvision" in peer["note"]


def test_the_documented_traffic_is_what_the_model_counts():
    rows = [line for line in run("benchmarks/traffic_resnet.py").splitlines() if "|" in line]
    page = (ROOT / "docs/resnet.md").read_text()
    assert len(rows) == 8
    assert [row for row in rows if row not in page] == []
