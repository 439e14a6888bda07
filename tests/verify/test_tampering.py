"""What a dishonest proponent could try, and the claim by which each attempt is caught."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher import (
    answer,
    check,
    filetree,
    package,
    patchqueue,
    response,
    verify,
    workbook,
    xlsx,
)
from launcher.core.benchmark import Benchmark
from launcher.paths import ROOT
from launcher.verify.claims import Verdict
from tests import recorded

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"
BERT, RESNET = Benchmark.BERT, Benchmark.RESNET


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A response, laid out as a folder, in which everything agrees."""
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    results = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        source = {
            "tree": filetree.tree_id(patchqueue.overlay(benchmark)),
            "patches_sha256": patchqueue.digest(benchmark).sha256,
        }
        recorded.write(results / benchmark.value, benchmark, source=source)
    root = tmp_path_factory.mktemp("honest") / "response"
    found = answer.load([results], answer.unasked)
    order = response.Order(template=TEMPLATE.read_bytes(), reference=None, draft=False)
    response.stage(found, found.system, order, root, report=lambda _: "<!DOCTYPE html>")
    return root


class Forger:
    """Changes a copy of the response, and covers the traces as far as a forger would."""

    def __init__(self, root):
        self.root = root

    def run(self, benchmark, number):
        return self.root / "ledger" / benchmark.value / f"run_{number}"

    def copy(self, benchmark, number):
        [folder] = (self.root / "mlperf").glob(f"*/results/*/{benchmark.value}")
        return folder / f"result_{number}.txt"

    def ledger(self, benchmark, change):
        recorded.reseal(self.root / "ledger" / benchmark.value / "ledger.jsonl", change)

    def edit_log(self, benchmark, number, change, *, cover=False):
        """Change a log in both places; with `cover`, mend exit.json and the whole ledger, too."""
        log = self.run(benchmark, number) / "result.txt"
        log.write_bytes(change(log.read_bytes()))
        shutil.copy(log, self.copy(benchmark, number))
        if cover:
            digest, size = filetree.sha256(log), log.stat().st_size
            self.edit_exit(benchmark, number, log_sha256=digest, log_bytes=size)

    def edit_exit(self, benchmark, number, **fields):
        """Change exit.json and everything in the ledger that repeats it."""
        path = self.run(benchmark, number) / "exit.json"
        ended = json.loads(path.read_text()) | fields
        path.write_text(json.dumps(ended))

        def change(records):
            for record in records:
                if record["event"] == "run_end" and record["payload"]["run"] == number:
                    record["payload"] = ended
                if record["event"] == "complete":
                    record["payload"]["logs"][str(number)] = ended["log_sha256"]
            return records

        self.ledger(benchmark, change)

    def edit_json(self, path, change):
        path = self.root / path
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    def cells(self, **values):
        path = self.root / "Benchmark_Results.xlsx"
        path.write_bytes(xlsx.write(path.read_bytes(), workbook.SHEET, values))

    def sign(self):
        (self.root / "MANIFEST.sha256").write_text(package.manifest(self.root))


def replace(old, new):
    def change(text):
        assert old in text
        return text.replace(old, new)

    return change


def sooner(text):
    """Let run_stop come a minute earlier."""
    lines = text.decode().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if '"run_stop"' in line)
    record = json.loads(lines[at].removeprefix(":::MLLOG "))
    record["time_ms"] -= 60_000
    lines[at] = f":::MLLOG {json.dumps(record)}\n"
    return "".join(lines).encode()


def edited_time(forger):
    forger.edit_log(BERT, 3, sooner)


def edited_time_with_the_ledger_mended(forger):
    forger.edit_log(BERT, 3, sooner, cover=True)  # the stated numbers no longer fit


def edited_spelling(forger):
    forger.edit_log(RESNET, 1, replace(b'"status": "success"', b'"status":"success"'))


def dropped_run(forger):
    shutil.rmtree(forger.run(BERT, 4))


def dropped_run_with_its_records(forger):
    shutil.rmtree(forger.run(BERT, 9))
    forger.ledger(BERT, lambda found: [r for r in found if r["payload"].get("run") != 9])


def added_run(forger):
    shutil.copytree(forger.run(RESNET, 4), forger.run(RESNET, 5))


def swap(one, two):
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)


def swapped_logs(forger):
    swap(*(forger.run(BERT, number) / "result.txt" for number in (1, 2)))


