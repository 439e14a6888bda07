"""Trains ResNet-50 v1.5 until it reaches its target: the program a container runs once per seed.

Reads `hyperparameters.yaml` and a data set, writes MLLOG lines to stdout. It touches no image
before run_start, never clears caches and keeps no state between runs.
"""

import argparse
import time
from pathlib import Path

from image_classification.pytorch import build, checkpoint, schedule
from image_classification.pytorch.config import EVAL_INTERVAL_EPOCHS, Config, load
from pytorch_common import affinity, distributed
from pytorch_common.failure import guarded, stop_on_termination
from pytorch_common.mlperf import RunLog
from pytorch_common.watch import LossWatch


def main() -> None:
    """Run once. Leaves with status 0 when training ended by itself, reached or not."""
    arguments = parse_arguments()
    log = RunLog(rank=distributed.rank())
    stop_on_termination(log)
    with guarded(log):
        log.start("init_start")
        config = load(arguments.hyperparameters)
        process = distributed.join(accelerators=config.accelerators)
        announce(log, config, arguments.seed)
        bind(process, log)
        run = build.run(config, process, arguments.data, arguments.seed, log)
        distributed.barrier()
        log.end("init_stop")

        log.run_start()
        run.training_data.begin()
        run.evaluation_data.begin()
        train(config, run, log)
        if config.training.keep_weights and process.rank == 0:
            checkpoint.save(run.step.learner, arguments.results)
    distributed.leave()


def train(config: Config, run: build.Run, log: RunLog) -> None:
    """Train block by block, evaluate after each, stop at the target.

    resnet_runnable.py:385-470.
    """
    if config.rehearsal:
        log.event("untrained_accuracy", evaluate(config, run))
    rate = schedule.of(config)
    watch = LossWatch(run.step.learning_rate.device, limit=run.loss_limit)
    first, step = 1, 0  # epochs count from 1, steps from 0
    for last in evaluation_epochs(config):
        block = {"first_epoch_num": first, "epoch_count": last - first + 1}
        log.start("block_start", **block)
        for epoch in range(first, last + 1):
            started = time.perf_counter()
            for _ in range(config.steps_per_epoch):
                run.step(run.training_data.load, rate(step))
                watch.see(run.step.loss)
                step += 1
            report_epoch(log, config, epoch, started, watch)
        log.end("block_stop", **block)

        log.start("eval_start", epoch_num=last)
        accuracy = evaluate(config, run)
        log.event("eval_accuracy", accuracy, epoch_num=last)
        log.end("eval_stop", epoch_num=last)
        if accuracy >= config.training.target_accuracy:
            log.run_stop("success", epoch_num=last)
            return
        first = last + 1
    reason = f"{accuracy} after the last of {last} epochs, below the target"
    log.run_stop("aborted", epoch_num=last, reason=reason)


def evaluation_epochs(config: Config) -> range:
    """Return the epochs that end in an evaluation: every 4, first after the offset.

    resnet_ctl_imagenet_main.py:181-188, common.py:651-655.
    """
    training = config.training
    first = training.eval_offset_epochs or EVAL_INTERVAL_EPOCHS
    return range(first, training.max_epochs + 1, EVAL_INTERVAL_EPOCHS)


def evaluate(config: Config, run: build.Run) -> float:
    """Return top-1 accuracy over the whole validation set."""
    return run.evaluation(
        run.evaluation_data, run.evaluation_batches, config.hyperparameters.eval_samples
    )


def bind(process: distributed.Process, log: RunLog) -> None:
    """Move this process to the cores and the memory beside its GPU."""
    if process.device.type != "cuda":
        return
    binding = affinity.bind(affinity.gpu_bus_ids(process.world_size), process.local_rank)
    log.event("cpu_binding", binding.note, cpus=list(binding.cpus), node=binding.node)


def announce(log: RunLog, config: Config, seed: int) -> None:
    """Log who runs what: every key that ruleset 4.0.0 wants of resnet before the clock."""
    log.event("submission_benchmark", "resnet")
    log.events({f"submission_{key}": value for key, value in config.submission.items()})
    log.event("seed", seed)
    log.events(config.hyperparameters.logged)


def report_epoch(log: RunLog, config: Config, epoch: int, started: float, watch: LossWatch) -> None:
    """Log what nobody demands and everybody wants to see; `started` is a perf_counter's time."""
    losses = watch.epoch_losses()  # waits for the last step: only then is the epoch over
    seconds = time.perf_counter() - started
    images = len(losses) * config.hyperparameters.global_batch_size
    stats = {"throughput": images / seconds, "loss": sum(losses) / len(losses)}
    log.event("tracked_stats", stats, step=epoch)


def parse_arguments() -> argparse.Namespace:
    """Read the command line that the launcher writes."""
    parser = argparse.ArgumentParser(description="Train ResNet-50 v1.5 once.")
    parser.add_argument("--hyperparameters", type=Path, required=True, help="rendered YAML file")
    parser.add_argument("--data", type=Path, required=True, help="holds train/ and validation/")
    parser.add_argument("--results", type=Path, required=True, help="the run's own folder")
    parser.add_argument("--seed", type=int, required=True, help="of weights, order and crops")
    return parser.parse_args()


if __name__ == "__main__":
    main()
