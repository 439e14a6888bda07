import json
import subprocess

import pytest

from launcher import official, runset
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.errors import ConfigError, LogError
from launcher.paths import ROOT
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results/v4.0"


def logs(folder, benchmark=Benchmark.RESNET, **replacements):
    """Write a stranger's five or ten logs; log `n` with `replacements[n]` applied."""
    folder.mkdir(parents=True)
    for number in range(benchmark.facts.required_runs):
        text = recorded.log(
            benchmark, seed=number, start_ms=recorded.START_MS + number * 10**7, minutes=13
        )
        for old, new in replacements.get(f"_{number}", ()):
            assert old in text
            text = text.replace(old, new)
        (folder / f"result_{number}.txt").write_bytes(text)
    return runset.load(folder, benchmark)


def errors(opinion):
    return [each for each in opinion.findings if each.severity is Severity.ERROR]


@pytest.fixture(scope="module")
def published():
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    sets = [runset.load(folder) for folder in runset.find(PUBLISHED)]
    return list(zip(sets, official.judge(sets), strict=True))


def test_published_factors_are_those_of_each_scaling_json(published):
    factors = {}
    for runs, opinion in published:
        path = runs.folder / "scaling.json"
        factors[str(runs.folder)] = path.exists()
        stated = json.loads(path.read_text())["scaling_factor"] if path.exists() else 1.0
        assert opinion.convergence.passed
        assert opinion.convergence.factor == pytest.approx(stated, abs=1e-12)
    assert sum(factors.values()) == 3


def test_of_the_published_runs_exactly_the_non_converging_fail_compliance(published):
    for runs, opinion in published:
        assert list(opinion.compliant) == [run.result.converged for run in runs.runs]
    assert sum(opinion.compliant.count(False) for _, opinion in published) == 1


