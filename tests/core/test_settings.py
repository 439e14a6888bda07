import pytest

from launcher.core import presets, settings, system
from launcher.core.benchmark import Benchmark

BERT, RESNET = Benchmark.BERT, Benchmark.RESNET


def node(benchmark=RESNET, *, count=8, memory=141, division="closed", **choice):
    return system.parse(
        "node",
        {
            "title": "N",
            "submitter": "A",
            "division": division,
            "status": "Preview",
            "accelerators": {"count": count, "model": "X", "memory_gib": memory},
            "benchmarks": {benchmark.value: choice} if choice else {},
        },
    )


def test_without_a_choice_the_record_preset_is_taken():
    found = settings.resolve(node(), RESNET)
    assert found.preset.name == "resnet-8x400"
    assert found.hyperparameters == found.preset.hyperparameters
    assert found.training == presets.RESNET_TRAINING
    assert (found.changed, found.warnings) == ((), ())


@pytest.mark.parametrize(
    ("preset", "name"),
    [("record", "resnet-8x400"), ("safe", "resnet-8x256"), ("resnet-8x300",) * 2],
)
def test_a_preset_can_be_named(preset, name):
    assert settings.resolve(node(preset=preset), RESNET).preset.name == name


def test_a_preset_of_another_node_is_spread_over_this_one():
    found = settings.resolve(node(preset="resnet-4x816"), RESNET)
    assert found.hyperparameters["model_bn_span"] == 408
    assert found.hyperparameters["global_batch_size"] == 3264


def test_own_values_replace_the_presets_and_are_named():
    found = settings.resolve(node(hyperparameters={"lars_opt_base_learning_rate": 10.6}), RESNET)
    assert found.hyperparameters["lars_opt_base_learning_rate"] == 10.6
    assert found.changed == ("lars_opt_base_learning_rate",)


def test_an_own_batch_size_scales_the_rest_and_is_warned_of():
    found = settings.resolve(node(hyperparameters={"global_batch_size": 2800}), RESNET)
    assert found.hyperparameters["model_bn_span"] == 350
    assert found.hyperparameters["lars_opt_base_learning_rate"] == 10.5
    assert "2800" in found.warnings[0]


def test_training_values_of_the_file_are_handed_on():
    found = settings.resolve(node(training={"max_epochs": 43}), RESNET)
    assert found.training["max_epochs"] == 43


def test_sgd_has_to_bring_its_own_values():
    with pytest.raises(ValueError, match="sgd_opt_base_learning_rate is None"):
        settings.resolve(node(hyperparameters={"opt_name": "sgd"}), RESNET)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"preset": "rekord"}, "preset is 'rekord', which is not a preset; did you mean record?"),
        ({"preset": "rehearsal"}, "run it with --rehearsal"),
        ({"hyperparameters": {"global_batch_sice": 1}}, "did you mean global_batch_size?"),
        ({"hyperparameters": {"global_batch_size": "3200"}}, "is '3200'; allowed: a number"),
        ({"hyperparameters": {"global_batch_size": 0}}, "allowed: a whole number from 1"),
        ({"hyperparameters": {"global_batch_size": 3201}}, "use a multiple of 8: 3200 or 3208"),
        ({"hyperparameters": {"gradient_accumulation_steps": 3}}, "a multiple of 24"),
        ({"hyperparameters": {"lars_opt_weight_decay": 3e-5}}, "allows 0.0001 x 2^N"),
        ({"preset": "resnet-4x816", "hyperparameters": {"lars_opt_momentum": True}}, "is True"),
    ],
)
def test_a_mistake_is_named_with_its_key(choice, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is checked below
        settings.resolve(node(**choice), RESNET)
    assert said in str(caught.value)
    assert str(caught.value).startswith("benchmarks.resnet.")


def test_a_real_run_needs_an_accelerator():
    with pytest.raises(ValueError, match="at least 1, or --rehearsal"):
        settings.resolve(node(count=0), RESNET)


def test_the_open_division_may_do_as_it_likes():
    own = {"lars_opt_weight_decay": 3e-5}
    assert settings.resolve(node(division="open", hyperparameters=own), RESNET).changed


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_rehearsal_ignores_what_a_real_run_would_do(benchmark):
    found = settings.resolve(
        node(benchmark, hyperparameters={"global_batch_size": 3201}), benchmark, rehearsal=True
    )
    assert found.preset is presets.REHEARSALS[benchmark]
    assert found.warnings == ()


def test_a_rehearsal_can_be_changed_where_the_file_names_it():
    own = {"global_batch_size": 16}
    found = settings.resolve(
        node(count=0, preset="rehearsal", hyperparameters=own), RESNET, rehearsal=True
    )
    assert found.hyperparameters["global_batch_size"] == 16


@pytest.mark.parametrize(
    ("steps", "said"),
    [(4500, "3.46 M samples: runs with more"), (2000, "reaches zero"), (3600, "")],
)
def test_a_decay_horizon_that_converged_badly_is_warned_of(steps, said):
    own = {"opt_learning_rate_training_steps": steps}
    warnings = settings.resolve(node(BERT, hyperparameters=own), BERT).warnings
    assert bool(warnings) == bool(said)
    assert all(said in warning for warning in warnings)


def test_a_batch_beyond_the_references_is_warned_of():
    own = {"global_batch_size": 80_000}
    warnings = settings.resolve(node(hyperparameters=own), RESNET).warnings
    assert "above the largest reference point" in warnings[1]


def test_a_whole_number_written_with_a_point_is_a_whole_number():
    found = settings.resolve(node(BERT, hyperparameters={"global_batch_size": 768.0}), BERT)
    assert repr(found.hyperparameters["global_batch_size"]) == "768"


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf")])
def test_a_number_that_no_float_holds_is_refused(value):
    with pytest.raises(ValueError, match=r"allowed: a number|cannot hold"):
        settings.resolve(node(BERT, hyperparameters={"opt_lamb_epsilon": value}), BERT)
