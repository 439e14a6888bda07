"""The reference at its pin, as it is and with our patches, once per test run."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from launcher.core.benchmark import Benchmark
from launcher.paths import PATCHES

PIN = "10786e3c3b844c1138d6a702fc6c8ba1d376c7bb"  # tag v4.0 of mlcommons/training


def git(*arguments, cwd):
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True).stdout


def unpack(reference: Path, benchmark: Benchmark, into: Path) -> Path:
    archive = git("archive", PIN, benchmark.facts.reference_subtree, cwd=reference)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        members.extractall(into, filter="data")
    git("init", "--quiet", cwd=into)
    return into


def series(benchmark: Benchmark) -> list[Path]:
    folder = PATCHES / benchmark.value
    return [folder / name for name in (folder / "series").read_text().split()]


@pytest.fixture(scope="session")
def original(reference, tmp_path_factory):
    """Return a function from a benchmark to its untouched reference tree."""
    trees: dict[Benchmark, Path] = {}

    def tree(benchmark: Benchmark) -> Path:
        if benchmark not in trees:
            trees[benchmark] = unpack(
                reference, benchmark, tmp_path_factory.mktemp(f"original-{benchmark.value}")
            )
        return trees[benchmark]

    return tree


@pytest.fixture(scope="session")
def patched(reference, tmp_path_factory):
    """Return a function from a benchmark to its patched reference tree."""
    trees: dict[Benchmark, Path] = {}

    def tree(benchmark: Benchmark) -> Path:
        if benchmark not in trees:
            place = unpack(
                reference, benchmark, tmp_path_factory.mktemp(f"patched-{benchmark.value}")
            )
            for patch in series(benchmark):
                git("apply", "--whitespace=nowarn", str(patch), cwd=place)
            trees[benchmark] = place
        return trees[benchmark]

    return tree
