import dataclasses

import pytest

from launcher.core import mllog, plan, presets, result, sanity, score
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.core.mllog import Event
from launcher.core.result import ResultSet

CLEAN = mllog.read([])
LARS = presets.TABLE[0].hyperparameters
FACTS = {
    "submission_org": "ACME",
    "submission_platform": "1xNode",
    "submission_division": "closed",
}


def run(name="run_0", start=1e9, seed=77, **values):
    """A converged ResNet run of 10 minutes; None takes a value away."""
    told = {"submission_benchmark": "resnet", **FACTS, **LARS, **values}
    builder = result.Builder(name)
    marks = [
        ("cache_clear", start - 100_000),
        ("init_start", start - 90_000),
        ("init_stop", start - 1),
    ]
    builder.add(Event(line=1, time_ms=at, key=key, value=None, metadata={}) for key, at in marks)
    for key, value in told.items():
        if value is not None:
            builder.add([Event(line=1, time_ms=start - 1, key=key, value=value, metadata={})])
    builder.add(
        Event(line=1, time_ms=at, key=key, value=value, metadata=metadata)
        for key, at, value, metadata in [
            ("seed", start, seed, {}),
            ("run_start", start, None, {}),
            ("eval_accuracy", start + 599_000, 0.76, {"epoch_num": 35}),
            ("run_stop", start + 600_000, None, {"status": "success"}),
        ]
    )
    return builder.result()


def rules(found):
    return [each.rule for each in found]


def of_run(one, log=CLEAN):
    return list(sanity.of_run(one, log, "run_0"))


def scored(*runs):
    return score.score_set(ResultSet(benchmark=Benchmark.RESNET, results=runs))


def five(**changes):
    """Five clean runs; `changes` apply to the last."""
    seeds = [812, 31, 4, 99_001, 65]
    return [
        run(f"run_{n}", start=1e9 + n * 1e7, **{"seed": seed, **(changes if n == 4 else {})})
        for n, seed in enumerate(seeds)
    ]


def test_a_clean_run_raises_no_question():
    assert of_run(run()) == []


@pytest.mark.parametrize(
    ("change", "rule", "severity"),
    [
        ({"submission_org": "<your company>"}, "placeholder", Severity.WARNING),
        (
            {"submission_platform": "1xSUBMISSION_PLATFORM_PLACEHOLDER"},
            "placeholder",
            Severity.WARNING,
        ),
        ({"submission_division": "open"}, "division", Severity.ERROR),
    ],
)
def test_texts_that_cannot_stand_are_named(change, rule, severity):
    (found,) = of_run(run(**change))
    assert (found.rule, found.severity) == (rule, severity)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"init_start_ms": 1e9 - 1_800_001}, "clock.init"),
        ({"step_back_ms": 1001.0}, "clock.step"),
        ({"cache_clear_ms": (1e9 + 1,)}, "cache.order"),
        ({"stop_ms": 1e9 + 500_000}, "clock.evaluation"),
        ({"contradictions": ("opt_name",)}, "contradiction"),
        ({"status": result.Status.ABORTED, "reason": "x"}, "run.converged"),
    ],
)
def test_what_a_careful_reader_asks_about_is_found(change, rule):
    assert rules(of_run(dataclasses.replace(run(), **change))) == [rule]


@pytest.mark.parametrize(
    "change",
    [
        {"init_start_ms": None},
        {"init_stop_ms": None},
        {"start_ms": None},
        {"stop_ms": None},
        {"cache_clear_ms": ()},
        {"facts": {}},
    ],
)
def test_what_a_log_does_not_say_raises_no_alarm(change):
    assert of_run(dataclasses.replace(run(), **change)) == []


def test_oddities_come_with_their_line_and_a_limit():
    lines = b"x:::MLLOG {}\n" + b":::MLL\n" * 30
    found = of_run(run(), mllog.read([lines]))
    assert len(found) == sanity.ODDITIES + 1
    assert (found[0].where, found[0].severity) == ("run_0:1", Severity.NOTE)
    assert (found[1].where, found[1].severity) == ("run_0:1", Severity.WARNING)
    assert "12 more" in found[-1].message


