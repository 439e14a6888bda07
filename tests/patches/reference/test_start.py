"""From hyperparameters.yaml to the reference's flags, or one sentence that says why not.

Needs neither TensorFlow nor the reference: nothing is started here.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from launcher import render, systems
from launcher.core.benchmark import Benchmark
from launcher.paths import PATCHES, SYSTEMS
from reference_common import start
from reference_common.start import RefusedError

FOLDERS = {
    Benchmark.RESNET: PATCHES / "resnet/files/image_classification/tensorflow2",
    Benchmark.BERT: PATCHES / "bert/files/language_model/tensorflow/bert",
}


@pytest.fixture(params=list(Benchmark))
def benchmark_(request):
    return request.param


def program(benchmark, monkeypatch):
    """Import start_run.py of a benchmark as the program would be: from its own folder."""
    monkeypatch.syspath_prepend(str(FOLDERS[benchmark]))
    for name in ("records", "start_run"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("start_run", FOLDERS[benchmark] / "start_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "records", raising=False)
    return module


def rendered(benchmark, tmp_path, *, rehearsal=True, **changed):
    """Write a rendered file, some values of a section changed, and return its path."""
    place = SYSTEMS / ("rehearsal.yaml" if rehearsal else "example-8xh200.yaml")
    system = systems.load(place)
    settings = systems.settings(place, system, benchmark, rehearsal=rehearsal)
    text = render.hyperparameters(
        benchmark, system, settings, rehearsal=rehearsal, implementation="reference"
    )
    document = yaml.safe_load(text)
    for section, values in changed.items():
        document[section] |= values
    path = tmp_path / "hyperparameters.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def order(path, benchmark, tmp_path, **changed):
    document = start.read(path, benchmark.value)
    data = tmp_path / "data"
    for split in ("train", "eval"):
        (data / split).mkdir(parents=True, exist_ok=True)
        (data / split / "part.tfrecord").touch()
    (data / "train-00000-of-00001").touch()
    values = {**document, "data": data, "checkpoint": None, "seed": 7, "work": tmp_path}
    return start.Order(**(values | changed))


def test_a_rehearsal_becomes_flags_that_carry_every_value(benchmark_, tmp_path, monkeypatch):
    flags = program(benchmark_, monkeypatch).flags(
        order(rendered(benchmark_, tmp_path), benchmark_, tmp_path)
    )
    assert "--seed=7" in flags
    assert "--submission_org=Rehearsal" in flags
    rates = {Benchmark.RESNET: "--base_learning_rate=", Benchmark.BERT: "--learning_rate="}
    assert any(flag.startswith(rates[benchmark_]) for flag in flags)
    assert len(flags) == len({flag.partition("=")[0] for flag in flags})


def test_decay_steps_become_whole_epochs_and_the_length_of_the_run(tmp_path, monkeypatch):
    module = program(Benchmark.RESNET, monkeypatch)
    flags = module.flags(order(rendered(Benchmark.RESNET, tmp_path), Benchmark.RESNET, tmp_path))
    assert "--train_epochs=5" in flags  # 5 x 44 - 44 + 1 = 177 steps of decay; evaluated at 4 and 8


@pytest.mark.parametrize(
    ("benchmark", "changed", "said"),
    [
        ("resnet", {"gradient_accumulation_steps": 2}, "gradient_accumulation_steps is 2, but"),
        ("resnet", {"lars_opt_learning_rate_decay_steps": 178}, "whole epochs; use 177"),
        ("resnet", {"lars_opt_learning_rate_warmup_epochs": 0}, "use 1|whole epochs|divides"),
        ("resnet", {"opt_name": "adam"}, "use 'lars' or 'sgd'"),
        ("resnet", {"global_batch_size": 2000}, "2000, more than the 1433 training images"),
        ("resnet", {"model_bn_span": 16}, "1 devices share a batch of 32"),
        ("resnet", {"colour": 1}, "colour is not one the reference knows"),
        ("bert", {"gradient_accumulation_steps": 4}, "counts its schedule in micro-batches"),
        ("bert", {"opt_lamb_epsilon": 3e-6}, "takes powers of ten"),
        ("bert", {"opt_learning_rate_warmup_steps": 9}, "num_warmup_steps under another name"),
    ],
)
def test_what_the_reference_cannot_do_is_refused(benchmark, changed, said, tmp_path, monkeypatch):
    chosen = Benchmark(benchmark)
    path = rendered(chosen, tmp_path, hyperparameters=changed)
    with pytest.raises(RefusedError, match=said):
        program(chosen, monkeypatch).flags(order(path, chosen, tmp_path))


def test_other_precisions_than_fp32_are_refused(benchmark_, tmp_path, monkeypatch):
    path = rendered(benchmark_, tmp_path, training={"precision": "bf16"})
    with pytest.raises(RefusedError, match="precision is 'bf16', but the reference is the fp32"):
        program(benchmark_, monkeypatch).flags(order(path, benchmark_, tmp_path))


def test_a_real_run_takes_the_real_network(tmp_path, monkeypatch):
    module = program(Benchmark.RESNET, monkeypatch)
    monkeypatch.setattr(start, "count_gpus", lambda _: None)
    path = rendered(Benchmark.RESNET, tmp_path, rehearsal=False, model={"width_divisor": 4})
    with pytest.raises(RefusedError, match=r"model\.width_divisor is 4, but this is no"):
        module.flags(order(path, Benchmark.RESNET, tmp_path))


def test_a_real_bert_run_needs_its_initial_checkpoint(tmp_path, monkeypatch):
    module = program(Benchmark.BERT, monkeypatch)
    monkeypatch.setattr(start, "count_gpus", lambda _: None)
    path = rendered(Benchmark.BERT, tmp_path, rehearsal=False)
    wanted = order(path, Benchmark.BERT, tmp_path)
    with pytest.raises(RefusedError, match="--checkpoint is missing"):
        module.flags(wanted)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.ckpt-28252.index").touch()
    flags = module.flags(order(path, Benchmark.BERT, tmp_path, checkpoint=checkpoint))
    assert f"--init_checkpoint={checkpoint / 'model.ckpt-28252'}" in flags
    assert {"--eval_batch_size=50", "--max_eval_steps=200"} <= set(flags)


def test_a_file_for_the_other_implementation_is_refused(benchmark_, tmp_path):
    path = rendered(benchmark_, tmp_path)
    path.write_text(path.read_text().replace("reference", "pytorch"), encoding="utf-8")
    with pytest.raises(RefusedError, match="by pytorch; this is"):
        start.read(path, benchmark_.value)


def test_run_and_time_starts_start_run_beside_it():
    for folder in FOLDERS.values():
        script = folder / "run_and_time.sh"
        assert script.stat().st_mode & 0o111
        assert 'exec python -u "$here/start_run.py" "$@"' in script.read_text()
        assert Path(folder / "start_run.py").is_file()
