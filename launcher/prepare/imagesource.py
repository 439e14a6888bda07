"""ILSVRC2012 as users have it -> where each image's bytes lie: tars, folders or TFRecord files.

Every form ends in the same list of Entry, so whatever a user has gives the same shards. It reads
archive headers, folder listings and (TFRecords) whole records with their checksums; it never
changes or decodes an image.
"""

import contextlib
import functools
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from launcher.errors import ConfigError
from launcher.prepare import tfrecord
from launcher.prepare.synsets import validation_synsets
from launcher.prepare.work import Unit

TRAIN_TAR, VALIDATION_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
# As image-net.org lists them; torchvision's datasets/imagenet.py carries the same.
PUBLISHED_MD5 = {
    TRAIN_TAR: "1d675b47d978889d74fa0da5fadfb00e",
    VALIDATION_TAR: "29b22e2961454d5413ddabcf34fc5622",
}
VALIDATION_NAMES = ("validation", "val")
IMAGES = {".jpeg", ".jpg", ".png"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: what it is called, what it shows and where its bytes lie."""

    split: str
    key: str
    synset: str
    path: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        """Say where the image came from, for a reader."""
        return f"{self.path}: {self.key}" if self.offset else self.path

    def read(self) -> bytes:
        """Return the image's bytes."""
        with Path(self.path).open("rb", buffering=0) as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A recognised source: its form, its big files and how to list its images."""

    form: str  # "tars", "folders" or "records"
    files: tuple[Path, ...]  # archives and record files; empty for folders
    listings: tuple[Unit, ...]  # for `list_images`


def list_images(listing: Unit) -> list[Entry]:
    """List the images of one file or folder of a source."""
    entries: Callable[[], Iterator[Entry]] = listing.arguments
    return list(entries())


def find(source: Path, labels: Path | None = None) -> Source:
    """Recognise what lies in a folder. Raises ConfigError naming what is looked for."""
    records = [
        path
        for split in ("train", "validation")
        for pattern in (f"{split}-?????-of-?????", f"{split}/{split}-?????-of-?????")
        for path in sorted(source.glob(pattern))
    ]
    if records:
        readers = [functools.partial(_record_file, path) for path in records]
        return _source("records", records, readers)
    train, val = source / TRAIN_TAR, source / VALIDATION_TAR
    if train.is_file() and val.is_file():
        validation = functools.partial(_validation_tar, val, source, labels)
        return _source("tars", [train, val], [functools.partial(_train_tar, train), validation])
    folder = next((source / name for name in VALIDATION_NAMES if (source / name).is_dir()), None)
    if (source / "train").is_dir() and folder:
        training = functools.partial(_class_folders, source / "train", "train")
        validation = functools.partial(_validation_folder, folder, source, labels)
        return _source("folders", [], [training, validation])
    raise ConfigError(
        f"{source}: holds neither {TRAIN_TAR} with {VALIDATION_TAR}, nor the folders train/ and "
        "validation/, nor train-00000-of-01024 ...; point --source at one of these (docs/data.md)."
    )


def _source(
    form: str, files: Sequence[Path], readers: Sequence[Callable[[], Iterator[Entry]]]
) -> Source:
    read_whole = form == "records"
    listings = [
        Unit(
            name=f"list {number}",
            bytes=files[number].stat().st_size if read_whole else 0,
            arguments=reader,
        )
        for number, reader in enumerate(readers)
    ]
    return Source(form=form, files=tuple(files), listings=tuple(listings))


def _validation_folder(folder: Path, source: Path, labels: Path | None) -> Iterator[Entry]:
    if any(path.is_dir() for path in folder.iterdir()):
        yield from _class_folders(folder, "validation")
        return
    paths = _images(folder)
    synsets = validation_synsets(source, labels, [path.stem for path in paths])
    for path, synset in zip(paths, synsets, strict=True):
        yield _file_entry(path, "validation", synset)


def _class_folders(root: Path, split: str) -> Iterator[Entry]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in _images(folder):
            yield _file_entry(path, split, folder.name)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)


def _file_entry(path: Path, split: str, synset: str) -> Entry:
    return Entry(split, path.stem, synset, str(path.absolute()), 0, path.stat().st_size)


def _train_tar(path: Path) -> Iterator[Entry]:
    """List a tar of one tar per class; an image's bytes lie plainly inside the outer file."""
    with _archive_errors(path), tarfile.open(path, "r:") as outer:
        for inner in outer:
            synset = Path(inner.name).stem
            with cast("BinaryIO", outer.extractfile(inner)) as content:
                for key, offset, size in _members(path, content):
                    start = inner.offset_data + offset
                    yield Entry("train", key, synset, str(path.absolute()), start, size)


def _validation_tar(path: Path, source: Path, labels: Path | None) -> Iterator[Entry]:
    with _archive_errors(path):
        found = sorted(_members(path))
    synsets = validation_synsets(source, labels, [key for key, _, _ in found])
    for (key, offset, size), synset in zip(found, synsets, strict=True):
        yield Entry("validation", key, synset, str(path.absolute()), offset, size)


@contextlib.contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path}: {error}; download it again.") from error


def _members(path: Path, content: BinaryIO | None = None) -> Iterator[tuple[str, int, int]]:
    with tarfile.open(path, "r:", fileobj=content) as archive:
        for member in archive:
            if member.isfile() and Path(member.name).suffix.lower() in IMAGES:
                yield Path(member.name).stem, member.offset_data, member.size


def _record_file(path: Path) -> Iterator[Entry]:
    try:
        for record in tfrecord.read(path):
            yield _record_entry(path, record)
    except tfrecord.RecordError as error:
        raise ConfigError(f"{error}; download or make this file again.") from error


def _record_entry(path: Path, record: tfrecord.Record) -> Entry:
    found = tfrecord.features(record.payload)
    try:
        start, end = tfrecord.text(record.payload, found["image/encoded"])
        name, synset = (
            record.payload[slice(*tfrecord.text(record.payload, found[feature]))].decode()
            for feature in ("image/filename", "image/class/synset")
        )
    except KeyError as error:
        raise tfrecord.RecordError(f"{path}: a record has no feature {error}") from error
    split = path.name.partition("-")[0]
    key = Path(name).stem
    return Entry(split, key, synset, str(path.absolute()), record.offset + start, end - start)
