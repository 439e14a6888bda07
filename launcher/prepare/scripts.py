"""The patched reference's own data scripts, run one at a time where TensorFlow is.

Text to TFRecords only through the reference's programs: what they compute is the data set. They
come from a materialised tree (`make tree TASK=bert`) or lie in the reference image. It decides
nothing about files or order.
"""

import os
import subprocess  # noqa: TID251 - an edge: the reference's scripts are programs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import HostError
from launcher.prepare import container

FOLDER = "language_model/tensorflow/bert/cleanup_scripts"
TAIL = 6  # lines of a failed script's output worth quoting
# dataset.md and README.md of the reference: how the published records were made.
RECORD_FLAGS = (
    "--do_lower_case=True",
    "--max_seq_length=512",
    "--max_predictions_per_seq=76",
    "--masked_lm_prob=0.15",
    "--random_seed=12345",
    "--dupe_factor=10",
)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """Where the scripts lie and what runs them: a Python of the host, or an image."""

    folder: Path  # in the image, if there is one
    python: str
    image: str | None = None
    label: str = ""  # of the containers

    def create_pretraining_data(self, text: Path, records: Path, vocabulary: Path) -> None:
        """Turn one text file into masked records. About 2 minutes and 2.5-4 GB for 27 MB."""
        arguments = (
            f"--input_file={text.resolve()}",
            f"--output_file={records.resolve()}",
            f"--vocab_file={vocabulary.resolve()}",
            *RECORD_FLAGS,
        )
        reads = (text.resolve().parent, vocabulary.resolve().parent)
        self.run("create_pretraining_data.py", *arguments, reads=reads, writes=records.parent)

    def pick_eval_samples(self, records: Path, picked: Path, number: int) -> None:
        """Keep every (n / number)-th record."""
        arguments = (
            f"--input_tfrecord={records.resolve()}",
            f"--output_tfrecord={picked.resolve()}",
            f"--num_examples_to_pick={number}",
        )
        self.run("pick_eval_samples.py", *arguments, writes=picked.parent)

    def run(
        self, script: str, *arguments: str, reads: Sequence[Path] = (), writes: Path | None = None
    ) -> None:
        """Run one script to its end. Raises HostError with the end of what it wrote."""
        command = (self.python, str(self.folder / script), *arguments)
        if self.image is None or writes is None:
            start(command)
        else:
            container.run(self.image, command, reads=reads, writes=writes, label=self.label)


def start(command: Sequence[str]) -> None:
    """Run a program. Raises HostError with the end of what it wrote."""
    try:
        subprocess.run(
            command,
            check=True,
            env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            text=True,
        )
    except FileNotFoundError as error:
        raise HostError(
            f"{command[0]}: cannot be started ({error.strerror}); install it."
        ) from error
    except subprocess.CalledProcessError as error:
        end = " | ".join(line.strip() for line in error.stdout.splitlines()[-TAIL:])
        raise HostError(
            f"{Path(command[1]).name}: ended with code {error.returncode}: {end}; "
            "mend that and start again, finished work is kept."
        ) from error
