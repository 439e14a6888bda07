"""Wikipedia as users have it -> packed rows: 500 records or text parts, and the eval set.

Records go through `records`, text first through the patched reference's scripts, a dump first
through `dump`. Each part is one unit of `work`, so memory is bounded by one part per worker. What
the publishers name a checksum for is checked; it never trains a tokenizer or masks by itself.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launcher import dataset, filetree
from launcher.core.benchmark import Benchmark
from launcher.dataset import Form, Manifest
from launcher.errors import ConfigError
from launcher.prepare import container, records, scripts, tfrecord, work
from launcher.prepare.articles import verify_articles
from launcher.prepare.conversion import Conversion, convert
from launcher.prepare.work import Crew, Receipt, Unit

PARTS = 500
PICKED = 10_000  # eval samples
ARTICLES_MD5 = "71a58382a68947e93e88aa0d42431b6c"  # of eval.md5
VOCABULARY_MD5 = "64800d5d8528ce344256daf115d4965e"
ROWS_PER_RECORD_BYTE = 0.3  # measured 0.26 (docs/log.md), for the free-space check
ROWS_PER_TEXT_BYTE = 9.0
TEXT_MEMORY = 4_000_000_000  # bytes a worker needs: create_pretraining_data.py holds a whole part
RECORDS_MEMORY = 1_500_000_000  # one part's rows and one group being packed
STAGED_TEXT_BYTES = 2e9  # records of one part while it is converted, per worker
# dataset.md of the reference lists these six of the 500 parts, and eval.txt.
PUBLISHED_MD5 = {
    "part-00000-of-00500": "a64a7c31eff5cd38ae6d94f7a6229dab",
    "part-00001-of-00500": "549a9ed4f805257245bec936563abfd0",
    "part-00002-of-00500": "1a1366ddfc03aef9d41ce552ee247abf",
    "part-00497-of-00500": "66835aa75d4855f2e678e8f3d73812e9",
    "part-00498-of-00500": "e6d68a7632e9f4aa1a94128cce556dc9",
    "part-00499-of-00500": "b3b087ad24e3770d879a351664cebc5a",
    "eval.txt": "2a220f790517261547b1b45ed3ada07a",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user gave."""

    source: Path
    crew: Crew
    vocabulary: Path | None = None
    tree: Path | None = None  # materialised source tree, for text
    tensorflow_python: str | None = None
    image: str | None = None  # of the reference, instead of tree and Python
    rehearsal: bool = False  # take any number of parts; no real run accepts the result
    extracted: bool = False  # the text was made here from a dump: the published md5s cannot hold
    eval_samples: int = PICKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files of a source."""

    parts: tuple[Path, ...]
    evaluation: Path
    text: bool


def prepare(options: Options) -> Manifest:
    """Make `train/` and `eval/` rows with `dataset.json`; continues what was begun.

    Raises ConfigError on a source that is incomplete, altered or of no known form, HostError when
    the machine lacks space, memory or TensorFlow.
    """
    found = find(options.source, rehearsal=options.rehearsal)
    vocabulary = find_vocabulary(options, text=found.text)
    if found.text:
        patched(options)  # before hours of work
    size = sum(path.stat().st_size for path in (*found.parts, found.evaluation))
    factor = ROWS_PER_TEXT_BYTE if found.text else ROWS_PER_RECORD_BYTE
    staged = STAGED_TEXT_BYTES * options.crew.workers if found.text and not options.rehearsal else 0
    with work.claimed(options.crew.root, _identity(options, found, vocabulary)):
        work.require_space(options.crew.root, int(size * factor + staged), "the packed data set")
        checked = _check(options, found)
        with _no_container_left(options):
            manifest = _convert(options, found, vocabulary, checked)
        dataset.write(options.crew.root, manifest)
    return manifest


@contextlib.contextmanager
def _no_container_left(options: Options) -> Iterator[None]:
    """Remove containers that a killed start left, and on any error those of this one."""
    if options.image is None:
        yield
        return
    label = str(options.crew.root.absolute())
    container.sweep(label)
    try:
        yield
    finally:
        container.sweep(label)


def find(source: Path, *, rehearsal: bool) -> Found:
    """Find parts and eval set below a folder, and tell records from text by their first bytes."""
    parts = sorted(source.rglob("part-?????-of-?????"))
    text = {not tfrecord.is_tfrecord(path) for path in parts}
    if not parts or len(text) > 1:
        what = "holds both text and record parts" if parts else "holds no part-00000-of-00500"
        raise ConfigError(
            f"{source}: {what}; point --source at the folder of the 500 text parts, "
            "of the 500 TFRecords, or of the Wikipedia dump (docs/data.md)."
        )
    if len({path.name for path in parts}) < len(parts):
        raise ConfigError(f"{source}: holds a part twice; point --source at one copy.")
    if len(parts) != PARTS and not rehearsal:
        have = {path.name for path in parts}
        names = (f"part-{number:05d}-of-{PARTS:05d}" for number in range(PARTS))
        lacking = next((name for name in names if name not in have), "none")
        raise ConfigError(
            f"{source}: has {len(parts)} parts, {PARTS} belong ({lacking} is missing first); "
            "complete the download."
        )
    pattern = "eval.txt" if text == {True} else "eval_10k*"
    evaluation = sorted(path for path in source.rglob(pattern) if path.is_file())
    if len(evaluation) != 1:
        raise ConfigError(f"{source}: has {len(evaluation)} files {pattern}, one belongs; add it.")
    return Found(parts=tuple(parts), evaluation=evaluation[0], text=text == {True})


def find_vocabulary(options: Options, *, text: bool) -> Path | None:
    """Return the vocabulary, which text cannot do without. Raises ConfigError."""
    nearby = options.source / "vocab.txt"
    path = options.vocabulary or (nearby if nearby.exists() else None)
    if path is None and text:
        raise ConfigError(
            f"{options.source}: text needs BERT's vocabulary; give vocab.txt with --vocab."
        )
    if path is not None:
        md5 = _md5(path)
        if md5 != VOCABULARY_MD5 and not options.rehearsal:
            raise ConfigError(
                f"{path}: md5 is {md5}, BERT's uncased vocabulary has {VOCABULARY_MD5}; "
                "download vocab.txt again."
            )
    return path


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _identity(options: Options, found: Found, vocabulary: Path | None) -> dict[str, Any]:
    """Return what makes two starts the same work: names and sizes of what goes in."""
    return {
        "benchmark": "bert",
        "rehearsal": options.rehearsal,
        "inputs": {path.name: path.stat().st_size for path in (*found.parts, found.evaluation)},
        "vocabulary": filetree.sha256(vocabulary) if vocabulary else None,
    }


def _check(options: Options, found: Found) -> dict[str, Any]:
    """Check the text against what is published of it; records carry their own checksums."""
    if not found.text:
        return {"records": "both checksums of every record"}
    checked: dict[str, Any] = {}
    if not options.rehearsal and not options.extracted:
        units = [
            Unit(name=f"md5/{path.name}", bytes=path.stat().st_size, arguments=(path, expected))
            for path in (*found.parts, found.evaluation)
            if (expected := PUBLISHED_MD5.get(path.name))
        ]
        work.run("check downloads", units, work.verify_download, options.crew)
        checked["md5"] = sorted(unit.name.removeprefix("md5/") for unit in units)
    if (hashes := _article_hashes(options, found)).exists():
        checked["eval_articles"] = verify_articles(found.evaluation, hashes)
    return checked


def _article_hashes(options: Options, found: Found) -> Path:
    """Return the md5s of the eval articles: the reference's own file, or a copy proved to be it."""
    beside = found.evaluation.with_name("eval.md5")
    own = options.rehearsal or options.extracted  # other articles than the published ones
    if own or (beside.exists() and _md5(beside) == ARTICLES_MD5) or options.tree is None:
        return beside
    return options.tree / scripts.FOLDER / "eval.md5"


