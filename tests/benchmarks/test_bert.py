import json

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


def test_the_documented_work_is_what_the_model_counts():
    rows = [line for line in run("benchmarks/work_bert.py").splitlines() if "|" in line]
    page = (ROOT / "docs/bert.md").read_text()
    assert len(rows) == 12
    assert [row for row in rows if row not in page] == []
