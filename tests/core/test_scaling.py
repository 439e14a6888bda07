import pytest

from launcher.core import presets, rules, scaling
from launcher.core.benchmark import Benchmark
from launcher.core.presets import Purpose

BERT, RESNET = Benchmark.BERT, Benchmark.RESNET


def row(name):
    return next(row for row in presets.TABLE if row.name == name)


@pytest.mark.parametrize(
    ("benchmark", "count", "memory", "purpose", "name"),
    [
        (RESNET, 8, 141, Purpose.RECORD, "resnet-8x400"),
        (RESNET, 8, 80, Purpose.SAFE, "resnet-8x256"),
        (RESNET, 8, 40, Purpose.RECORD, "resnet-8x408"),
        (RESNET, 8, 45, Purpose.RECORD, "resnet-8x300"),
        (RESNET, 4, 80, Purpose.RECORD, "resnet-4x816"),
        (RESNET, 4, 80, Purpose.SAFE, "resnet-4x400"),
        (RESNET, 4, 40, Purpose.SAFE, "resnet-4x408"),
        (BERT, 8, 141, Purpose.RECORD, "bert-8x48"),
        (BERT, 8, 141, Purpose.SAFE, "bert-8x48"),
        (BERT, 4, 80, Purpose.RECORD, "bert-4x72"),
        (BERT, 8, 45, Purpose.RECORD, "bert-8x22"),
    ],
)
def test_the_most_demanding_row_that_fits_is_chosen(benchmark, count, memory, purpose, name):
    chosen = scaling.choose(benchmark, accelerators=count, memory_gib=memory, purpose=purpose)
    assert chosen.name == name
    assert chosen.warnings == ()


@pytest.mark.parametrize("benchmark", Benchmark)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 10, 16])
@pytest.mark.parametrize("memory", [24, 40, 80, 141, 288])
def test_any_usual_node_gets_values_that_keep_the_rules_and_can_be_shared(benchmark, count, memory):
    chosen = scaling.choose(benchmark, accelerators=count, memory_gib=memory)
    values = chosen.hyperparameters
    assert all(each.ok for each in rules.verdicts(benchmark, values))
    assert scaling.problem(benchmark, values, count) == ""
    batches = {row.hyperparameters["global_batch_size"] for row in presets.TABLE}
    assert chosen.warnings or values["global_batch_size"] in batches
    assert chosen.accelerators == count


@pytest.mark.parametrize(("count", "memory"), [(8, 8), (1000, 80)])
@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_node_that_nothing_fits_is_refused(benchmark, count, memory):
    with pytest.raises(ValueError, match=f"{count} accelerators of {memory} GiB"):
        scaling.choose(benchmark, accelerators=count, memory_gib=memory)


def test_more_accumulation_of_the_same_batch_is_not_a_new_experiment():
    scaled = scaling.scale(row("resnet-8x400"), batch=3200, accelerators=4, accumulation=2)
    assert (scaled.warnings, scaled.hyperparameters["model_bn_span"]) == ((), 400)


@pytest.mark.parametrize(
    ("batch", "rate"), [(204, 1.5), (408, 3.0), (2800, 10.5), (3264, 10.5), (4096, 11.0)]
)
def test_a_resnet_rate_is_read_between_published_ones(batch, rate):
    scaled = scaling.scale(row("resnet-8x400"), batch=batch, accelerators=1, accumulation=1)
    values = scaled.hyperparameters
    assert values["lars_opt_base_learning_rate"] == pytest.approx(
        rate, abs=0.51 if batch > 3200 else 0.01
    )
    assert values["lars_opt_learning_rate_decay_steps"] == 1281167 // batch * 35 + 1
    assert str(batch) in scaled.warnings[0]


@pytest.mark.parametrize(
    ("batch", "rate", "beta"),
    [
        (640, 9.6e-4, 0.60466),
        (384, 9.6e-4, 0.60466),
        (176, 3.005e-4, 0.9),
        (1536, 1.3576e-3, 0.60466),
    ],
)
def test_a_bert_batch_brings_its_family_of_values(batch, rate, beta):
    values = scaling.scale(
        row("bert-4x72"), batch=batch, accelerators=4, accumulation=1
    ).hyperparameters
    assert values["opt_base_learning_rate"] == pytest.approx(rate, rel=1e-3)
    assert values["opt_lamb_beta_1"] == beta
    assert values["opt_learning_rate_training_steps"] == round(2.7e6 / batch)


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_rehearsal_keeps_its_rate_and_evaluations_at_any_batch(benchmark):
    rehearsal = presets.REHEARSALS[benchmark]
    scaled = scaling.scale(rehearsal, batch=16, accelerators=0, accumulation=1)
    rates = [key for key in rehearsal.hyperparameters if key.endswith("base_learning_rate")]
    assert scaled.training == rehearsal.training
    assert scaled.hyperparameters[rates[0]] == rehearsal.hyperparameters[rates[0]]


def test_a_batch_that_cannot_be_shared_is_refused_with_the_nearest_that_can():
    values = {"global_batch_size": 3200, "gradient_accumulation_steps": 3}
    assert scaling.problem(RESNET, values, 8) == (
        "global_batch_size is 3200, which 8 accelerators with 3 accumulation steps cannot share;"
        " use a multiple of 24: 3192 or 3216"
    )
    values = {"global_batch_size": 10, "gradient_accumulation_steps": 1}
    assert scaling.problem(BERT, values, 8).endswith(
        "accumulation steps of rows of 2 sequences cannot share; use a multiple of 16: 16"
    )
