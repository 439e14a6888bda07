"""One of several ranks trying the fast ways on CPU, with stand-ins for CUDA graphs; for torchrun.

ranks.py FAILING: that rank can neither compile nor capture. Prints what is used, and a digest of
the weights.
"""

import json
import sys

import torch
from bert import build, graphs, lamb, paths, synthetic

from pytorch_common import distributed
from pytorch_common.mlperf import RunLog
from tests.patches.bert import small


def main() -> None:
    failing = int(sys.argv[1])
    process = distributed.join(accelerators=0)
    config = small.config(training={"eval_rows": 4})
    made = build.prepare(config, process, 1, None, RunLog(rank=1))

    def record(run):
        result = run()  # the warm-up; capturing itself sends nothing
        if process.rank == failing:
            raise RuntimeError("this rank cannot capture")
        return run, result

    def compile_(function, **_):
        def run(*arguments, **options):
            if process.rank == failing:
                raise RuntimeError("this rank cannot compile")
            return function(*arguments, **options)

        return run

    graphs.record, torch.compile = record, compile_
    torch.cuda.synchronize = lambda: None
    log = RunLog(rank=1)
    plain = made.update.losses
    paths.speed_up(made.model, made.update, config, process, log)
    judge = paths.speed_up_evaluation(made.model, made.judge, config, process, log)
    for seed in range(2):
        made.update([synthetic.batch(config, rows=2, seed=seed, device=small.CPU)])
    used = {
        "losses": made.update.losses is not plain,
        "moments": made.update.lamb.moments is not lamb.moments,
        "gradients": isinstance(made.update.add_gradients, graphs.Replay),
        "judge": judge is not made.judge,
    }
    digest = float(made.update.flat.weights.double().sum())
    sys.stdout.write(json.dumps({"used": used, "weights": digest}) + "\n")
    distributed.leave()


if __name__ == "__main__":
    main()
