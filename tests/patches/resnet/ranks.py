"""One of several ranks choosing its way on CPU, with stand-ins for CUDA graphs; for torchrun.

ranks.py FAULT: what rank 1 cannot do. Logs what was chosen, and from every rank the loss of a step.
"""

import sys

import torch
import yaml

from image_classification.pytorch import build, config, paths
from pytorch_common import distributed, graphs
from pytorch_common.mlperf import RunLog
from tests.patches.resnet import runs


def compiled(_):
    raise RuntimeError("this rank cannot compile")


def captured(_):
    raise RuntimeError("this rank cannot capture")


def main() -> None:
    process = distributed.join(accelerators=0)
    torch.set_num_threads(1)
    fault = sys.argv[1] if process.rank == 1 else "none"
    graphs.available = lambda _: True
    graphs.capture = captured if fault == "capture" else list
    paths.WAYS["compile"] = compiled if fault == "compile" else lambda part: part

    document = yaml.safe_load(runs.render())
    document["training"]["step"] = "auto"
    read = config.parse(document)
    network = build.model(read, process.device, seed=1)
    step = build.step(read, network, process, 1, RunLog(rank=process.rank))
    step(lambda *_: None, 1.0)
    RunLog(rank=0).event("loss", step.loss.item())
    distributed.leave()


if __name__ == "__main__":
    main()
