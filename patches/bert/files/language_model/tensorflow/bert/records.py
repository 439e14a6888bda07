"""The prose that CPython ships to TFRecord files, by the reference's own (patched) data scripts.

Real English, and enough of it for a rehearsal; which topics are for evaluation is fixed.
"""

import re
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

SCRIPTS = Path(__file__).resolve().parent / "cleanup_scripts"
EVAL_EVERY = 8  # every eighth topic
DUPLICATES = 3  # dupe_factor; 10 for the real data set
SEED = 12345  # random_seed, of every shard of the real data set too


def write(
    vocabulary: Path, folder: Path, *, length: int, predictions: int, samples: int
) -> tuple[str, str]:
    """Write the records of both splits, `samples` of them to evaluate on; return their paths."""
    folder.mkdir(parents=True)
    shape = (f"--max_seq_length={length}", f"--max_predictions_per_seq={predictions}")
    for split, text in _texts().items():
        (folder / f"{split}.txt").write_text(text, encoding="utf-8")
        _run(
            "create_pretraining_data.py",
            f"--input_file={folder / split}.txt",
            f"--output_file={folder / split}.tfrecord",
            f"--vocab_file={vocabulary}",
            f"--dupe_factor={DUPLICATES}",
            f"--random_seed={SEED}",
            "--masked_lm_prob=0.15",
            *shape,
        )
    picked = folder / "picked.tfrecord"
    _run(
        "pick_eval_samples.py",
        f"--input_tfrecord={folder / 'eval'}.tfrecord",
        f"--output_tfrecord={picked}",
        f"--num_examples_to_pick={samples}",
        *shape,
    )
    return str(folder / "train.tfrecord"), str(picked)


def _texts() -> dict[str, str]:
    """Return each split's text: one sentence a line, a blank line between documents."""
    texts = {"train": "", "eval": ""}
    for number, (_, text) in enumerate(sorted(topics.items())):
        split = "train" if number % EVAL_EVERY else "eval"
        sentences = re.split(r"(?<=[.!?:])\s+", text)
        lines = [" ".join(sentence.split()) for sentence in sentences]
        texts[split] += "\n".join(line for line in lines if line) + "\n\n"
    return texts


def _run(script: str, *flags: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *flags],
        cwd=SCRIPTS,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"error: {script} failed: {done.stderr[-500:]}")
