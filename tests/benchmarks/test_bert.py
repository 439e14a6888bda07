import json
import re

import pytest

from tests.benchmarks.test_resnet import ROOT, run


@pytest.mark.slow
def test_the_throughput_benchmark_runs_small_on_a_cpu():
    quick = ["--blocks", "2", "--block-seconds", "0.1", "--burst", "1", "--warm-steps", "1"]
    only = "ours-eager,hf-padded-eager"
    stdout = run("benchmarks/throughput.py", "--task", "bert", "--only", only, *quick, "--json")
    first, peer, last = json.loads(stdout)
    assert first["variant"] == last["variant"] == "ours-eager"
    assert first["median"] > 0
    assert first["loss"] > 0
    assert peer["median"] > 0 or peer["note"].startswith("absent: ")


@pytest.mark.slow
def test_the_table_says_what_an_evaluation_costs_beside_training():
    quick = ["--blocks", "1", "--block-seconds", "0.1", "--burst", "1", "--warm-steps", "1"]
    only = "ours-compile,ours-evaluation"
    lines = run("benchmarks/throughput.py", "--task", "bert", "--only", only, *quick).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("ours-")] == 2 * only.split(",")
    assert sum("of limit" in line for line in lines) == 4
    assert re.fullmatch(r"an evaluation costs [\d.]+% of the training before it .*", lines[-1])


def test_the_documented_work_is_what_the_model_counts():
    rows = [line for line in run("benchmarks/work_bert.py").splitlines() if "|" in line]
    page = (ROOT / "docs/bert.md").read_text()
    assert len(rows) == 12
    assert [row for row in rows if row not in page] == []
