import pytest

from image_classification.pytorch import config
from pytorch_common.failure import RunError
from tests.patches.resnet import runs


def test_a_rendered_real_configuration_is_the_closed_divisions(real_document):
    read = config.parse(real_document)
    assert read.model == config.REAL_MODEL
    assert read.training.precision == "bf16"
    assert read.training.padding == "same"
    assert read.steps_per_epoch == 400
    assert read.micro_batch(8) == 400
    assert read.hyperparameters.weight_decay == 5e-5


def test_sgd_has_the_keys_of_its_own_rules(document):
    names = set(runs.LARS)
    values = {k: v for k, v in document["hyperparameters"].items() if k not in names}
    document["hyperparameters"] = values | runs.SGD
    assert config.parse(document).hyperparameters.warmup_epochs == 1


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        (
            "training",
            "crop_area",
            [0.08, 1.0],
            "crop_area is .* the closed division fixes",
        ),
        ("training", "flip_probability", 0.0, "training.flip_probability"),
        ("training", "target_accuracy", 0.7, "training.target_accuracy"),
        ("model", "width", 32, "model.width is 32, but the closed division fixes 64"),
        ("model", "stages", [3, 4, 6, 2], "model.stages"),
        ("hyperparameters", "eval_samples", 1000, "train_samples and eval_samples"),
    ],
)
def test_a_real_run_cannot_be_another_benchmark(real_document, section, key, value, complaint):
    real_document[section][key] = value
    with pytest.raises(RunError, match=complaint):
        config.parse(real_document)


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        ("hyperparameters", "global_batch_size", 3204, "which 8 ranks with 1 accumulation steps"),
        (
            "hyperparameters",
            "global_batch_size",
            4_000_000,
            "more than the 1281167 training",
        ),
        ("hyperparameters", "global_batch_size", "3200", "must be of type int"),
        ("hyperparameters", "model_bn_span", 3200, "model_bn_span is 3200, but .* write 400"),
        ("hyperparameters", "opt_name", "adam", "opt_name is 'adam'; use lars or sgd"),
        ("training", "precision", "fp8", "training.precision is 'fp8'; use bf16, fp16, fp32"),
        ("training", "padding", "valid", "training.padding"),
        ("training", "eval_offset_epochs", 4, "the rules allow 0 to 3"),
        ("training", "max_epochs", 38, "does not end in an evaluation; use 3 plus a multiple of 4"),
        ("training", "synthetic", True, "key training.synthetic is unknown"),
        ("submission", "org", None, "submission.org"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(real_document, section, key, value, complaint):
    real_document[section][key] = value
    with pytest.raises(RunError, match=complaint):
        config.parse(real_document)


def test_a_missing_key_is_named(real_document):
    del real_document["training"]["padding"]
    with pytest.raises(RunError, match=r"key training\.padding is missing"):
        config.parse(real_document)


def test_another_benchmarks_file_is_refused(document):
    with pytest.raises(RunError, match="it is for bert in pytorch, but"):
        config.parse(document | {"benchmark": "bert"})


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    file = tmp_path / "hyperparameters.yaml"
    file.write_text("a: [")
    with pytest.raises(RunError, match="cannot be read as YAML"):
        config.load(file)


def test_a_rehearsal_may_be_small(document):
    read = config.parse(document)
    assert read.rehearsal
    assert read.model.width == 8
