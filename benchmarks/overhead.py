"""What the launcher adds to each seed, beside bare `docker run` of the same image and command.

    python benchmarks/overhead.py --image gp2bm/resnet --seeds 10

The container does next to nothing, so the difference is the launcher's: clearing caches with its
proof, the plan's bookkeeping, attaching, checking the log against the engine's copy, removing.
Both ways alternate in one run; medians are printed.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from launcher.core import ledger
from launcher.store import Store
from tests import fakerun


def bare(folder: Path, image: str, number: int) -> float:
    """Return the seconds of `docker run` with the same mounts and command."""
    output = folder / "bare" / str(number)
    output.mkdir(parents=True)
    command = ["docker", "run", "--rm", "--init", "--network", "none", "--ipc", "private"]
    for source, target in ((folder / "tree", "/workspace/training:ro"),
                           (folder / "data", "/data:ro"), (output, "/results")):  # fmt: skip
        command += ["-v", f"{source}:{target}"]
    command += ["-w", "/workspace/training", image, "./run_and_time.sh", "--data", "/data"]
    command += ["--results", "/results", "--seed", str(100 + number)]
    began = time.perf_counter()
    with (output / "result.txt").open("wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def launched(store: Store) -> tuple[list[float], list[float]]:
    """Return the seconds of each seed, and those of clearing caches in it."""
    fakerun.work(store)
    chain = ledger.verify((store.folder / "ledger.jsonl").read_bytes())
    moments = [
        (record.event, datetime.fromisoformat(record.time).timestamp()) for record in chain.records
    ]
    starts = [at for event, at in moments if event in ("session", "run_end")]
    clears = [at for event, at in moments if event == "cache_clear"]
    seeds = [end - start for start, end in itertools.pairwise(starts)]
    return seeds, [at - start for at, start in zip(clears, starts, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="gp2bm/resnet", help="any image with a shell and date")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plain: list[float] = []
    ours: list[float] = []
    clears: list[float] = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            store = fakerun.make(folder, runs=arguments.seeds, image=arguments.image)
            plain += [bare(folder, arguments.image, number) for number in range(arguments.seeds)]
            seeds, clearing = launched(store)
            ours, clears = ours + seeds, clears + clearing
    figures = {
        "docker_run_s": statistics.median(plain),
        "launcher_s": statistics.median(ours),
        "of_which_cache_clear_s": statistics.median(clears),
        "overhead_s": statistics.median(ours) - statistics.median(plain),
        "seeds": len(ours),
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
