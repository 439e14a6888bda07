"""Which Python may run the reference outside a container, and how another is refused."""

from pathlib import Path

import pytest

from launcher import tensorflow
from launcher.errors import HostError


def pretend(folder: Path, script: str) -> Path:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


def test_without_a_python_one_sentence_names_the_option():
    with pytest.raises(HostError, match="--tensorflow-python is missing"):
        tensorflow.python(None)


def test_a_python_with_the_right_tensorflow_is_taken_as_it_was_named(tmp_path):
    place = pretend(tmp_path, "echo 2.15.1")
    assert tensorflow.python(place) == place


def test_another_tensorflow_is_refused_by_its_version(tmp_path):
    with pytest.raises(HostError, match=r"has TensorFlow 2\.21\.0, the reference needs 2\.15\.1"):
        tensorflow.python(pretend(tmp_path, "echo 2.21.0"))


def test_a_python_that_lacks_a_package_is_refused_with_what_it_lacks(tmp_path):
    place = pretend(tmp_path, "echo 'PackageNotFoundError: mlperf-logging' >&2; exit 1")
    with pytest.raises(HostError, match=r"cannot run the reference .*mlperf-logging"):
        tensorflow.python(place)


def test_what_does_not_start_is_refused(tmp_path):
    with pytest.raises(HostError, match="does not start"):
        tensorflow.python(tmp_path / "nowhere")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_real_python_with_tensorflow_is_taken(tensorflow_python):
    assert tensorflow.python(Path(tensorflow_python)) == Path(tensorflow_python)
