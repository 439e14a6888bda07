import pytest
import yaml
from bert.config import Clip, Form, Precision, Sizes, load

from pytorch_common.failure import RunError
from tests.patches.bert.runs import REAL, render


def written(tmp_path, document):
    path = tmp_path / "hyperparameters.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def changed(section, **values):
    document = yaml.safe_load(render(rehearsal=False))
    (document[section] if section else document).update(values)
    return document


def test_a_rendered_file_reads_back_as_the_preset(tmp_path):
    config = load(written(tmp_path, render(rehearsal=False)))
    for key, value in REAL.hyperparameters.items():
        assert getattr(config.hyperparameters, key) == value, key
    assert config.model == Sizes()
    assert config.training.precision is Precision.BF16
    assert config.training.form is Form.PACKED
    assert config.training.clip is Clip.BEFORE
    assert config.training.eval_samples == 10_000
    assert config.rows(8) == 48


def test_a_rendered_rehearsal_reads_back(tmp_path):
    config = load(written(tmp_path, render()))
    assert config.rehearsal
    assert config.accelerators == 0
    assert config.training.precision is Precision.FP32


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("hyperparameters", {"learning_rate": 1}, r"hyperparameters\.learning_rate is not a key"),
        ("training", {"precision": "int8"}, "'int8'; use one of fp32, bf16, fp8"),
        ("training", {"form": "ragged"}, "use one of packed, padded, unpadded"),
        ("training", {"compile": "yes please"}, "must be of type bool"),
        ("hyperparameters", {"opt_name": "adam"}, "bert is for lamb"),
        ("hyperparameters", {"max_sequence_length": 1024}, "has 512 positions"),
        ("hyperparameters", {"max_sequence_length": 256}, "the closed division fixes at 512"),
        ("training", {"target_accuracy": 0.7}, "the closed division fixes at 0.72"),
        ("training", {"eval_samples": 9999}, "the closed division fixes at 10000"),
        ("training", {"eval_every_samples": 300_000}, "the closed division fixes at 150000"),
        ("model", {"hidden_dropout_prob": 0.0}, "model is .* which the closed division fixes at"),
        ("hyperparameters", {"num_warmup_steps": 3}, "they are one"),
        ("model", {"num_attention_heads": 15}, "15 heads cannot share"),
        ("", {"benchmark": "resnet"}, "this program trains bert"),
        ("", {"model": [1]}, "model. is not a mapping"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(tmp_path, section, values, sentence):
    path = written(tmp_path, changed(section, **values))
    with pytest.raises(RunError, match=sentence) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    document = changed("training")
    del document["training"]["eval_every_samples"]
    with pytest.raises(RunError, match=r"training\.eval_every_samples is missing"):
        load(written(tmp_path, document))


def test_a_batch_that_cannot_be_shared_names_what_can(tmp_path):
    path = written(tmp_path, changed("hyperparameters", gradient_accumulation_steps=5))
    with pytest.raises(RunError, match="8 accelerators with 5 accumulation") as error:
        load(path)
    assert "use 720 or 800" in str(error.value)
    path = written(tmp_path, changed("", accelerators=7))
    with pytest.raises(RunError, match=r"count of accelerators out of 1, 2, 3, 4, 6, 8, 12, 16"):
        load(path)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"hyperparameters\.yaml"):
        load(written(tmp_path, "a: [1"))
