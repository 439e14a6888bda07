"""A prepared data set -> findings, by reading it: a sample in seconds, or every byte.

The quick look compares presence and sizes with the manifest and decodes a few samples of every
split. The full one also reads every file against its sha256 and recomputes the content digests
from the samples themselves. It changes nothing.
"""

import datetime as dt
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import __version__, dataset, filetree
from launcher.core.findings import Finding, valid
from launcher.dataset import ContentDigest, DataFile, Form, Manifest
from launcher.prepare import jpeg, rows, shards, work
from launcher.prepare.progress import Report, silent

SAMPLED_FILES = 4  # of a split, by the quick look
SAMPLED = 64  # samples of each of them
DATA = {Form.CLASS_FOLDERS: "", Form.SHARDS: ".tar", Form.ROWS: ".npy"}
Contents = tuple[list[Finding], str]  # findings of one file, partial sum of its content


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One file to look at, with what its reader needs to know."""

    root: Path
    form: Form
    file: DataFile
    split: str | None  # None: it holds no samples
    label: int = 0  # of the only sample of a class folder's file

    @property
    def path(self) -> Path:
        """Return where the file lies."""
        return self.root / self.file.path


def _looks(root: Path, manifest: Manifest) -> list[Look]:
    looks = [Look(root=root, form=manifest.form, file=file, split=None) for file in manifest.files]
    for split in manifest.splits:
        folders = sorted({Path(file.path).parent.name for file in split.files})
        labels = {folder: label for label, folder in enumerate(folders)}
        for file in split.files:
            data = file.path.endswith(DATA[manifest.form])
            look = Look(
                root=root,
                form=manifest.form,
                file=file,
                split=split.name if data else None,
                label=labels[Path(file.path).parent.name],
            )
            looks.append(look)
    return looks


def quick(root: Path, manifest: Manifest) -> list[Finding]:
    """Compare files with the manifest and decode a few samples: seconds."""
    findings = dataset.quick(root, manifest)
    if not valid(findings):
        return findings
    for split in manifest.splits:
        looks = [look for look in _looks(root, manifest) if look.split == split.name]
        for look in random.sample(looks, min(len(looks), SAMPLED_FILES)):
            findings += _read(look, limit=SAMPLED)[0]
    return findings


def full(
    root: Path, manifest: Manifest, *, workers: int = 1, report: Report = silent
) -> list[Finding]:
    """Read everything: each file against its sha256, each sample, each split's content digest."""
    findings = dataset.quick(root, manifest)
    units = [
        work.Unit(name=look.file.path, bytes=look.file.bytes, arguments=look)
        for look in _looks(root, manifest)
        if look.path.is_file()
    ]
    digests = {split.name: ContentDigest() for split in manifest.splits}
    for unit, (found, content) in work.each("verify", units, _check, workers, report):
        findings += found
        if unit.arguments.split is not None:
            digests[unit.arguments.split].merge(content)
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


def _check(unit: work.Unit) -> Contents:
    look: Look = unit.arguments
    if filetree.sha256(look.path) != look.file.sha256:
        return [_finding(look.path, "its bytes are not those of the manifest")], "0"
    return ([], "0") if look.split is None else _read(look)


def _read(look: Look, limit: int | None = None) -> Contents:
    digest = ContentDigest()
    try:
        count = READERS[look.form](look, digest, limit)
    except (ValueError, OSError) as error:
        return [_finding(look.path, f"does not decode ({error})")], "0"
    if limit is None and count != look.file.samples:
        text = f"has {count:,} samples, the manifest says {look.file.samples:,}"
        return [_finding(look.path, text)], "0"
    return [], digest.hex()


def _class_folder(look: Look, digest: ContentDigest, _limit: int | None) -> int:
    image = look.path.read_bytes()
    jpeg.decode(image)
    digest.add(*shards.content(look.label, image))
    return 1


def _shard(look: Look, digest: ContentDigest, limit: int | None) -> int:
    count = 0
    for sample in itertools.islice(shards.read(look.path), limit):
        jpeg.read_header(sample.image)
        if limit is not None:
            jpeg.decode(sample.image)
        digest.add(*sample.content)
        count += 1
    return count


def _rows(look: Look, digest: ContentDigest, limit: int | None) -> int:
    count = 0
    stored = rows.open_rows(look.path)[:limit]
    for start in range(0, len(stored), rows.GROUP):
        group = stored[start : start + rows.GROUP]
        rows.packing().check_rows(group, vocab_size=1 << 16, where=look.file.path)
        sequences = rows.packing().unpack(group)
        rows.add_content(digest, sequences)
        count += len(sequences)
    return count


Reader = Callable[[Look, ContentDigest, int | None], int]
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
