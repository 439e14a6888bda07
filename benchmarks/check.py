"""How long `launcher check` takes on a whole answer: 5 ResNet and 10 BERT logs, in a new process.

python benchmarks/check.py
"""

import os
import resource
import statistics
import subprocess
import sys
import time

from launcher.paths import ROOT

LOGS = ROOT.parent / "shared/published-results/v4.0/NVIDIA"
ROUNDS = 5


def main() -> None:
    wall, cpu = [], []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "launcher", "check", str(LOGS)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
        )
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"launcher check of 15 published logs, {os.cpu_count()} CPUs, {ROUNDS} rounds")
    print(f"wall {statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f})")
    print(f"CPU {statistics.median(cpu):.2f} s ({min(cpu):.2f} to {max(cpu):.2f})")


if __name__ == "__main__":
    main()
