"""What a dishonest proponent could try on a response, as changes to an honest one."""

import json
import shutil

from launcher import package
from launcher.core.benchmark import Benchmark
from tests import recorded

BERT, RESNET = Benchmark.BERT, Benchmark.RESNET


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