def swapped_copies(forger):
    swap(*(forger.copy(RESNET, number) for number in (0, 1)))


def foreign_copy(forger):
    shutil.copy(forger.copy(RESNET, 0), forger.copy(RESNET, 7))


def seed_of(forger, benchmark, number):
    return json.loads((forger.run(benchmark, number) / "exit.json").read_text())["seed"]


def rerolled_seed(forger):
    seed = seed_of(forger, BERT, 6)
    forger.edit_log(BERT, 6, replace(f'"value": {seed},'.encode(), b'"value": 7,'), cover=True)


def rerolled_run_hidden_as_an_attempt(forger):
    run = forger.run(RESNET, 2)
    (run / "attempt_0").mkdir()
    shutil.copy(run / "result.txt", run / "attempt_0/result.txt")


def attempt_that_was_not_handed_over(forger):
    def change(records):
        said = {"run": 2, "attempt": 0, "reason": "never reached run_start"}
        return [*records[:6], dict(records[6], event="run_repeat", payload=said), *records[6:]]

    forger.ledger(RESNET, change)


def one_seed_planned_twice(forger):
    forger.edit_json("ledger/bert/plan.json", lambda plan: plan["seeds"].append(plan["seeds"][0]))


def lines(forger, benchmark):
    path = forger.root / "ledger" / benchmark.value / "ledger.jsonl"
    return path, path.read_text().splitlines(keepends=True)


def reordered_ledger(forger):
    path, found = lines(forger, BERT)
    found[3], found[4] = found[4], found[3]
    path.write_text("".join(found))


def shortened_ledger(forger):
    path, found = lines(forger, BERT)
    path.write_text("".join(found[:5] + found[6:]))


def ledger_cut_at_the_end(forger):
    path, found = lines(forger, BERT)
    path.write_text("".join(found[:-2]))


def edited_ledger(forger):
    path, found = lines(forger, RESNET)
    path.write_text("".join(found).replace('"drop_caches"', '"reboot"', 1))


def ledger_of_odd_values(forger):
    def change(records):
        for record in records[2:]:
            record["payload"] = {"run": [1], "attempt": {}, "logs": [], "log_sha256": None}
        return records

    forger.ledger(RESNET, change)


def no_ledger(forger):
    (forger.root / "ledger/bert/ledger.jsonl").write_bytes(b"")


def changed_cell(forger):
    forger.cells(C9=700.0)


def minutes_in_the_seconds_cell(forger):
    told = json.loads((forger.root / "solution/scores.json").read_text())
    forger.cells(C8=told["bert"]["minutes"])


def text_in_the_seconds_cell(forger):
    forger.cells(C8="312 s")


def nodes_cell(forger):
    forger.cells(C7=2)


def other_template(forger):
    forger.cells(B8="ResNet Benchmark (seconds)", B9="BERT Benchmark (seconds)")


def broken_workbook(forger):
    (forger.root / "Benchmark_Results.xlsx").write_bytes(b"PK\x03\x04")


def altered_patch(forger):
    path = next((forger.root / "patches/bert").glob("*.patch"))
    path.write_text(path.read_text() + "# harmless\n")


def added_patch_file(forger):
    (forger.root / "patches/common/files/pytorch_common/extra.py").write_text("pass\n")


def source(forger, benchmark):
    [tree] = package.Layout(root=forger.root).source(benchmark)
    return tree


def altered_source(forger):
    path = next(source(forger, RESNET).rglob("*.py"))
    path.write_text(path.read_text() + "\n# faster\n")


def removed_source(forger):
    shutil.rmtree(source(forger, BERT))


def altered_plan(forger):
    forger.edit_json("ledger/bert/plan.json", lambda plan: plan.update(preset="safe"))


def altered_hyperparameters_file(forger):
    (forger.root / "ledger/bert/hyperparameters.yaml").write_text("benchmark: bert\nlr: 1\n")


def hyperparameter_that_was_not_planned(forger):
    change = replace(b'"opt_lamb_beta_1", "value": 0.83', b'"opt_lamb_beta_1", "value": 0.84')
    forger.edit_log(BERT, 5, change, cover=True)


def plan_of_odd_values(forger):
    forger.edit_json("ledger/bert/plan.json", lambda plan: plan.update(source=[], seeds=[{}]))