def test_a_clean_set_raises_no_question():
    assert list(sanity.of_set(scored(*five()), "x")) == []
    assert list(sanity.overlaps(five(), "x")) == []


def test_a_set_without_a_valid_result_says_why():
    (found,) = sanity.of_set(scored(*five()[:3]), "x")
    assert (found.rule, found.severity) == ("runs.valid", Severity.ERROR)


@pytest.mark.parametrize(
    ("change", "severity"),
    [({"global_batch_size": 3264}, Severity.ERROR), ({"submission_org": "B"}, Severity.WARNING)],
)
def test_values_that_differ_between_runs_are_named(change, severity):
    (found,) = sanity.of_set(scored(*five(**change)), "x")
    assert (found.rule, found.severity) == ("runs.mixed", severity)
    assert next(iter(change)) in found.message


def test_samples_trained_may_differ_between_runs():
    assert list(sanity.of_set(scored(*five(train_samples=7)), "x")) == []


@pytest.mark.parametrize(
    ("seeds", "rule"),
    [
        ((1, 9, 9, 5, 7), "seed.unique"),
        ((3, 2, 4, 5, 1), "seed.drawn"),
        (("a", "b", "c", "d", 4), None),
    ],
)
def test_seeds_that_were_not_drawn_are_named(seeds, rule):
    runs = [run(f"run_{n}", start=1e9 + n * 1e7, seed=seed) for n, seed in enumerate(seeds)]
    assert rules(sanity.of_set(scored(*runs), "x")) == ([rule] if rule else [])


def test_runs_at_the_same_time_are_named():
    runs = [run("a", start=1e9), run("b", start=1e9 + 599_999), run("c", start=1e9 + 1_300_000)]
    runs.append(dataclasses.replace(runs[0], stop_ms=None))
    (found,) = sanity.overlaps(runs, "x")
    assert "a and b" in found.message


PLAN = plan.Plan(
    benchmark=Benchmark.RESNET,
    implementation="pytorch",
    rehearsal=False,
    created="2026-01-01T00:00:00Z",
    launcher_version="0.1.0",
    seeds=(1, 2, 3, 4, 5),
    seed_source="os.urandom",
    engine="docker",
    image=None,
    source={},
    system={},
    preset="record",
    hyperparameters={},
    hyperparameters_sha256="0" * 64,
    container={},
    host={},
    dataset=None,
)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"seed_source": "0, 1, 2"}, "seed.source"),
        ({"seeds": (1,)}, "runs.planned"),
        ({"stale_image": True}, "image.stale"),
        ({"source": {"overlay_only": True}}, "source.overlay"),
        ({"engine": "process"}, "engine.process"),
    ],
)
def test_what_a_plan_gave_away_is_named(change, rule):
    assert list(sanity.of_plan(PLAN, "plan.json")) == []
    assert rules(sanity.of_plan(dataclasses.replace(PLAN, **change), "plan.json")) == [rule]


def test_a_rehearsal_may_be_small_and_bare():
    small = dataclasses.replace(PLAN, rehearsal=True, seeds=(1,), engine="process")
    found = list(sanity.of_plan(small, "plan.json"))
    assert rules(found) == ["rehearsal", "runs.planned", "engine.process"]
    assert {each.severity for each in found} == {Severity.NOTE}


def test_hyperparameters_are_judged_by_the_first_run_that_logged_them():
    bare = result.Builder("bare").result()
    judged = sanity.verdicts([bare, run(lars_opt_weight_decay=3e-5)])
    (found,) = sanity.of_verdicts(judged, "x")
    assert (found.rule, found.severity) == ("hyperparameter.lars_opt_weight_decay", Severity.ERROR)
    assert sanity.verdicts([bare]) == ()


def test_a_run_of_no_known_benchmark_is_not_judged():
    lost = dataclasses.replace(run(), benchmark=None)
    assert sanity.verdicts([lost]) == ()
