"""One of several ranks trying the fast ways on CPU, with stand-ins for CUDA graphs; for torchrun.

ranks.py FAILING: that rank cannot capture. Prints what was captured and a digest of the weights.
"""

import json
import sys

import torch
from bert import build, graphs, paths, synthetic

from pytorch_common import distributed
from pytorch_common.mlperf import RunLog
from tests.patches.bert import small


def main() -> None:
    failing = int(sys.argv[1])
    process = distributed.join(accelerators=0)
    config = small.config(training={"eval_rows": 4, "compile": False})
    made = build.prepare(config, process, 1, None, RunLog(rank=1))

    def record(run):
        result = run()  # the warm-up; capturing itself sends nothing
        if process.rank == failing:
            raise RuntimeError("this rank cannot capture")
        return run, result

    graphs.record = record
    torch.cuda.synchronize = lambda: None
    paths.speed_up(made.model, made.update, config, process, RunLog(rank=1))
    for seed in range(2):
        made.update([synthetic.batch(config, rows=2, seed=seed, device=small.CPU)])
    captured = isinstance(made.update.add_gradients, graphs.Replay)
    digest = float(made.update.flat.weights.double().sum())
    sys.stdout.write(json.dumps({"captured": captured, "weights": digest}) + "\n")
    distributed.leave()


if __name__ == "__main__":
    main()
