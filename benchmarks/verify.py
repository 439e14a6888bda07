"""Time `launcher verify` on a full response: 15 runs, source, patches, workbook.

    python benchmarks/verify.py --template Benchmark_Results.xlsx [--reference CLONE] [--rounds 3]

Builds a response from made-up full-size-key logs (tests/recorded.py), then verifies the packed file
as an evaluator would, in a fresh process each time. Prints wall and CPU seconds; the aim is below
10 s on 2 cores.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher import answer, check, filetree, package, patchqueue, response
from launcher.core.benchmark import Benchmark
from launcher.report import page
from launcher.report.form import Format
from tests import recorded


def build(template: Path, reference: str | None, folder: Path) -> Path:
    """Write a response to a file; the checkers are left out, they are not what is timed."""
    results = folder / "results" / "node"
    for benchmark in Benchmark:
        tree = filetree.tree_id(patchqueue.overlay(benchmark))
        if reference is not None:
            tree = patchqueue.materialise(benchmark, folder / benchmark.value, place=reference)
        source = {"tree": tree, "patches_sha256": patchqueue.digest(benchmark).sha256}
        recorded.write(results / benchmark.value, benchmark, source=source)
    found = answer.load([results], check.check)
    order = response.Order(template=template.read_bytes(), reference=reference, draft=False)
    root, out = folder / "response", folder / "response.tar.zst"
    assert found.system is not None
    response.stage(found, found.system, order, root, report=lambda a: page.render(a, Format.HTML))
    response.pack(root, out)
    print(f"{sum(1 for _ in package.files(root))} files, {out.stat().st_size / 1e6:.1f} MB packed")
    return out


def main() -> None:
    """Build once, verify several times."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--template", type=Path, required=True)
    options.add_argument("--reference")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packed = build(chosen.template, chosen.reference, Path(scratch))
        command = [sys.executable, "-m", "launcher", "verify", str(packed)]
        command += ["--reference", chosen.reference] if chosen.reference else []
        walls, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(chosen.rounds):
            begun = time.perf_counter()
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            walls.append(time.perf_counter() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / chosen.rounds
        print("\n".join(done.stdout.splitlines()[-4:]))
        print(f"verify: {statistics.median(walls):.1f} s wall (median), {cpu:.1f} s CPU")


if __name__ == "__main__":
    main()
