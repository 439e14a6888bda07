"""The reference's data scripts, patched, on its own sample of Wikipedia."""

import collections
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.core.benchmark import Benchmark

pytestmark = [pytest.mark.reference, pytest.mark.tensorflow, pytest.mark.slow]

SCRIPTS = "language_model/tensorflow/bert/cleanup_scripts"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
SHAPE = [
    "--max_seq_length=128",
    "--max_predictions_per_seq=20",
    "--masked_lm_prob=0.15",
    "--random_seed=12345",
]


def run(*command, cwd, **environment):
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **QUIET, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def succeed(*command, cwd, **environment):
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def scripts(patched, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("chain") / "scripts"
    shutil.copytree(patched(Benchmark.BERT) / SCRIPTS, place)
    return place


@pytest.fixture(scope="module")
def texts(scripts, tensorflow_python) -> Path:
    succeed(
        "bash",
        "process_wiki.sh",
        "sample_data/wiki_??",
        "40",
        "--train_segmenter",
        cwd=scripts,
        PYTHON=tensorflow_python,
    )
    return scripts / "results"


def vocabulary(text: str) -> str:
    words = collections.Counter(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    pieces += [f"##{letter}" for letter in letters]
    pieces += [word for word, _ in words.most_common(2000) if len(word) > 1]
    return "\n".join(dict.fromkeys(pieces)) + "\n"


@pytest.fixture(scope="module")
def records(scripts, texts, tensorflow_python) -> Path:
    text = (texts / "eval.txt").read_text(encoding="utf-8")[:150_000]
    (scripts / "text.txt").write_text(text, encoding="utf-8")
    (scripts / "vocab.txt").write_text(vocabulary(text), encoding="utf-8")
    for name in ("once", "again"):
        succeed(
            tensorflow_python,
            "create_pretraining_data.py",
            "--input_file=text.txt",
            f"--output_file={name}.tfrecord",
            "--vocab_file=vocab.txt",
            "--dupe_factor=2",
            *SHAPE,
            cwd=scripts,
        )
    return scripts / "once.tfrecord"


def test_the_cleaned_sample_holds_every_article_once(texts):
    eval_text = (texts / "eval.txt").read_text(encoding="utf-8")
    articles = eval_text.split("\n\n")[:-1]
    digests = (texts / "eval.md5").read_text().split()
    assert len(digests) == 40
    assert [
        hashlib.md5(a.rstrip().encode(), usedforsecurity=False).hexdigest() for a in articles
    ] == digests
    assert (texts / "part-00000-of-00500").stat().st_size > 2_000_000


def test_asking_for_more_test_articles_than_there_are_is_refused(scripts, texts, tensorflow_python):
    done = run(
        tensorflow_python,
        "seperate_test_set.py",
        "--data=sample_data/wiki_??",
        "--num_test_articles=10000",
        f"--test_output={texts / 'never'}",
        cwd=scripts,
    )
    assert done.returncode != 0
    assert "lower --num_test_articles" in done.stderr
    assert not (texts / "never.txt").exists()


def test_a_missing_sentence_model_is_one_clear_sentence(scripts, tensorflow_python, tmp_path):
    done = run(
        tensorflow_python,
        "do_sentence_segmentation.py",
        "--data=sample_data/wiki_??",
        cwd=scripts,
        NLTK_DATA=str(tmp_path),
        HOME=str(tmp_path),
    )
    if done.returncode == 0:
        pytest.skip("this machine has NLTK's English model outside NLTK_DATA")
    assert "pass --train_segmenter" in done.stderr
    assert "Traceback" not in done.stderr


def test_records_are_the_same_each_time_they_are_made(records, scripts):
    assert records.read_bytes() == (scripts / "again.tfrecord").read_bytes()


def test_evaluation_samples_are_picked_evenly(records, scripts, tensorflow_python):
    succeed(
        tensorflow_python,
        "pick_eval_samples.py",
        f"--input_tfrecord={records.name}",
        "--output_tfrecord=picked.tfrecord",
        "--num_examples_to_pick=25",
        "--max_seq_length=128",
        "--max_predictions_per_seq=20",
        cwd=scripts,
    )
    code = (
        "import tensorflow as tf\n"
        "read = lambda p: [tf.train.Example.FromString(r.numpy()) for r in"
        " tf.data.TFRecordDataset(p)]\n"
        "every, picked = read('once.tfrecord'), read('picked.tfrecord')\n"
        "assert len(picked) == 25\n"
        "assert picked == [every[int(i * len(every) / 25)] for i in range(25)]\n"
    )
    succeed(tensorflow_python, "-c", code, cwd=scripts)