def duplicate_run_under_a_new_seed(forger):
    seeds = [f'"value": {seed_of(forger, BERT, number)},'.encode() for number in (3, 4)]
    twin = (forger.run(BERT, 3) / "result.txt").read_bytes().replace(*seeds)
    forger.edit_log(BERT, 4, lambda _: twin, cover=True)


def changed_score(forger):
    forger.edit_json("solution/scores.json", lambda told: told["score"].update(raw=2.9))


def changed_minutes(forger):
    forger.edit_json("solution/scores.json", lambda told: told["bert"].update(minutes=5.0))


def fewer_runs_stated(forger):
    forger.edit_json("solution/scores.json", lambda told: told["bert"]["runs"].pop())


def score_that_is_no_number(forger):
    forger.edit_json("solution/scores.json", lambda told: told["score"].update(raw=True))


def container_too_short(forger):
    forger.edit_exit(RESNET, 0, finished_at=recorded.iso(recorded.START_MS + 60_000))


def containers_at_the_same_time(forger):
    ended = json.loads((forger.run(RESNET, 2) / "exit.json").read_text())
    forger.edit_exit(RESNET, 1, finished_at=ended["finished_at"])


def edited_exit(forger):
    path = forger.run(RESNET, 1) / "exit.json"
    path.write_text(path.read_text().replace('"exit_code": 0', '"exit_code": 1'))


def missing_exit(forger):
    (forger.run(RESNET, 1) / "exit.json").unlink()


def rehearsal_as_a_result(forger):
    forger.edit_json("ledger/resnet/plan.json", lambda plan: plan.update(rehearsal=True))


def missing_benchmark(forger):
    shutil.rmtree(forger.root / "ledger/resnet")
    shutil.rmtree(forger.copy(RESNET, 0).parent)


def second_result_folder(forger):
    folder = forger.copy(BERT, 0).parent
    shutil.copytree(folder, folder.parent.parent / "other" / "bert")


# Each attempt, and one claim that must differ because of it. The manifest is always made anew.
ATTEMPTS = [
    (edited_time, "logs"),
    (edited_time_with_the_ledger_mended, "bert.minutes"),
    (edited_spelling, "logs"),
    (dropped_run, "runs"),
    (dropped_run_with_its_records, "runs"),
    (added_run, "runs"),
    (swapped_logs, "logs"),
    (swapped_logs, "seeds"),
    (swapped_copies, "copies"),
    (foreign_copy, "copies"),
    (rerolled_seed, "seeds"),
    (rerolled_run_hidden_as_an_attempt, "runs"),
    (attempt_that_was_not_handed_over, "runs"),
    (one_seed_planned_twice, "seeds"),
    (reordered_ledger, "ledger.chain"),
    (shortened_ledger, "ledger.chain"),
    (ledger_cut_at_the_end, "runs"),
    (edited_ledger, "ledger.chain"),
    (ledger_of_odd_values, "runs"),
    (no_ledger, "plan"),
    (changed_cell, "workbook.C9"),
    (minutes_in_the_seconds_cell, "workbook.C8"),
    (text_in_the_seconds_cell, "workbook.C8"),
    (nodes_cell, "workbook.C7"),
    (other_template, "workbook"),
    (broken_workbook, "workbook"),
    (altered_patch, "source.patches"),
    (added_patch_file, "source.patches"),
    (altered_source, "source.tree"),
    (removed_source, "source"),
    (altered_plan, "plan"),
    (altered_hyperparameters_file, "plan"),
    (hyperparameter_that_was_not_planned, "hyperparameters"),
    (plan_of_odd_values, "runs"),
    (duplicate_run_under_a_new_seed, "duplicates"),
    (changed_score, "score.raw"),
    (changed_minutes, "bert.minutes"),
    (fewer_runs_stated, "bert.number_of_runs"),
    (score_that_is_no_number, "score.raw"),
    (container_too_short, "clock"),
    (containers_at_the_same_time, "clock"),
    (edited_exit, "logs"),
    (missing_exit, "logs"),
    (rehearsal_as_a_result, "rehearsal"),
    (missing_benchmark, "runs"),
    (second_result_folder, "copies"),
]


@pytest.fixture
def forger(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "response")
    return Forger(tmp_path / "response")


