import pytest

from launcher.core import presets, rcp, rules, scaling
from launcher.core.benchmark import Benchmark
from launcher.core.presets import Purpose

ROWS = pytest.mark.parametrize("row", presets.TABLE, ids=lambda row: row.name)


@ROWS
def test_every_row_keeps_the_rules_of_the_closed_division(row):
    verdicts = rules.verdicts(row.benchmark, row.hyperparameters)
    assert [each for each in verdicts if not each.ok] == []


@ROWS
def test_every_row_can_be_shared_by_its_accelerators(row):
    assert scaling.problem(row.benchmark, row.hyperparameters, row.accelerators) == ""


@ROWS
def test_every_row_lies_where_a_reference_judges_it(row):
    assert rcp.reference(row.benchmark, row.hyperparameters["global_batch_size"]).mean


def test_names_are_unique():
    assert len({row.name for row in presets.TABLE}) == len(presets.TABLE)


def test_the_decay_of_the_learning_rate_is_counted_as_the_reference_does():
    # README's run: 41 epochs, 5 of warm-up, batch 1024 -> 45037 (lars_util.py)
    values = presets.resnet_hyperparameters(
        batch=1024, accumulation=1, accelerators=8, rate=8.5, warmup_epochs=5, decay_epochs=41
    )
    assert values["lars_opt_learning_rate_decay_steps"] == 45037


@pytest.mark.parametrize(
    ("batch", "samples"), [(256, 150_000), (2048, 150_000), (3072, 175_000), (8192, 225_000)]
)
def test_bert_is_evaluated_as_often_as_the_reference_says(batch, samples):
    assert presets.bert_eval_interval(batch) == samples


def test_odds_are_known_only_where_they_were_counted():
    odds = {row.name: row.failure_odds for row in presets.TABLE}
    assert odds["resnet-8x400"] == 9 / 180
    assert odds["resnet-2x204"] is None
    assert odds["bert-8x48"] is None


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_rehearsal_has_a_target_of_its_own_and_the_keys_of_a_real_run(benchmark):
    rehearsal = presets.REHEARSALS[benchmark]
    real = next(row for row in presets.TABLE if row.benchmark is benchmark)
    assert rehearsal.hyperparameters.keys() == real.hyperparameters.keys()
    assert rehearsal.training.keys() == real.training.keys()
    assert rehearsal.purpose is Purpose.REHEARSAL
    assert 0 < presets.target(benchmark, rehearsal=True) < 1
    assert presets.target(benchmark, rehearsal=False) == benchmark.facts.quality_target
