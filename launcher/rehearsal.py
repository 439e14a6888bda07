"""Nothing -> small real data sets for rehearsals, from what Python packages already ship.

ResNet: the scanned digits of scikit-learn (UCI ML, 1,797 images of 43 people's handwriting) as JPEG
class folders. BERT: the English prose of `pydoc_data.topics`, masked by the reference's rules and
packed. Real data, so that a rehearsal really learns; never enough of it for a result, and its
manifest says so. A set appears whole or not at all.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.dataset import ContentDigest, DataFile, Form, Manifest, Split
from launcher.errors import ConfigError, HostError
from launcher.prepare import prose, shards

RECIPE = 2  # raise it whenever the bytes below change: older sets are then made anew
IMAGE_SIZE = 64  # pixels; the scans are 8 x 8
JPEG_QUALITY = 95
VALIDATION_EVERY = 5  # every fifth image of a class
SEQUENCE_LENGTH = 128
VOCABULARY_SIZE = 256  # learned in seconds on one core
DUPLICATES = 1  # the reference's dupe_factor is 10
SHORT_SHARE = 0.9  # so that some sequences are short enough to share a row
EVAL_EVERY = 8  # every eighth topic
SEED = 12345  # the reference's random_seed


def prepare(benchmark: Benchmark, destination: Path) -> Path:
    """Make the rehearsal data of a benchmark and return where it lies.

    Does nothing where it is there already; a half set is never seen under the final name. Raises
    ConfigError when the destination holds anything else, HostError when a package is missing.
    """
    if _is_current(benchmark, destination):
        return destination
    partial = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        build = _digits if benchmark is Benchmark.RESNET else _prose
        dataset.write(partial, build(partial))
        _publish(benchmark, partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return destination


def _is_current(benchmark: Benchmark, destination: Path) -> bool:
    if not destination.exists() or not any(destination.iterdir()):
        return False
    manifest, _ = dataset.read(destination)
    if not manifest.rehearsal or "recipe" not in manifest.source:
        raise ConfigError(
            f"{destination}: holds data that is not a rehearsal's; name another directory."
        )
    wanted = {"recipe": RECIPE, "python": sys.version.split()[0]}
    current = manifest.benchmark is benchmark and wanted.items() <= manifest.source.items()
    return current and not dataset.quick(destination, manifest)


def _publish(benchmark: Benchmark, partial: Path, destination: Path) -> None:
    if _is_current(benchmark, destination):
        return  # another process was faster, and may be reading it
    if destination.exists():
        shutil.rmtree(destination)  # _is_current: an older rehearsal's, or empty
    try:
        partial.rename(destination)
    except OSError:  # another process was faster
        if not _is_current(benchmark, destination):
            raise


def _source(name: str) -> dict[str, Any]:
    return {"input": name, "recipe": RECIPE, "python": sys.version.split()[0]}


def _digits(root: Path) -> Manifest:
    splits = {name: ContentDigest() for name in ("train", "validation")}
    files: dict[str, list[DataFile]] = {name: [] for name in splits}
    for split, label, name, jpeg in _scans():
        path = root / split / f"digit-{label}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        splits[split].add(*shards.content(label, jpeg))
        files[split].append(dataset.describe(root, path, samples=1))
    return Manifest(
        benchmark=Benchmark.RESNET,
        form=Form.CLASS_FOLDERS,
        rehearsal=True,
        source=_source("scikit-learn digits"),
        splits=tuple(
            Split(
                name=name, samples=len(files[name]), content=digest.hex(), files=tuple(files[name])
            )
            for name, digest in splits.items()
        ),
        statistics={"classes": 10, "image_size": IMAGE_SIZE},
    )


def _scans() -> Iterator[tuple[str, int, str, bytes]]:
    """Yield split, label, file name and JPEG bytes; the split is stratified and fixed."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - only rehearsals need it

        from launcher.prepare.jpeg import encode  # noqa: PLC0415 - needs Pillow
    except ImportError as error:
        raise _missing("ResNet", error) from error
    digits = load_digits()
    seen = [0] * 10
    for index, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "train" if seen[label] % VALIDATION_EVERY else "validation"
        seen[label] += 1
        pixels = bytes(min(255, round(float(value) * 16)) for value in scan.ravel())
        jpeg = encode(pixels, side=scan.shape[0], to_side=IMAGE_SIZE, quality=JPEG_QUALITY)
        yield split, int(label), f"scan_{index:04d}.JPEG", jpeg


def _prose(root: Path) -> Manifest:
    try:
        from launcher.prepare import rows  # noqa: PLC0415 - needs numpy
    except ImportError as error:
        raise _missing("BERT", error) from error
    pieces, documents = _topics()
    (root / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    splits, rules = [], _rules()
    for name in ("train", "eval"):
        instances = prose.instances(documents[name], rules, SEED)
        sequences = rows.from_instances(instances, SEQUENCE_LENGTH)
        path, content = rows.write(root / name, 0, sequences, SEED)
        file = dataset.describe(root, path, samples=len(instances))
        splits.append(Split(name=name, samples=len(instances), content=content, files=(file,)))
    return Manifest(
        benchmark=Benchmark.BERT,
        form=Form.ROWS,
        rehearsal=True,
        source=_source("pydoc_data.topics"),
        splits=tuple(splits),
        files=(dataset.describe(root, root / "vocab.txt"),),
        statistics={"sequence_length": SEQUENCE_LENGTH, "vocabulary_size": VOCABULARY_SIZE},
    )


def _rules() -> prose.Rules:
    return prose.Rules(
        sequence_length=SEQUENCE_LENGTH,
        max_predictions=round(SEQUENCE_LENGTH * prose.MASKED_SHARE),
        vocabulary_size=VOCABULARY_SIZE,
        duplicates=DUPLICATES,
        short_share=SHORT_SHARE,
    )


def _topics() -> tuple[list[str], dict[str, list[prose.Document]]]:
    """Return the vocabulary, and the documents of each split as token ids."""
    texts = [text for _, text in sorted(topics.items())]
    pieces = prose.vocabulary(texts, VOCABULARY_SIZE)
    cut = prose.WordPieces(pieces)
    documents: dict[str, list[prose.Document]] = {"train": [], "eval": []}
    for number, text in enumerate(texts):
        split = "train" if number % EVAL_EVERY else "eval"
        documents[split].append([ids for ids in map(cut, prose.sentences(text)) if ids])
    return pieces, {name: [one for one in made if one] for name, made in documents.items()}


def _missing(benchmark: str, error: ImportError) -> HostError:
    return HostError(
        f"the {benchmark} rehearsal data needs {error.name}, which is not installed; "
        "run `pip install '.[rehearsal]'` in the checkout."
    )
