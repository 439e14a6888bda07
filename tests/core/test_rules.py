import pytest

from launcher.core import presets, rules
from launcher.core.benchmark import Benchmark
from launcher.core.rules import Freedom

LARS = presets.TABLE[0].hyperparameters
LAMB = next(row for row in presets.TABLE if row.benchmark is Benchmark.BERT).hyperparameters
SGD = {
    "global_batch_size": 3200,
    "gradient_accumulation_steps": 1,
    "opt_name": "sgd",
    "sgd_opt_base_learning_rate": 0.8,
    "sgd_opt_end_learning_rate": 0.0001,
    "sgd_opt_learning_rate_decay_poly_power": 2,
    "sgd_opt_learning_rate_decay_steps": 14000,
    "sgd_opt_momentum": 0.9,
    "sgd_opt_weight_decay": 5e-5,
    "opt_learning_rate_warmup_epochs": 2,
    "model_bn_span": 400,
}
VALUES = {
    "lars": (Benchmark.RESNET, LARS),
    "sgd": (Benchmark.RESNET, SGD),
    "lamb": (Benchmark.BERT, LAMB),
}


def broken(optimizer, **changes):
    benchmark, values = VALUES[optimizer]
    return [each.key for each in rules.verdicts(benchmark, values | changes) if not each.ok]


@pytest.mark.parametrize("optimizer", VALUES)
def test_values_that_keep_the_rules_are_ok(optimizer):
    assert broken(optimizer) == []


@pytest.mark.parametrize(
    ("optimizer", "key", "bad", "good"),
    [
        ("lars", "lars_opt_weight_decay", [3e-5, 0, -1e-4, "1e-4", None], [1e-4, 2e-4, 2.5e-5]),
        ("lars", "lars_opt_momentum", [0.95], [0.9]),
        ("lars", "lars_opt_end_learning_rate", [0, 1e-3, True], [0.0001]),
        ("lars", "lars_opt_learning_rate_decay_poly_power", [1], [2, 2.0]),
        ("lars", "lars_epsilon", [1e-7], [0, 0.0]),
        ("lars", "lars_opt_base_learning_rate", ["11", float("nan"), []], [0.1, 99]),
        ("lars", "train_samples", [1_281_168], [1_281_167, 1281167.0]),
        ("lars", "global_batch_size", [0, 1.5, "8", float("inf")], [1, 3264]),
        ("lars", "gradient_accumulation_steps", [0], [2]),
        ("sgd", "sgd_opt_base_learning_rate", [0.0005], [0.4]),
        ("sgd", "sgd_opt_momentum", [0.8], [0.9]),
        ("lamb", "max_sequence_length", [128], [512]),
        ("lamb", "opt_name", ["adam", 3], ["lamb", "LAMB"]),
        ("lamb", "start_warmup_step", [None], [-76]),
        ("lamb", "opt_lamb_beta_1", ["x"], [0.5]),
    ],
)
def test_each_rule_tells_good_values_from_bad_ones(optimizer, key, bad, good):
    for value in bad:
        assert broken(optimizer, **{key: value}) == [key]
    for value in good:
        assert broken(optimizer, **{key: value}) == []


def test_momentum_is_free_for_large_batches():
    assert broken("lars", lars_opt_momentum=0.95, global_batch_size=65536) == []


def test_an_unknown_optimizer_is_not_ok():
    assert broken("lars", opt_name="adam") == ["opt_name"]


def test_a_missing_value_is_not_ok_unless_published_logs_do_without():
    values = {key: value for key, value in LARS.items() if key != "lars_opt_momentum"}
    verdicts = {each.key: each for each in rules.verdicts(Benchmark.RESNET, values)}
    assert not verdicts["lars_opt_momentum"].ok
    del values["model_bn_span"]
    assert "model_bn_span" not in {each.key for each in rules.verdicts(Benchmark.RESNET, values)}


def test_a_verdict_says_what_is_allowed_and_by_which_rule():
    verdicts = {each.key: each for each in rules.verdicts(Benchmark.RESNET, LARS)}
    decay = verdicts["lars_opt_weight_decay"]
    assert (decay.freedom, decay.allowed) == (Freedom.CONSTRAINED, "0.0001 x 2^N")
    assert "6e668456" in decay.source
    assert verdicts["lars_epsilon"].freedom is Freedom.FIXED
    assert verdicts["lars_opt_base_learning_rate"].freedom is Freedom.FREE


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (3200, "between two reference points: 35.1478 epochs"),
        (3200.0, "between two reference points: 35.1478 epochs"),
        (10**400, ""),
        (float("nan"), ""),
        (10**6, "above the largest"),
        ("x", ""),
    ],
)
def test_a_batch_size_is_placed_on_the_reference_points(batch, said):
    verdicts = rules.verdicts(Benchmark.RESNET, LARS | {"global_batch_size": batch})
    (note,) = [each.note for each in verdicts if each.key == "global_batch_size"]
    assert said in note
    assert bool(said) == bool(note)
