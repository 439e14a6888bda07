"""Our log parser beside mlperf-logging's, on the same published logs, in one process.

    python benchmarks/parser.py [--large-gib 2]

Both extract the same facts (status, time, last accuracy and its epoch, seed, batch size); they are
compared before anything is timed. Rounds alternate; the median of the ratios counts. --large-gib
writes a log of that size to the temporary folder and reads it in a child, whose peak memory it
prints.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlperf_logging.compliance_checker.mlp_parser import ruleset_400

from launcher import runset
from launcher.paths import ROOT

PUBLISHED = ROOT.parent / "shared/published-results"
ROUNDS = 7
Facts = tuple[object, ...]


def ours(path: Path) -> Facts:
    result, _ = runset.read_log(path)
    return (
        result.stop_ms - result.start_ms,
        result.status.value,
        result.accuracy,
        result.progress,
        result.seed,
        result.global_batch_size,
    )


def theirs(path: Path) -> Facts:
    lines, _ = ruleset_400.parse_file(str(path))
    facts = {}
    for line in lines:
        facts[line.key] = line
    last, stop = facts["eval_accuracy"].value, facts["run_stop"]
    return (
        stop.timestamp - facts["run_start"].timestamp,
        stop.value["metadata"]["status"],
        last["value"],
        last["metadata"]["epoch_num"],
        facts["seed"].value["value"],
        facts["global_batch_size"].value["value"],
    )


def seconds(read: Callable[[Path], Facts], logs: list[Path]) -> float:
    start = time.process_time()
    for log in logs:
        read(log)
    return time.process_time() - start


def compare(logs: list[Path]) -> None:
    for log in logs:
        assert ours(log) == theirs(log), log
    pairs = [(seconds(ours, logs), seconds(theirs, logs)) for _ in range(ROUNDS)]
    ratio = statistics.median(their / own for own, their in pairs)
    spread = [their / own for own, their in pairs]
    size = sum(log.stat().st_size for log in logs) / 1e6
    own = statistics.median(own for own, _ in pairs)
    print(f"{len(logs)} logs, {size:.1f} MB; the same facts from both parsers")
    print(f"ours {own:.4f} s, mlperf-logging {statistics.median(t for _, t in pairs):.4f} s CPU")
    print(f"ratio {ratio:.1f} (from {min(spread):.1f} to {max(spread):.1f} in {ROUNDS} rounds)")


def read_large(gib: float) -> None:
    """Make a log of framework chatter with a real log's records in it; read it in a child."""
    source = min(PUBLISHED.rglob("result_0.txt")).read_bytes()
    chatter = (
        b"NCCL INFO Channel 00/24 :    0   1   2   3   4   5   6   7 [send] via P2P/IPC\n" * 12_800
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result_0.txt"
        with path.open("wb") as target:
            records = source.splitlines(keepends=True)
            while target.tell() < gib * 2**30:
                target.write(chatter)
                target.write(records.pop(0) if len(records) > 1 else source[:2000])
            target.writelines(records)
        command = [sys.executable, __file__, "--read", str(path)]
        start = time.perf_counter()
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wall = time.perf_counter() - start
        size = path.stat().st_size
    small = subprocess.run(
        [sys.executable, __file__, "--read", str(min(PUBLISHED.rglob("result_0.txt")))],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    print(f"{size / 2**30:.2f} GiB in {wall:.1f} s ({size / 1e6 / wall:.0f} MB/s): {out.strip()}")
    print(f"for comparison, a log of 0.1 MB: {small.strip()}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--large-gib", type=float, default=0)
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.read:
        result, log = runset.read_log(given.read)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{log.lines} lines, {result.status.value}, peak memory {peak:.0f} MiB")
        return
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}")
    compare(sorted(PUBLISHED.rglob("result_*.txt")))
    if given.large_gib:
        read_large(given.large_gib)


if __name__ == "__main__":
    main()
