"""The patched reference's own data scripts, run one at a time in a Python that has TensorFlow.

Text to TFRecords only through the reference's programs: what they compute is the data set. They
come from a materialised tree (`make tree TASK=bert`). It decides nothing about files or order.
"""

import os
import subprocess  # noqa: TID251 - an edge: the reference's scripts are programs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import HostError

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
    """Where the scripts lie and which Python runs them."""

    folder: Path
    python: str

    def create_pretraining_data(self, text: Path, records: Path, vocabulary: Path) -> None:
        """Turn one text file into masked records. About 2 minutes and 2.5-4 GB for 27 MB."""
        self.run(
            "create_pretraining_data.py",
            f"--input_file={text}",
            f"--output_file={records}",
            f"--vocab_file={vocabulary}",
            *RECORD_FLAGS,
        )

    def pick_eval_samples(self, records: Path, picked: Path, number: int) -> None:
        """Keep every (n / number)-th record."""
        self.run(
            "pick_eval_samples.py",
            f"--input_tfrecord={records}",
            f"--output_tfrecord={picked}",
            f"--num_examples_to_pick={number}",
        )

    def run(self, script: str, *arguments: str, cwd: Path | None = None) -> None:
        """Run one script to its end. Raises HostError with the end of what it wrote."""
        start((self.python, str(self.folder / script), *arguments), cwd=cwd)


def start(command: Sequence[str], *, cwd: Path | None = None) -> None:
    """Run a program. Raises HostError with the end of what it wrote."""
    try:
        subprocess.run(
            command,
            check=True,
            cwd=cwd,
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
