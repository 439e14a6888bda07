"""The child of launcher.rcp: reference convergence points to mlperf-logging's figures for them.

It reads one JSON object on stdin, `{benchmark, ruleset, points}`, adds the points to those of the
package and writes `{file, figures}` to stdout. It imports the package, which nothing else may.
"""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

from mlperf_logging.rcp_checker import rcp_checker  # noqa: TID251 - the child


def main() -> None:
    """Answer the one question on stdin."""
    asked = json.load(sys.stdin)
    logging.disable()  # the package warns on the root logger
    ruleset, benchmark = asked["ruleset"], asked["benchmark"]
    folder = Path(rcp_checker.__file__).parent / f"training_{ruleset}"
    points = json.loads((folder / f"rcps_{benchmark}.json").read_text(encoding="utf-8"))
    taken = sorted(point["BS"] for point in points.values())
    points |= asked["points"]
    file = io.StringIO(json.dumps(points))
    checker = rcp_checker.RCP_Checker("training", ruleset, benchmark, verbose=False, rcp_file=file)
    figures = [_figures(name, point, checker) for name, point in checker.rcp_data.items()]
    json.dump({"file": points, "figures": figures, "taken": taken}, sys.stdout)


def _figures(name: str, point: dict[str, Any], checker: rcp_checker.RCP_Checker) -> dict[str, Any]:
    return {
        "name": name,
        "batch": point["BS"],
        "runs": len(point["Epochs to converge"]),
        "mean": float(point["RCP Mean"]),
        "deviation": float(point["RCP Stdev"]),
        "fastest": float(point["Min Epochs"]),
        "pruned": name not in checker.pruned_rcp_data,
    }


if __name__ == "__main__":
    main()
