"""Both patched references, run by the launcher as a proponent would rehearse them."""

import json
import subprocess
import sys

import pytest

from launcher.core.benchmark import Benchmark
from launcher.paths import ROOT

pytestmark = [
    pytest.mark.reference,
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

# What the size of a rehearsal makes impossible, by the referee's own words.
EXCEPTIONS = {
    Benchmark.RESNET: (),
    Benchmark.BERT: ("Failed checks for eval_accuracy : (v['value'] >= 0.720)",),
}


@pytest.mark.parametrize("benchmark", list(Benchmark))
def test_the_launcher_rehearses_the_reference(benchmark, reference, tensorflow_python, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "launcher", "run", "--json", "--seeds", "1", "--rehearsal"),
            *("--task", benchmark.value, "--engine", "process", "--implementation", "reference"),
            *("--reference", str(reference), "--tensorflow-python", tensorflow_python),
            *("--results", str(tmp_path)),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = json.loads(done.stdout)["runs"]
    assert run["status"] == "success"
    log = tmp_path / "REHEARSAL-rehearsal" / benchmark.value / "run_0" / "REHEARSAL-result.txt"
    assert f'"key": "seed", "value": {run["seed"]}' in log.read_text()
    complaints = referee(log)
    assert len(complaints) == len(EXCEPTIONS[benchmark])
    for complaint, known in zip(complaints, EXCEPTIONS[benchmark], strict=True):
        assert known in complaint


def referee(log):
    """Return what mlperf-logging's compliance checker holds against a log."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlperf_logging.compliance_checker", "--ruleset", "4.0.0"),
            *(str(log), "--log_output", str(log.with_suffix(".checked"))),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    said = done.stderr.splitlines()
    return [line for line in said if line.startswith("WARNING") or "raised" in line]
