"""Real Wikipedia text through the patched reference's own scripts into verified rows."""

import subprocess

import numpy as np
import pytest

from launcher import cli, dataset, patchqueue
from launcher.core.benchmark import Benchmark
from launcher.prepare import inspection, prose, records, scripts, tfrecord

pytestmark = [pytest.mark.reference, pytest.mark.tensorflow, pytest.mark.slow]
ARTICLE = 3000  # characters kept of each, to keep the scripts quick
VOCABULARY = 3000
READ = """
import sys
import numpy as np
import tensorflow as tf

KINDS = {name: tf.io.FixedLenFeature([512], tf.int64)
         for name in ("input_ids", "input_mask", "segment_ids")}
KINDS |= {name: tf.io.FixedLenFeature([76], tf.int64)
          for name in ("masked_lm_positions", "masked_lm_ids")}
KINDS["masked_lm_weights"] = tf.io.FixedLenFeature([76], tf.float32)
KINDS["next_sentence_labels"] = tf.io.FixedLenFeature([1], tf.int64)
payloads = list(tf.data.TFRecordDataset(sys.argv[1]).as_numpy_iterator())
found = tf.io.parse_example(payloads, KINDS)
np.savez(sys.argv[2], **{name: value.numpy() for name, value in found.items()})
"""


@pytest.fixture(scope="module")
def tree(reference, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree") / "bert"
    patchqueue.materialise(Benchmark.BERT, root, place=str(reference))
    return root


@pytest.fixture(scope="module")
def extracted(tree, tmp_path_factory):
    """Cut the bundled sample articles short and put them where WikiExtractor would."""
    root = tmp_path_factory.mktemp("source")
    for number, folder in ((0, "AA"), (1, "AB")):
        sample = tree / scripts.FOLDER / "sample_data" / f"wiki_{number:02d}"
        found = sample.read_text(encoding="utf-8").split("</doc>\n")[:12]
        target = root / "text" / folder / "wiki_00"
        target.parent.mkdir(parents=True)
        cut = [article[: article.rfind(" ", 0, ARTICLE)] for article in found]
        target.write_text("".join(f"{article}\n</doc>\n" for article in cut), encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in root.rglob("wiki_00"))
    pieces = prose.vocabulary([text], VOCABULARY)
    (root / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return root


def test_a_dump_becomes_rows_through_every_script_of_the_reference(
    extracted, tree, tensorflow_python, tmp_path
):
    if subprocess.run([tensorflow_python, "-c", "import nltk"], check=False).returncode:
        pytest.skip(f"no nltk in {tensorflow_python}")
    data = tmp_path / "data"
    command = ["prepare", "--task", "bert", "--source", str(extracted), "--data", str(data)]
    command += ["--tensorflow-python", tensorflow_python, "--tree", str(tree)]
    assert cli.run([*command, "--workers", "1", "--rehearsal"]) == 0
    manifest, _ = dataset.read(data)
    assert manifest.source["input"] == "Wikipedia dump"
    assert manifest.source["checked"]["eval_articles"] == 2
    train, evaluation = (split.samples for split in manifest.splits)
    assert train > evaluation > 0
    assert manifest.statistics["train"]["masked"] > 10 * train
    assert inspection.full(data, manifest) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert sorted(path.name for path in extracted.rglob("wiki*")) == ["wiki_00", "wiki_00"]


def test_the_references_records_read_by_us_equal_those_read_by_tensorflow(
    extracted, tree, tensorflow_python, tmp_path
):
    lines = (extracted / "text" / "AA" / "wiki_00").read_text(encoding="utf-8").splitlines()
    text = tmp_path / "text"
    text.write_text("\n".join("" if line.startswith("<doc") else line for line in lines))
    made, fields = tmp_path / "records", tmp_path / "fields.npz"
    reference_scripts = scripts.Scripts(folder=tree / scripts.FOLDER, python=tensorflow_python)
    reference_scripts.create_pretraining_data(text, made, extracted / "vocab.txt")
    command = [tensorflow_python, "-c", READ, str(made), str(fields)]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(fields) as loaded:
        expected = dict(loaded)
    payloads = [record.payload for record in tfrecord.read(made)]
    ours = records.columns(payloads, records.Sizes(vocabulary=VOCABULARY))
    assert len(payloads) > 50
    assert ours.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(ours[name], values), name
