"""ImageNet as users have it -> shards with `dataset.json`. Repacked: no byte of an image changes.

Images are put into shards in one fixed random order, so that a reader may read whole shards from
front to back and still meets all classes, as the reference's own records do. Every image's header
is read; counts, classes and published checksums are checked. It never decodes for resizing.
"""

import functools
import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.dataset import Form, Manifest
from launcher.errors import ConfigError
from launcher.prepare import imagesource, jpeg, shards, work
from launcher.prepare.imagesource import Entry, Source
from launcher.prepare.work import Crew, Receipt, Unit

CLASSES = 1000
PER_CLASS = 50  # validation images
PER_SHARD = (
    1024  # about 113 MB: long sequential reads, and over 1,200 shards to spread over readers
)
SEED = 12345  # of the order, fixed so that every site has the same shards
SPLITS = ("train", "validation")
KILOBYTES, PIXELS = 10, 50  # bin widths of the histograms
OVERHEAD = 1.02  # tar headers, padding and index


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user gave."""

    source: Path
    crew: Crew
    labels: Path | None = None  # classes of the validation images
    rehearsal: bool = False  # take any number of images; no real run accepts the result
    per_shard: int = PER_SHARD


def prepare(options: Options) -> Manifest:
    """Make `train/` and `validation/` shards with `dataset.json`; continues what was begun.

    Raises ConfigError on a source that is incomplete, altered or of no known form, HostError when
    the machine lacks space.
    """
    source = imagesource.find(options.source, options.labels)
    root = options.crew.root
    with work.claimed(root, _identity(options, source)):
        checked = _check_downloads(options, source)
        listed = _listed(source, options.crew)
        labels = _labels(options, listed)
        size = sum(entry.size for entry in listed)
        work.require_space(root, int(size * OVERHEAD), "the packed data set")
        made = {
            split: work.run(
                f"pack {split}",
                _units(split, [entry for entry in listed if entry.split == split], options),
                functools.partial(pack, labels),
                options.crew,
            )
            for split in SPLITS
        }
        manifest = _manifest(options, source, made, checked)
        dataset.write(root, manifest)
    return manifest


def _identity(options: Options, source: Source) -> dict[str, Any]:
    return {
        "benchmark": "resnet",
        "form": source.form,
        "inputs": {path.name: path.stat().st_size for path in source.files},
        "per_shard": options.per_shard,
        "rehearsal": options.rehearsal,
    }


def _check_downloads(options: Options, source: Source) -> list[str]:
    if options.rehearsal:
        return []
    units = [
        Unit(name=f"md5/{path.name}", bytes=path.stat().st_size, arguments=(path, expected))
        for path in source.files
        if (expected := imagesource.PUBLISHED_MD5.get(path.name))
    ]
    work.run("check downloads", units, work.verify_download, options.crew)
    return [unit.name.removeprefix("md5/") for unit in units]


def _listed(source: Source, crew: Crew) -> list[Entry]:
    """List all images in the order of their names, whatever the form."""
    listings = work.each(
        "list images", source.listings, imagesource.list_images, crew.workers, crew.report
    )
    entries = [entry for _, found in listings for entry in found]
    entries.sort(key=lambda entry: (entry.split, entry.key))
    for one, other in itertools.pairwise(entries):
        if (one.split, one.key) == (other.split, other.key):
            raise ConfigError(f"{one.where} and {other.where} have one name; remove one of them.")
    for entry in entries:
        if "." in entry.key or len(entry.key) > shards.LONGEST_KEY or not entry.key.isascii():
            raise ConfigError(
                f"{entry.where}: a name with a dot, over {shards.LONGEST_KEY} characters or not "
                "ASCII cannot be packed; rename the file."
            )
    return entries


def _labels(options: Options, entries: Sequence[Entry]) -> dict[str, int]:
    """Return synset -> label; require the counts that the rules fix unless this is a rehearsal."""
    counts = Counter(entry.split for entry in entries)
    synsets = {split: {e.synset for e in entries if e.split == split} for split in SPLITS}
    facts = Benchmark.RESNET.facts
    expected = {"train": facts.train_samples, "validation": facts.eval_samples}
    for split in SPLITS:
        if not options.rehearsal and counts[split] != expected[split]:
            raise ConfigError(
                f"{options.source}: has {counts[split]:,} {split} images, {expected[split]:,} "
                "belong; complete the download."
            )
    if strange := sorted(synsets["validation"] - synsets["train"]):
        raise ConfigError(
            f"{options.source}: validation class {strange[0]} is not among the training classes; "
            "give the labels of this set."
        )
    if not options.rehearsal:
        _require_classes(options.source, entries)
    return {synset: label for label, synset in enumerate(sorted(synsets["train"]))}


def _require_classes(source: Path, entries: Sequence[Entry]) -> None:
    """Require 1,000 classes with equally many validation images: labels that fit their images."""
    train, validation = (
        Counter(entry.synset for entry in entries if entry.split == split) for split in SPLITS
    )
    if len(train) != CLASSES:
        raise ConfigError(
            f"{source}: has {len(train)} classes, {CLASSES} belong; complete the download."
        )
    for synset, number in sorted(validation.items()):
        if number != PER_CLASS:
            raise ConfigError(
                f"{source}: has {number} validation images of {synset}, {PER_CLASS} belong; "
                "give the labels of this set."
            )


def _units(split: str, entries: Sequence[Entry], options: Options) -> list[Unit]:
    order = list(entries)
    random.Random(SEED).shuffle(order)  # noqa: S311 - reproducible, nothing secret
    groups = [
        order[start : start + options.per_shard]
        for start in range(0, len(order), options.per_shard)
    ]
    return [
        Unit(
            name=f"{split}/{number:05d}",
            bytes=sum(entry.size for entry in group),
            arguments=(split, number, group),
        )
        for number, group in enumerate(groups)
    ]


def pack(labels: Mapping[str, int], unit: Unit, staging: Path) -> Receipt:
    """Write one shard and its index below the staging folder. Holds one shard in memory."""
    split, number, entries = unit.arguments
    digest, headers, samples = dataset.ContentDigest(), [], []
    for entry in entries:
        image = entry.read()
        headers.append(_header(entry, image))
        sample = shards.Sample(key=entry.key, label=labels[entry.synset], image=image)
        digest.add(*sample.content)
        samples.append(sample)
    path = staging / split / shards.SHARD.format(number)
    path.parent.mkdir()
    index = shards.write(path, samples)
    return Receipt(
        files=(
            dataset.describe(staging, path, samples=len(samples)),
            dataset.describe(staging, index),
        ),
        samples=len(samples),
        content=digest.hex(),
        statistics=_statistics(entries, headers),
    )


def _header(entry: Entry, image: bytes) -> jpeg.Header:
    try:
        return jpeg.read_header(image)
    except jpeg.ImageError as error:
        raise ConfigError(f"{entry.where}: {error}; replace the file.") from error


def _statistics(entries: Sequence[Entry], headers: Sequence[jpeg.Header]) -> dict[str, Any]:
    """Return histograms, keyed by the lower edge of their bins, and the odd images by name."""
    pairs = list(zip(entries, headers, strict=True))
    return {
        "kilobytes": _histogram([entry.size / 1000 for entry in entries], KILOBYTES),
        "short_side": _histogram([min(h.width, h.height) for h in headers], PIXELS),
        "oddities": {entry.key: header.oddity for entry, header in pairs if header.oddity},
    }


def _histogram(values: Sequence[float], width: int) -> dict[str, int]:
    return {str(edge): n for edge, n in Counter(int(v // width) * width for v in values).items()}


def _manifest(
    options: Options,
    source: Source,
    made: Mapping[str, Sequence[Receipt]],
    checked: Sequence[str],
) -> Manifest:
    return Manifest(
        benchmark=Benchmark.RESNET,
        form=Form.SHARDS,
        rehearsal=options.rehearsal,
        source={
            "input": f"ILSVRC2012 {source.form}",
            "checked": {"headers": "all", "md5": list(checked)},
        },
        splits=tuple(work.split(split, made[split]) for split in SPLITS),
        statistics={split: _summary(made[split]) for split in SPLITS},
    )


def _summary(receipts: Sequence[Receipt]) -> dict[str, Any]:
    summary: dict[str, Any] = {"oddities": {}}
    for name in ("kilobytes", "short_side"):
        total: Counter[str] = Counter()
        for receipt in receipts:
            total.update(receipt.statistics[name])
        summary[name] = dict(sorted(total.items(), key=lambda item: int(item[0])))
    for receipt in receipts:
        summary["oddities"] |= receipt.statistics["oddities"]
    return summary
