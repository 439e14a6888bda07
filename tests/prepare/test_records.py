"""BERT's records to the packed form: nothing lost, nothing taken on trust."""

import subprocess

import numpy as np
import pytest

from launcher.prepare import records, rows, tfrecord
from launcher.prepare.tfrecord import RecordError

SIZES = records.Sizes(vocabulary=500)
WRITE_AND_READ = """
import sys
import numpy as np
import tensorflow as tf

source, target, fields = sys.argv[1:4]
WIDTHS = {"input_ids": 512, "input_mask": 512, "segment_ids": 512, "masked_lm_positions": 76,
          "masked_lm_ids": 76, "masked_lm_weights": 76, "next_sentence_labels": 1}
KINDS = {name: tf.io.FixedLenFeature([width], tf.float32 if "weights" in name else tf.int64)
         for name, width in WIDTHS.items()}
found = {name: [] for name in WIDTHS}
with tf.io.TFRecordWriter(target) as writer:
    for payload in tf.data.TFRecordDataset(source):
        example = tf.train.Example.FromString(payload.numpy())
        writer.write(example.SerializeToString())
for payload in tf.data.TFRecordDataset(target):
    for name, value in tf.io.parse_single_example(payload, KINDS).items():
        found[name].append(value.numpy())
np.savez(fields, **{name: np.stack(values) for name, values in found.items()})
"""


def test_packed_sequences_say_what_the_records_said(wikipedia_records, pairs):
    read = np.concatenate(list(records.read(wikipedia_records / "part-00000-of-00500", SIZES)))
    expected = rows.from_instances(pairs[: len(read)], 512)
    assert len(read) > 30
    assert read.tobytes() == expected.tobytes()


def test_the_content_digest_survives_packing(wikipedia_records):
    read = np.concatenate(list(records.read(wikipedia_records / "part-00001-of-00500", SIZES)))
    packed = rows.packing().pack(read, seed=1)
    assert len(packed) < len(read)
    assert rows.content(packed) == rows.content(read)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_our_reader_equals_tensorflows_field_by_field(
    wikipedia_records, tmp_path, tensorflow_python
):
    source, target = wikipedia_records / "part-00001-of-00500", tmp_path / "by-tensorflow"
    fields = tmp_path / "fields.npz"
    command = [tensorflow_python, "-c", WRITE_AND_READ, str(source), str(target), str(fields)]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(fields) as loaded:
        expected = dict(loaded)
    ours = records.columns([record.payload for record in tfrecord.read(target)], SIZES)
    assert ours.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(ours[name], values), name


FAULTS = {
    "input_ids": ([7] * 512, "a padded token is not 0"),
    "input_mask": ([0, 1] * 256, "input_mask is not ones and then zeros"),
    "segment_ids": ([1, 0] * 256, "segment_ids are not zeros, ones and then padding"),
    "masked_lm_positions": ([511] * 76, "goes on behind its last weight"),
    "masked_lm_ids": ([400_000] * 76, "goes on behind its last weight|not below 500"),
    "masked_lm_weights": ([0.5] * 76, "a value other than 0 and 1"),
    "next_sentence_labels": ([2], "not 0 or 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_record_that_breaks_the_rules_is_named(name, example, pair_features, pairs, tmp_path):
    values, message = FAULTS[name]
    good = pair_features(min(pairs, key=lambda pair: len(pair.input_ids)))
    path = tmp_path / "part"
    path.write_bytes(tfrecord.frame(example(good)) + tfrecord.frame(example(good | {name: values})))
    with pytest.raises(RecordError, match=rf"part: records 0-1: .*({message})"):
        list(records.read(path, SIZES))


@pytest.mark.parametrize("change", ["drop", "shorten"])
def test_a_record_of_another_shape_is_refused(change, example, pair_features, pairs, tmp_path):
    features = pair_features(pairs[0])
    if change == "drop":
        del features["segment_ids"]
    else:
        features["segment_ids"].pop()
    path = tmp_path / "part"
    path.write_bytes(tfrecord.frame(example(features)))
    with pytest.raises(RecordError, match=r"segment_ids (is missing|has not 512 values)"):
        list(records.read(path, SIZES))
