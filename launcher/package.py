"""What lies where in a response, and the manifest that covers it.

Folder to paths and hashes. The builder and the verifier both take the layout from here. It never
writes anything.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.core.benchmark import Benchmark
from launcher.filetree import sha256

MANIFEST = "MANIFEST.sha256"
MLPERF = "mlperf"  # holds <SUBMITTER>/, a tree as MLPerf's package checker wants it
PATCHES = "patches"  # a copy of this project's patches/
LEDGER = "ledger"  # <benchmark>/ is a whole run set: plan, ledger, every run and attempt
SOLUTION = "solution"  # the RFP's "solution files"
SCORES = f"{SOLUTION}/scores.json"
CHECK = f"{SOLUTION}/check.json"
RCPS = f"{SOLUTION}/custom-rcps.json"  # the proponent's own convergence points, if any
REDACTION = f"{SOLUTION}/redaction.json"
WORKBOOK = "Benchmark_Results.xlsx"
REPORT = "report.html"
DRAFT = "DRAFT-NOT-A-RESPONSE.txt"  # there only in a draft
SOURCE = "source"  # below implementations/<name>/: the source tree, nothing else
IMPLEMENTATION = "pytorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of one unpacked response are. A stranger's tree has fewer."""

    root: Path

    @property
    def ours(self) -> bool:
        """Say whether this launcher built it, going by what it brings along."""
        return (self.root / MANIFEST).is_file() and (self.root / MLPERF).is_dir()

    def run_set(self, benchmark: Benchmark) -> Path:
        """Return the folder of a benchmark's whole run set."""
        return self.root / LEDGER / benchmark.value

    def results(self, benchmark: Benchmark) -> list[Path]:
        """List MLPerf's result folders of a benchmark: one in a sound response."""
        return sorted((self.root / MLPERF).glob(f"*/results/*/{benchmark.value}"))

    def source(self, benchmark: Benchmark) -> list[Path]:
        """List the source trees of a benchmark: one in a sound response."""
        pattern = f"*/benchmarks/{benchmark.value}/implementations/*/{SOURCE}"
        return sorted((self.root / MLPERF).glob(pattern))


def locate(root: Path) -> Layout:
    """Find the response in an unpacked archive that may wrap it in a folder of its own."""
    if (root / MANIFEST).is_file():
        return Layout(root=root)
    below = [path for path in root.iterdir() if path.is_dir()]
    if len(below) == 1 and (below[0] / MANIFEST).is_file():
        return Layout(root=below[0])
    return Layout(root=root)


def files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file below a folder with its name in the package, in the manifest's order."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    yield from sorted((path.relative_to(root).as_posix(), path) for path in found)


def manifest(root: Path) -> str:
    """Write down every file but the manifest itself, as `sha256sum` does."""
    return "".join(f"{sha256(path)}  {name}\n" for name, path in files(root) if name != MANIFEST)


def read_manifest(text: str) -> dict[str, str]:
    """Return name -> sha256. Lines that `sha256sum` would not write are left out."""
    stated = {}
    for line in text.split("\n"):  # a name may hold what else Python takes for a line's end
        digest, blank, name = line.partition("  ")
        if blank and len(digest) == len(hashlib.sha256().hexdigest()):
            stated[name] = digest
    return stated
