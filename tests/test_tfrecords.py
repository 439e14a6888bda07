"""What a plan says of TFRecord files: counted, sized, never called attested."""

import pytest

from launcher import tfrecords
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError


def test_files_and_bytes_of_each_split_are_counted(tmp_path):
    for name, size in (("train/part-0", 3), ("train/part-1", 4), ("eval/picked", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    told = tfrecords.describe(tmp_path, Benchmark.BERT)
    assert told["attested"] is False
    assert told["splits"] == {
        "train": {"files": 2, "bytes": 7},
        "eval": {"files": 1, "bytes": 5},
    }


def test_a_missing_file_of_imagenet_is_counted_out(tmp_path):
    for number in range(1023):
        (tmp_path / f"train-{number:05d}-of-01024").touch()
    with pytest.raises(ConfigError, match=r"1023 files train-.*needs 1024"):
        tfrecords.describe(tmp_path, Benchmark.RESNET)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"0 files train/.*needs at least one"):
        tfrecords.describe(tmp_path, Benchmark.BERT)
