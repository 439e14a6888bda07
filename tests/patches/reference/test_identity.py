"""The series leaves the mathematics alone: equal losses, to the last bit, before and after it.

One op of the reference repeats itself only when told to: the crop sampler, which ignores
TensorFlow's seed unless it has one of its own. Both sides give it one here. All else that a step
computes on a CPU is the same each time, as long as images are read one after the other.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from launcher import rehearsal
from launcher.core.benchmark import Benchmark
from launcher.paths import PATCHES

pytestmark = [
    pytest.mark.reference,
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

STEPS = 20
SEED = 7
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
DRIVE = Path(__file__).with_name("drive.py")
PLACES = {
    Benchmark.RESNET: ("image_classification/tensorflow2", "resnet_ctl_imagenet_main.py"),
    Benchmark.BERT: ("language_model/tensorflow/bert", "run_pretraining.py"),
}
RESNET = [
    "--num_gpus=1",
    "--distribution_strategy=off",
    "--batch_size=8",
    "--train_epochs=1",
    "--steps_per_loop=1",
    "--skip_eval",
    "--lr_schedule=polynomial",
    "--label_smoothing=0.1",
    "--num_classes=10",
    "--base_learning_rate=1",
    "--warmup_epochs=1",
    "--num_accumulation_steps=1",
]
BERT = [
    "--do_train",
    "--max_seq_length=64",
    "--max_predictions_per_seq=10",
    "--train_batch_size=8",
    "--optimizer=lamb",
    "--learning_rate=0.002",
    "--num_warmup_steps=5",
]
MODEL = (
    '{"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,'
    ' "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 64,'
    ' "max_position_embeddings": 64, "num_attention_heads": 2, "num_hidden_layers": 2,'
    ' "type_vocab_size": 2, "vocab_size": 256}'
)


def losses(benchmark, tree, python, flags, *, patched):
    folder, program = PLACES[benchmark]
    first = [] if patched else ["--unpatched"]
    done = subprocess.run(
        [python, DRIVE, program, str(SEED), *first, *flags],
        cwd=tree / folder,
        env={**os.environ, **QUIET},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if benchmark is Benchmark.RESNET:
        return re.findall(r"^step: .*'train_loss': ([^,]+)", done.stdout, re.MULTILINE)
    return re.findall(r"^INFO:tensorflow:loss = ([^,]+), step", done.stderr, re.MULTILINE)


@pytest.fixture(scope="module")
def images(tensorflow_python, tmp_path_factory):
    """Return 1,024 TFRecord files of scanned digits: the unpatched program insists on so many."""
    folder = tmp_path_factory.mktemp("images")
    digits = rehearsal.prepare(Benchmark.RESNET, folder / "digits")
    code = (
        "import records, sys; records.FILES['train'] = 1024; "
        "records.write(*map(records.Path, sys.argv[1:]))"
    )
    subprocess.run(
        [tensorflow_python, "-c", code, digits, folder / "records"],
        cwd=PATCHES / "resnet" / "files" / PLACES[Benchmark.RESNET][0],
        env={**os.environ, **QUIET},
        check=True,
        capture_output=True,
    )
    return folder / "records"


@pytest.fixture(scope="module")
def prose(patched, tensorflow_python, tmp_path_factory):
    """Return a TFRecord file of 64-token sequences."""
    folder = tmp_path_factory.mktemp("prose")
    text = "".join(
        f"{word} of the {word}. A {word}\n\n" for word in "abcdefghijklmnop" for _ in "12"
    )
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "of"]
    pieces += [mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "text").write_text(text * 4)
    (folder / "vocab").write_text("\n".join(pieces) + "\n")
    scripts = patched(Benchmark.BERT) / PLACES[Benchmark.BERT][0] / "cleanup_scripts"
    shape = ["--max_seq_length=64", "--max_predictions_per_seq=10", "--dupe_factor=10"]
    files = [f"--input_file={folder}/text", f"--output_file={folder}/out"]
    subprocess.run(
        [
            tensorflow_python,
            "create_pretraining_data.py",
            *files,
            *shape,
            f"--vocab_file={folder}/vocab",
        ],
        cwd=scripts,
        env={**os.environ, **QUIET},
        check=True,
        capture_output=True,
    )
    return folder / "out"


def test_resnet_loses_the_same_to_the_last_bit(
    original, patched, images, tensorflow_python, tmp_path
):
    shared = [*RESNET, "--optimizer=LARS", f"--data_dir={images}", f"--train_steps={STEPS}"]
    before, after = (
        losses(
            Benchmark.RESNET,
            tree(Benchmark.RESNET),
            tensorflow_python,
            [*shared, f"--model_dir={tmp_path / name}"],
            patched=name == "patched",
        )
        for name, tree in (("original", original), ("patched", patched))
    )
    assert len(set(before)) > STEPS // 2
    assert after == before
    assert len(after) == STEPS


def test_bert_loses_the_same_to_the_last_bit(original, patched, prose, tensorflow_python, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(MODEL)
    shared = [*BERT, f"--bert_config_file={config}", f"--input_file={prose}"]
    before, after = (
        losses(
            Benchmark.BERT,
            tree(Benchmark.BERT),
            tensorflow_python,
            [*shared, f"--num_train_steps={STEPS}", f"--output_dir={tmp_path / name}"],
            patched=name == "patched",
        )
        for name, tree in (("original", original), ("patched", patched))
    )
    assert len(set(before)) > STEPS // 2
    assert after == before
    assert len(after) == STEPS