DECAY = (b'"lars_opt_weight_decay", "value": 0.0001', b'"lars_opt_weight_decay", "value": 3e-5')
AGAIN = recorded.line(1e12, "submission_org", recorded.SYSTEM["submitter"]).encode()
# name -> replacements in some logs of a ResNet set; every set is judged by one and the same child.
CASES = {
    "a bad value": {"_2": [DECAY, (b"loss", b"loss\r\nchatter :::MLL\n")]},
    "no cache_clear": {"_1": [(b'"cache_clear"', b'"cache_cleared"')]},
    "repeated": {"_1": [(b"loss 7.25", AGAIN + b"loss 7.25")]},
    "seed twice": {"_1": [(b'"seed", "value": 1', b'"seed", "value": 3')]},
    "too fast": {f"_{n}": [(b'"epoch_num": 36', b'"epoch_num": 33')] for n in range(5)},
    "mixed": {"_4": [(b'_size", "value": 3264', b'_size", "value": 3200')]},
}
RAISING = [
    (b'"value": "resnet"', b'"value": "resnet50"'),
    (b'"value": "lars"', b'"value": "adam"'),
    (b'"value": "closed"', b'"value": ["closed"]'),
    (b'"key": "init_start", "value": null, ', b'"key": "init_start", "value": null}#'),
    (b'"metadata": {', b'"meta": {'),
    (b'"time_ms": ', b'"time_ms": null, "t": '),
    (b'"eval_accuracy", "value": 0', b'"eval_accuracy", "value": null, "x": 0'),
    (b'"global_batch_size", "value": 3264', b'"global_batch_size", "value": "x"'),
]
NAMING = [
    (b'"submission_division", "value": "closed"', b'"submission_division", "value": "%s"'),
    (b'"submission_benchmark", "value": "resnet"', b'"submission_benchmark", "value": "%s"'),
    (b'"opt_name", "value": "lars"', b'"opt_name", "value": "../../%s"'),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("cases")
    cases = {name: logs(root / name / "resnet", **changes) for name, changes in CASES.items()}
    for old, new in RAISING:
        cases[old] = logs(root / str(len(cases)) / "resnet", _0=[(old, new)])
    evil = root / "evil"
    for name in ("evil_common.yaml", "closed_evil.yaml", "evil.yaml"):
        rule = f"- BEGIN:\n    CODE: open({str(root / 'executed')!r}, 'w')\n"
        (root / name).write_text(rule)
    path = ("../" * 12 + str(evil).lstrip("/")).encode()
    for old, new in NAMING:
        cases[new] = logs(root / str(len(cases)) / "resnet", _0=[(old, new % path)])
    cases["ours"] = runset.load(recorded.write(root / "ours", Benchmark.BERT, failed=(3,)))
    epochs = [(b'"epoch_num": 2450000', b'"epoch_num": 1'), (b": 156725653", b": 2450000")]
    cases["epochs"] = logs(root / "bert", Benchmark.BERT, **{f"_{n}": epochs for n in range(10)})
    rehearsed = recorded.write(root / "rehearsed", Benchmark.BERT, rehearsal=True)
    for log in rehearsed.glob("run_*/REHEARSAL-result.txt"):
        log.write_bytes(log.read_bytes().replace(b'"epoch_num": 2450000', b'"epoch_num": 1740'))
    cases["rehearsed"] = runset.load(rehearsed)
    for name, options in {"two failed": {"failed": (0, 1)}, "three runs": {"runs": 3}}.items():
        cases[name] = runset.load(recorded.write(root / name, Benchmark.RESNET, **options))
    opinions = dict(zip(cases, official.judge(list(cases.values())), strict=True))
    return cases, opinions, root


def test_a_failed_rule_is_named_with_its_line_in_the_log(judged):
    cases, opinions, _ = judged
    (found,) = errors(opinions["a bad value"])
    lines = cases["a bad value"].runs[2].log_file.read_bytes().split(b"\n")
    number = next(n for n, line in enumerate(lines, 1) if b"lars_opt_weight_decay" in line)
    assert found.rule == "compliance.lars_opt_weight_decay"
    assert found.where == f"result_2.txt:{number}"
    assert "is_integer(math.log2(v['value'] / 0.0001))" in found.message
    assert opinions["a bad value"].compliant == (True, True, False, True, True)


@pytest.mark.parametrize("case", [new for _, new in NAMING])
def test_a_log_cannot_have_its_own_rule_file_executed(judged, case):
    _, opinions, root = judged
    assert not (root / "executed").exists()
    assert opinions[case].compliant == (False, True, True, True, True)
    assert "names no known rules" in errors(opinions[case])[0].message


@pytest.mark.parametrize("case", [old for old, _ in RAISING])
def test_what_makes_the_package_raise_is_a_finding_and_spoils_no_other_log(judged, case):
    assert judged[1][case].compliant == (False, True, True, True, True)


def test_a_missing_record_is_named(judged):
    (found,) = errors(judged[1]["no cache_clear"])
    assert (found.rule, found.where) == ("compliance.cache_clear", "result_1.txt")


def test_a_repeated_record_is_a_warning(judged):
    opinion = judged[1]["repeated"]
    assert all(opinion.compliant)
    assert [each.severity for each in opinion.findings] == [Severity.WARNING]


def test_a_seed_used_twice_is_named_with_both_logs(judged):
    (found,) = errors(judged[1]["seed twice"])
    assert found.rule == "seed.official"
    assert "result_1.txt" in found.message
    assert "result_3.txt" in found.message
    assert found.where == "resnet"


def test_our_run_sets_are_judged_like_any_other(judged):
    opinion = judged[1]["ours"]
    assert [number for number, good in enumerate(opinion.compliant) if not good] == [3]
    assert errors(opinion)[0].where == "run_3/result.txt"
    assert opinion.convergence.passed


def test_faster_convergence_than_the_reference_allows_does_not_pass(judged):
    found = judged[1]["too fast"].convergence
    assert not found.passed
    assert found.factor == pytest.approx(35.153846 / 33)


def test_an_epoch_num_that_cannot_be_samples_is_replaced_and_said(judged):
    opinion = judged[1]["epochs"]
    assert opinion.convergence.passed
    assert [each.rule for each in opinion.findings] == ["rcp.samples"]


def test_a_rehearsals_few_samples_are_taken_for_samples(judged):
    assert not [each for each in judged[1]["rehearsed"].findings if each.rule == "rcp.samples"]


@pytest.mark.parametrize("case", ["two failed", "mixed"])
def test_a_set_that_cannot_be_compared_has_no_factor(judged, case):
    found = judged[1][case].convergence
    assert (found.passed, found.factor) == (False, None)


def test_too_few_runs_are_not_compared(judged):
    assert judged[1]["three runs"].convergence is None


def test_the_logs_and_their_folders_are_left_as_they_are(judged):
    cases, _, root = judged
    assert sorted(path.name for path in cases["mixed"].folder.iterdir()) == [
        f"result_{n}.txt" for n in range(5)
    ]
    assert not list(root.rglob("scaling.json"))


def test_own_reference_points_can_be_given(tmp_path):
    runs = logs(tmp_path / "resnet")
    points = {
        f"resnet_{batch}": {
            "Benchmark": "resnet",
            "BS": batch,
            "Hyperparams": {},
            "Epochs to converge": [72] * 5 + [71, 73] * 2,
        }
        for batch in (3264, 4096)
    }
    path = tmp_path / "rcps.json"
    path.write_text(json.dumps(points))
    assert official.convergence(runs, rcp_file=path).factor == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["", "nonsense", "[" * 100_000])
def test_unreadable_reference_points_are_refused(tmp_path, text):
    path = tmp_path / "rcps.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"--rcp-file .*rcps\.json"):
        official.convergence(logs(tmp_path / "resnet"), rcp_file=path)


def test_nothing_is_asked_about_nothing():
    assert official.judge([]) == ()


def test_a_referee_that_hangs_is_stopped_and_said(tmp_path, monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("referee", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(LogError, match="did not judge these logs within 120 s"):
        official.judge([logs(tmp_path / "resnet")])


def test_a_referee_that_dies_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(official, "_CHILD", tmp_path / "none.py")
    with pytest.raises(LogError, match=r"gave no verdict .*none\.py"):
        official.judge([logs(tmp_path / "resnet")])


def test_a_log_that_vanished_is_named(tmp_path):
    runs = logs(tmp_path / "resnet")
    (tmp_path / "resnet/result_2.txt").unlink()
    with pytest.raises(LogError, match=r"result_2\.txt: cannot be read"):
        official.judge([runs])


def test_an_endless_line_fails_its_own_log_alone_and_only_if_it_holds_a_record(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(official, "MAX_LINE", 1000)
    chatter = (b"loss", b"x" * 2345 + b"\nloss")
    record = (b"loss", b"x" * 996 + b":::MLLOG " + b"y" * 2000 + b"\nloss")
    runs = logs(tmp_path / "resnet", _1=[chatter], _3=[record])
    (opinion,) = official.judge([runs])
    assert opinion.compliant == (True, True, True, False, True)
    named = {each.where.partition(":")[0] for each in errors(opinion)}
    assert named <= {"result_3.txt", "resnet"}  # the set: a log without a seed
    assert "result_3.txt" in named
