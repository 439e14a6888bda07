"""`dataset.json` <-> Manifest, and the quick look that a run takes before it starts.

The manifest names every file of a prepared data set with size and sha256, the number of samples of
each split and a digest of their content that does not depend on their order. It carries no clock,
so preparing the same input twice gives the same bytes; a seal over its own text makes a changed
byte in it visible. The quick look opens no data file: `launcher.prepare.inspection` reads them all.
"""

import dataclasses
import enum
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.core import strictjson
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding, Severity, valid
from launcher.errors import ConfigError
from launcher.filetree import sha256

NAME = "dataset.json"
SCHEMA = 1


class Form(enum.Enum):
    """How samples lie on disk (docs/architecture.md, "Data forms")."""

    CLASS_FOLDERS = "class-folders"
    SHARDS = "shards"
    ROWS = "packed-rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One file, by its path relative to the data directory."""

    path: str
    bytes: int
    sha256: str
    samples: int = 0  # 0 for an index, a vocabulary ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split: how many samples, what they are and where they lie."""

    name: str
    samples: int
    content: str  # see ContentDigest
    files: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that `dataset.json` says, without its seal and its last verification."""

    benchmark: Benchmark
    form: Form
    rehearsal: bool
    source: Mapping[str, Any]  # what it was made from and what was checked on the way
    splits: tuple[Split, ...]
    files: tuple[DataFile, ...] = ()  # beside the splits
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def every_file(self) -> tuple[DataFile, ...]:
        """All files, in the order of the manifest."""
        return (*self.files, *(file for split in self.splits for file in split.files))


class ContentDigest:
    """A digest of a multiset of samples: the sum of their sha256, modulo 2**256.

    Order and grouping into files do not change it; a lost, doubled or altered sample does. Partial
    sums of disjoint parts add up to the digest of the whole.
    """

    def __init__(self, start: str = "0") -> None:
        self._sum = int(start, 16)

    def add(self, *content: bytes) -> None:
        """Add one sample, given as the pieces of its canonical bytes."""
        digest = hashlib.sha256(b"".join(content)).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % (1 << 256)

    def merge(self, other: str) -> None:
        """Add a partial sum."""
        self._sum = (self._sum + int(other, 16)) % (1 << 256)

    def hex(self) -> str:
        """Return the digest as 64 hexadecimal digits."""
        return f"{self._sum:064x}"


def describe(root: Path, path: Path, samples: int = 0) -> DataFile:
    """Describe one file as the manifest does. Reads it whole."""
    return DataFile(
        path=path.relative_to(root).as_posix(),
        bytes=path.stat().st_size,
        sha256=sha256(path),
        samples=samples,
    )


def dumps(manifest: Manifest, verification: Mapping[str, Any] | None = None) -> str:
    """Return the sealed text of `dataset.json`; the only text that `loads` takes back."""
    body = dataclasses.asdict(manifest)
    body["benchmark"], body["form"] = manifest.benchmark.value, manifest.form.value
    body["schema"] = SCHEMA
    sealed = {"manifest": body, "sha256": _seal(body)}
    if verification is not None:
        checked = {**verification, "manifest_sha256": sealed["sha256"]}
        sealed |= {"verification": checked, "verification_sha256": _seal(checked)}
    return json.dumps(sealed, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _seal(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def loads(text: str) -> tuple[Manifest, Mapping[str, Any] | None]:
    """Return manifest and last verification. Raises ValueError when the text is not as sealed."""
    sealed = strictjson.loads(text)
    if not isinstance(sealed, dict) or "manifest" not in sealed:
        raise ValueError("it is not a data manifest")
    body = sealed["manifest"]
    if not isinstance(body, dict) or body.pop("schema", None) != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    try:
        manifest = _manifest(body)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks or adds a key ({error})") from error
    verification = sealed.get("verification")
    if dumps(manifest, verification) != text:
        raise ValueError("its text is not what was sealed: a byte of it was changed")
    return manifest, verification


def _manifest(body: Mapping[str, Any]) -> Manifest:
    splits = [Split(**{**split, "files": _files(split["files"])}) for split in body["splits"]]
    converted = {
        "benchmark": Benchmark(body["benchmark"]),
        "form": Form(body["form"]),
        "splits": tuple(splits),
        "files": _files(body["files"]),
    }
    return Manifest(**{**body, **converted})


def _files(entries: Iterable[Mapping[str, Any]]) -> tuple[DataFile, ...]:
    return tuple(DataFile(**entry) for entry in entries)


def write(root: Path, manifest: Manifest, verification: Mapping[str, Any] | None = None) -> None:
    """Write `dataset.json` atomically: what makes a data set complete."""
    partial = root / f".{NAME}.partial"
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(dumps(manifest, verification))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(root / NAME)


def read(root: Path) -> tuple[Manifest, Mapping[str, Any] | None]:
    """Read `dataset.json` of a data directory. Raises ConfigError with the remedy."""
    path = root / NAME
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no data manifest; run `launcher prepare` into {root} first."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); prepare the data again.") from error
    try:
        return loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; prepare the data again.") from error


def quick(root: Path, manifest: Manifest) -> list[Finding]:
    """Compare presence and size of every file with the manifest; seconds, no data file opened."""
    findings = []
    expected = {file.path: file.bytes for file in manifest.every_file}
    found = dict(_sizes(root))
    for path, size in expected.items():
        if path not in found:
            findings.append(_finding(root / path, "is missing; prepare the data again"))
        elif found[path] != size:
            text = f"has {found[path]:,} bytes, the manifest says {size:,}; prepare it again"
            findings.append(_finding(root / path, text))
    read = {split.name for split in manifest.splits}
    for path in sorted(found.keys() - expected.keys()):
        if path.partition("/")[0] in read:
            text = "is not in the manifest; a run would read it, remove it"
            findings.append(_finding(root / path, text))
    return findings + _counts(root, manifest)


def _sizes(root: Path) -> Iterable[tuple[str, int]]:
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative != NAME and not name.startswith("."):
                yield relative, path.stat().st_size


def _counts(root: Path, manifest: Manifest) -> list[Finding]:
    findings = []
    for split in manifest.splits:
        counted = sum(file.samples for file in split.files)
        expected = _expected(manifest, split.name)
        if counted != split.samples or (expected is not None and counted != expected):
            text = (
                f"{split.name} has {counted:,} samples where {expected or split.samples:,} belong"
            )
            findings.append(_finding(root / NAME, f"{text}; prepare it from the complete source"))
    return findings


def _expected(manifest: Manifest, split: str) -> int | None:
    if manifest.rehearsal:
        return None
    facts = manifest.benchmark.facts
    return facts.train_samples if split == "train" else facts.eval_samples


def _finding(where: Path, message: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule="data.manifest", where=str(where), message=message, severity=severity)


def attest(root: Path, benchmark: Benchmark, *, rehearsal: bool) -> Mapping[str, Any]:
    """Return what a plan keeps of the data set; the runner calls this before run 0.

    Raises ConfigError when there is no manifest, when it is of another benchmark or of a rehearsal
    where a real run is asked (or the reverse), or when the files do not match it.
    """
    manifest, verification = read(root)
    if manifest.benchmark is not benchmark:
        raise ConfigError(
            f"{root / NAME}: benchmark is {manifest.benchmark.value}, the run needs "
            f"{benchmark.value}; give the other data directory."
        )
    if manifest.rehearsal is not rehearsal:
        kind, wanted = ("rehearsal", "real") if manifest.rehearsal else ("real", "rehearsal")
        raise ConfigError(
            f"{root / NAME}: this is {kind} data and the run is a {wanted} one; "
            f"give {wanted} data or change --rehearsal."
        )
    if verification is not None and not verification["valid"]:
        raise ConfigError(
            f"{root / NAME}: the last verification failed ({verification['findings'][0]}); mend "
            "that and run `launcher data verify` again."
        )
    findings = quick(root, manifest)
    if not valid(findings):
        more = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ConfigError(f"{findings[0].where}: {findings[0].message}{more}.")
    return attestation(manifest, verification)


def attestation(manifest: Manifest, verification: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the manifest in short, with the last verification that was written into it."""
    sealed = json.loads(dumps(manifest, verification))
    return {
        "manifest_sha256": sealed["sha256"],
        "form": manifest.form.value,
        "rehearsal": manifest.rehearsal,
        "source": dict(manifest.source),
        "files": len(manifest.every_file),
        "bytes": sum(file.bytes for file in manifest.every_file),
        "splits": {
            split.name: {"samples": split.samples, "content": split.content}
            for split in manifest.splits
        },
        "verification": sealed.get("verification"),
    }