def patched(options: Options) -> scripts.Scripts:
    """Return the reference's scripts. Raises ConfigError when tree or Python are not given."""
    if options.image is not None:
        container.check(options.image)
        label = str(options.crew.root.absolute())
        folder = container.TREE / scripts.FOLDER
        return scripts.Scripts(folder=folder, python="python3", image=options.image, label=label)
    if options.tree is None or not (options.tree / scripts.FOLDER).is_dir():
        raise ConfigError(
            f"{options.tree}: holds no {scripts.FOLDER}; text is turned into records by the "
            "patched reference, so run `make tree TASK=bert` first."
        )
    if options.tensorflow_python is None:
        raise ConfigError(
            "text is turned into records with TensorFlow; give a Python that has TensorFlow "
            "2.15.1 with --tensorflow-python, or the reference's image with --image."
        )
    folder = (options.tree / scripts.FOLDER).absolute()
    return scripts.Scripts(folder=folder, python=options.tensorflow_python)


def _convert(
    options: Options, found: Found, vocabulary: Path | None, checked: Mapping[str, Any]
) -> Manifest:
    sizes = records.Sizes()
    if vocabulary is not None:
        sizes = records.Sizes(vocabulary=len(vocabulary.read_text(encoding="utf-8").splitlines()))
    conversion = Conversion(
        sizes=sizes,
        scripts=patched(options) if found.text else None,
        vocabulary=vocabulary.absolute() if vocabulary else None,
        picked=options.eval_samples,
    )
    build = functools.partial(convert, conversion)
    crew = work.bounded(options.crew, TEXT_MEMORY if found.text else RECORDS_MEMORY)
    train = work.run("pack train", _units("train", found.parts), build, crew)
    evaluation = work.run("pack eval", _units("eval", [found.evaluation]), build, crew)
    return Manifest(
        benchmark=Benchmark.BERT,
        form=Form.ROWS,
        rehearsal=options.rehearsal,
        source={
            "input": _input(options, found),
            "parts": len(found.parts),
            "checked": checked,
        },
        splits=(work.split("train", train), work.split("eval", evaluation)),
        files=_copy_vocabulary(options.crew.root, vocabulary),
        statistics={"train": _summary(train), "eval": _summary(evaluation)},
    )


def _input(options: Options, found: Found) -> str:
    if options.extracted:
        return "Wikipedia dump"
    return "text parts" if found.text else "records"


def _copy_vocabulary(root: Path, vocabulary: Path | None) -> tuple[dataset.DataFile, ...]:
    if vocabulary is None:
        return ()
    work.write_atomically(root / "vocab.txt", vocabulary.read_text(encoding="utf-8"))
    return (dataset.describe(root, root / "vocab.txt"),)


def _units(split: str, paths: Sequence[Path]) -> list[Unit]:
    return [
        Unit(
            name=f"{split}/{path.name}",
            bytes=path.stat().st_size,
            arguments=(split, number, path.absolute()),
        )
        for number, path in enumerate(paths)
    ]


def _summary(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Add up what `data stats` shows."""
    lengths = np.sum([receipt.statistics["lengths"] for receipt in receipts], axis=0)
    number = sum(receipt.statistics["rows"] for receipt in receipts)
    return {
        "rows": number,
        "masked": sum(receipt.statistics["masked"] for receipt in receipts),
        "row_length": len(lengths) - 1,
        "lengths": lengths.tolist(),
    }