@pytest.fixture
def nothing_starts(monkeypatch):
    """Make the test fail if anything at all is executed."""

    def started(*_, **__):
        raise AssertionError("verify started a program")

    monkeypatch.setattr(subprocess, "Popen", started)
    for name in ("system", "posix_spawn", "execv", "execve", "fork"):
        monkeypatch.setattr(os, name, started)


def differing(root, referee=answer.unasked):
    found = verify.verify(root, referee=referee)
    return {claim.name for claim in found.claims if claim.verdict is Verdict.DIFFERS}


def inventory(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("nothing_starts")
def test_nothing_differs_in_an_honest_response(honest):
    assert differing(honest) == set()


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(("attempt", "claim"), ATTEMPTS)
def test_an_attempt_is_caught_by_name(forger, tmp_path, attempt, claim):
    attempt(forger)
    forger.sign()
    before = inventory(tmp_path)
    found = differing(forger.root)
    assert claim in found
    assert inventory(tmp_path) == before  # looking changes nothing


def altered_file(forger):
    path = forger.root / "README.md"
    path.write_text(path.read_text() + " ")


def unlisted_file(forger):
    (forger.root / "solution/note.txt").write_text("hello")


def missing_file(forger):
    (forger.root / "solution/versions.json").unlink()


def emptied_manifest(forger):
    (forger.root / "MANIFEST.sha256").write_text("")


@pytest.mark.parametrize("attempt", [altered_file, unlisted_file, missing_file, emptied_manifest])
def test_a_change_behind_the_manifests_back_is_caught(forger, attempt):
    attempt(forger)
    assert "manifest" in differing(forger.root)


def test_a_log_cannot_have_rules_of_its_own_executed(forger, tmp_path):
    """mlperf-logging would load and execute a YAML file named by submission_division."""
    proof = tmp_path / "executed"
    rules = f"- KEY:\n    NAME: seed\n    POST: \" open({str(proof)!r}, 'w') \"\n"
    (tmp_path / "response/evil_common.yaml").write_text(rules)
    away = "../" * 12 + str(tmp_path / "response/evil").lstrip("/")
    change = replace(
        b'"submission_division", "value": "closed"',
        f'"submission_division", "value": "{away}"'.encode(),
    )
    forger.edit_log(RESNET, 0, change, cover=True)
    forger.sign()
    assert "compliance" in differing(forger.root, check.check)
    assert not proof.exists()


def test_a_program_in_the_package_is_never_started(forger, tmp_path, monkeypatch):
    proof = tmp_path / "executed"
    text = f"open({str(proof)!r}, 'w')\n"
    for name in ("sitecustomize.py", "conftest.py", "mlperf_logging.py", "launcher.py", "json.py"):
        (forger.root / name).write_text(text)
        (forger.run(BERT, 0) / name).write_text(text)
    monkeypatch.chdir(forger.root)
    verify.verify(Path(), referee=check.check)
    assert not proof.exists()


@pytest.fixture
def complete(honest, reference, tmp_path):
    """A response with the whole source tree, reference included."""
    shutil.copytree(honest, tmp_path / "response")
    forger = Forger(tmp_path / "response")
    for benchmark in Benchmark:
        tree = source(forger, benchmark)
        shutil.rmtree(tree)
        patchqueue.materialise(benchmark, tree, place=str(reference))
        shutil.rmtree(tree / ".git")
    forger.sign()
    return forger


def claimed(forger, reference):
    found = verify.verify(forger.root, referee=answer.unasked, reference=str(reference))
    return [claim for claim in found.claims if claim.name.startswith("source.")]


@pytest.mark.reference
@pytest.mark.slow
def test_with_the_reference_the_source_is_what_its_patches_make(complete, reference):
    told = claimed(complete, reference)
    made = [claim.verdict for claim in told if claim.name == "source.patches-apply"]
    assert made == [Verdict.AGREES] * 2
    [bert] = [c.message for c in told if c.name == "source.diffstat" and "bert" in c.where]
    assert "files added" in bert


@pytest.mark.reference
@pytest.mark.slow
def test_with_the_reference_one_altered_line_of_it_is_named(complete, reference):
    path = next(source(complete, RESNET).glob("image_classification/**/resnet_model.py"))
    path.write_text(path.read_text() + "# faster\n")
    [wrong] = [
        claim.message
        for claim in claimed(complete, reference)
        if claim.name == "source.patches-apply" and claim.verdict is Verdict.DIFFERS
    ]
    assert wrong.endswith("resnet_model.py is not what reference and patches make")
