import json
import shutil

import pytest

from launcher import check, runset
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.errors import LogError
from launcher.paths import ROOT
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results/v4.0"


def edit(path, old, new):
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new))


def reseal(folder, event, change):
    def through(records):
        for record in records:
            if record["event"] == event:
                change(record["payload"])
        return records

    recorded.reseal(folder / "ledger.jsonl", through)


def exit_of(folder, number, **changes):
    path = folder / f"run_{number}/exit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    reseal(
        folder,
        "run_end",
        lambda payload: payload.update(changes if payload["run"] == number else {}),
    )


def plan_of(folder, **changes):
    path = folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# name -> what is done to a good set, and the rule that must find it
SPOILT = {
    "log edited": (lambda f: edit(f / "run_1/result.txt", b"loss", b"lost"), "logs"),
    "run dropped": (lambda f: shutil.rmtree(f / "run_2"), "runs"),
    "swapped": (
        lambda f: shutil.copy(f / "run_1/result.txt", f / "run_2/result.txt"), "duplicates"),
    "seed re-rolled": (
        lambda f: edit(f / "plan.json", b'"seeds": [\n    ', b'"seeds": [\n    1'), "seeds"),
    "ledger edited": (lambda f: edit(f / "ledger.jsonl", b"drop_caches", b"magic"), "ledger.chain"),
    "no proof": (
        lambda f: reseal(f, "cache_clear", lambda p: p.update(run=99)), "cache.proof"),
    "still cached": (
        lambda f: reseal(f, "cache_clear", lambda p: p.update(resident_after_bytes=10**12)),
        "cache.proof",
    ),
    "not proven": (
        lambda f: reseal(f, "cache_clear", lambda p: p.update(proven=False)), "cache.proof"),
    "proof of nothing": (
        lambda f: reseal(f, "cache_clear", lambda p: p.pop("data_bytes")), "cache.proof"),
    "clock set": (lambda f: exit_of(f, 1, elapsed_s=800.0), "clock.set"),
    "span too long": (
        lambda f: exit_of(f, 1, elapsed_s=700.0, started_at="2026-08-29T00:00:00Z",
                          finished_at="2026-08-29T00:01:00Z"), "clock.span"),
    "placeholder": (
        lambda f: edit(f / "run_0/result.txt", b"1xTestNode", b"<your node>"), "placeholder"),
    "rehearsal log": (
        lambda f: (f / "run_0/result.txt").rename(f / "run_0/REHEARSAL-result.txt"),
        "rehearsal.mark",
    ),
    "overlay only": (lambda f: plan_of(f, source={"overlay_only": True}), "source.overlay"),
    "bad weight decay": (
        lambda f: [edit(f / f"run_{n}/result.txt", b'_decay", "value": 0.0001',
                        b'_decay", "value": 3e-05') for n in range(5)],
        "hyperparameter.lars_opt_weight_decay",
    ),
    "too fast": (
        lambda f: [edit(f / f"run_{n}/result.txt", b'_num": 36', b'_num": 33') for n in range(5)],
        "rcp",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    folders = {"good": recorded.write(root / "good", Benchmark.RESNET)}
    folders["bert"] = recorded.write(root / "bert", Benchmark.BERT, failed=(4,))
    folders["rehearsal"] = recorded.write(root / "rehearsal", Benchmark.BERT, rehearsal=True)
    for log in folders["rehearsal"].glob("run_*/*result.txt"):
        edit(log, b'"value": 0.72', b'"value": 0.71')  # enough for a rehearsal's target
    folders["void"] = recorded.write(root / "void", Benchmark.RESNET, failed=(0, 1))
    folders["process"] = recorded.write(root / "process", Benchmark.RESNET)
    plan_of(folders["process"], image=None, engine="process")
    exit_of(folders["process"], 0, elapsed_s="long", started_at="once")
    for name, (spoil, _) in SPOILT.items():
        folders[name] = recorded.write(root / name, Benchmark.RESNET)
        spoil(folders[name])
    sets = [runset.load(folder) for folder in folders.values()]
    return dict(zip(folders, check.check(sets), strict=True))


def errors(one):
    return {each.rule for each in one.findings if each.severity is Severity.ERROR}


def test_a_good_set_is_valid_and_all_its_logs_are_compliant(checked):
    assert errors(checked["good"]) == set()
    assert checked["good"].valid
    assert all(checked["good"].opinion.compliant)
    assert all(each.ok for each in checked["good"].verdicts)


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_set_is_not_valid_and_the_rule_is_named(checked, name):
    assert SPOILT[name][1] in errors(checked[name])
    assert not checked[name].valid


def test_one_run_that_did_not_converge_is_forgiven_but_told(checked):
    assert checked["bert"].valid
    told = {each.rule for each in checked["bert"].findings if each.where.startswith("run_4")}
    assert told == {"compliance.eval_accuracy", "run.converged"}


def test_two_that_did_not_are_not(checked):
    assert {"runs.valid", "compliance.eval_accuracy"} <= errors(checked["void"])


def test_a_rehearsal_is_checked_by_its_own_measure_and_marked(checked):
    rehearsal = checked["rehearsal"]
    assert errors(rehearsal) == {"logs"}  # which were edited here
    assert "rehearsal" in {each.rule for each in rehearsal.findings}
    assert rehearsal.opinion.convergence is None
    assert rehearsal.runs.score.valid
    assert rehearsal.count(Severity.NOTE) >= 10


def test_a_result_of_bare_processes_is_refused(checked):
    assert "engine.process" in errors(checked["process"])


def test_the_gravest_findings_come_first(checked):
    for one in checked.values():
        weights = [list(Severity).index(each.severity) for each in one.findings]
        assert weights == sorted(weights)


def test_everything_is_told_as_json(checked):
    told = check.as_json(list(checked.values()))
    json.dumps(told, allow_nan=False)
    assert not told["valid"]
    good = told["sets"][0]
    assert good["valid"]
    assert good["compliant"] == {f"run_{n}/result.txt": True for n in range(5)}


def test_published_sets_are_valid_with_less_evidence():
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    found = check.check([runset.load(folder) for folder in runset.find(PUBLISHED)])
    assert all(each.valid for each in found)
    assert all("ledger" in {one.rule for one in each.findings} for each in found)
    overlapping = [each.runs.folder.parent.name for each in found
                   if "runs.overlap" in {one.rule for one in each.findings}]  # fmt: skip
    assert overlapping == ["h200_ngc23.09_pytorch"]


def test_odd_values_in_a_ledger_of_ones_own_are_no_traceback(tmp_path):
    folder = recorded.write(tmp_path / "node" / "resnet", Benchmark.RESNET)

    def change(records):
        for record, run in zip(records[2::3], [[[]], {}, 10**299, None, "0"], strict=False):
            record["payload"]["run"] = run
        return records

    recorded.reseal(folder / "ledger.jsonl", change)
    [found] = check.check([runset.load(folder)])
    assert not found.valid


@pytest.mark.parametrize("image", [0, False, "", []])
def test_a_plan_whose_image_is_nothing_is_refused(tmp_path, image):
    folder = recorded.write(tmp_path / "node" / "resnet", Benchmark.RESNET)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"image": image}))
    with pytest.raises(LogError, match=r"image of .* is not a JSON object"):
        runset.load(folder)
