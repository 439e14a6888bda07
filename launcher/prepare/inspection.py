"""A prepared data set -> findings, by reading it: a sample in seconds, or every byte.

The quick look compares presence and sizes with the manifest and decodes a few samples of every
split. The full one also reads every file against its sha256 and recomputes the content digests
from the samples themselves. It changes nothing.
"""

import datetime as dt
import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher import __version__, dataset
from launcher.core.findings import Finding, valid
from launcher.dataset import ContentDigest, DataFile, Form, Manifest, Split
from launcher.prepare import jpeg, rows, shards, work
from launcher.prepare.progress import Report, silent

SAMPLED_FILES = 4  # of a split, by the quick look
SAMPLED = 64  # samples of each of them
DATA = {Form.CLASS_FOLDERS: "", Form.SHARDS: ".tar", Form.ROWS: ".npy"}
Contents = tuple[list[Finding], str]  # findings of one file, partial sum of its content


def quick(root: Path, manifest: Manifest) -> list[Finding]:
    """Compare files with the manifest and decode a few samples: seconds."""
    findings = dataset.quick(root, manifest)
    if not valid(findings):
        return findings
    for split in manifest.splits:
        files = _data_files(manifest, split)
        chosen = random.sample(files, min(len(files), SAMPLED_FILES))
        for file in chosen:
            findings += _read(root, manifest, split, file, limit=SAMPLED)[0]
    return findings


def full(
    root: Path, manifest: Manifest, *, workers: int = 1, report: Report = silent
) -> list[Finding]:
    """Read everything: each file against its sha256, each sample, each split's content digest."""
    findings = dataset.quick(root, manifest)
    there = [file for file in manifest.every_file if (root / file.path).is_file()]
    units = [work.Unit(name=file.path, bytes=file.bytes, arguments=file) for file in there]
    splits = {file.path: split for split in manifest.splits for file in split.files}
    digests = {split.name: ContentDigest() for split in manifest.splits}
    check = functools.partial(_check, root, manifest)
    for file, (found, content) in work.each("verify", units, check, workers, report):
        findings += found
        if (split := splits.get(file.name)) is not None:
            digests[split.name].merge(content)
    return findings + _digests(root, manifest, digests, findings)


def _digests(
    root: Path,
    manifest: Manifest,
    digests: Mapping[str, ContentDigest],
    earlier: Sequence[Finding],
) -> list[Finding]:
    if earlier:  # the files that were found altered say it better
        return []
    return [
        _finding(root / dataset.NAME, f"the samples of {split.name} are not those of the manifest")
        for split in manifest.splits
        if digests[split.name].hex() != split.content
    ]


def _check(root: Path, manifest: Manifest, unit: work.Unit) -> Contents:
    file: DataFile = unit.arguments
    if dataset.digest_file(root / file.path) != file.sha256:
        finding = _finding(root / file.path, "its bytes are not those of the manifest")
        return [finding], "0"
    split = next((split for split in manifest.splits if file in split.files), None)
    if split is None or not file.path.endswith(DATA[manifest.form]):
        return [], "0"
    return _read(root, manifest, split, file)


def _read(
    root: Path, manifest: Manifest, split: Split, file: DataFile, limit: int | None = None
) -> Contents:
    reader = READERS[manifest.form]
    digest = ContentDigest()
    try:
        count = reader(root, split, file, digest, limit)
    except (ValueError, OSError) as error:
        return [_finding(root / file.path, f"does not decode ({error})")], "0"
    if limit is None and count != file.samples:
        text = f"has {count:,} samples, the manifest says {file.samples:,}"
        return [_finding(root / file.path, text)], "0"
    return [], digest.hex()


def _data_files(manifest: Manifest, split: Split) -> list[DataFile]:
    return [file for file in split.files if file.path.endswith(DATA[manifest.form])]


def _class_folder(
    root: Path, split: Split, file: DataFile, digest: ContentDigest, _limit: int | None
) -> int:
    classes = sorted({Path(each.path).parent.name for each in split.files})
    image = (root / file.path).read_bytes()
    jpeg.decode(image)
    digest.add(*shards.content(classes.index(Path(file.path).parent.name), image))
    return 1


def _shard(
    root: Path, _split: Split, file: DataFile, digest: ContentDigest, limit: int | None
) -> int:
    count = 0
    for sample in itertools.islice(shards.read(root / file.path), limit):
        jpeg.read_header(sample.image)
        if limit is not None:
            jpeg.decode(sample.image)
        digest.add(*sample.content)
        count += 1
    return count


def _rows(
    root: Path, _split: Split, file: DataFile, digest: ContentDigest, limit: int | None
) -> int:
    count = 0
    for group in _row_groups(root / file.path, limit):
        rows.packing().check_rows(group, vocab_size=1 << 16, where=file.path)
        sequences = rows.packing().unpack(group)
        rows.add_content(digest, sequences)
        count += len(sequences)
    return count


def _row_groups(path: Path, limit: int | None) -> Iterator[rows.Records]:
    stored = rows.open_rows(path)
    for start in range(0, min(len(stored), limit or len(stored)), rows.GROUP):
        yield stored[start : start + min(rows.GROUP, limit or rows.GROUP)]


Reader = Callable[[Path, Split, DataFile, ContentDigest, int | None], int]
READERS: Mapping[Form, Reader] = {
    Form.CLASS_FOLDERS: _class_folder,
    Form.SHARDS: _shard,
    Form.ROWS: _rows,
}


def _finding(where: Path, message: str) -> Finding:
    text = f"{message}; copy or prepare it again"
    return Finding(rule="data.content", where=str(where), message=text)


def outcome(findings: Sequence[Finding], level: str) -> Mapping[str, Any]:
    """Return what a look found, for `dataset.write` to seal into `dataset.json`."""
    return {
        "level": level,
        "valid": valid(list(findings)),
        "findings": [f"{finding.where}: {finding.message}" for finding in findings],
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "launcher_version": __version__,
    }
