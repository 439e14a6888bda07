"""`hyperparameters.yaml`, packed rows and a checkpoint to one MLPerf Training run of BERT.

    train.py --hyperparameters FILE --data DIR --results DIR --seed N [--checkpoint DIR]

One process per accelerator; rank 0 logs. It ends by itself: with run_stop `success` when an
evaluation reaches the target, with `aborted` when the schedule is over or a loss is not finite. It
reads no training or evaluation sequence before run_start.
"""

import argparse
import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bert import build
from bert.config import Config, load
from bert.data import Batches, open_rows, to_device, training_rows
from bert.evaluate import Evaluation, check_count
from bert.packing import RowStore
from bert.schedule import evaluation_steps
from bert.update import Update

from pytorch_common import distributed
from pytorch_common.distributed import Process
from pytorch_common.failure import DivergedError, RunError, guarded, stop_on_termination
from pytorch_common.mlperf import RunLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line."""

    hyperparameters: Path
    data: Path
    results: Path
    seed: int
    checkpoint: Path | None


def main() -> None:
    """Run once."""
    log = RunLog(rank=distributed.rank())
    log.start("init_start")
    stop_on_termination(log)
    with guarded(log):
        arguments = parse()
        run(load(arguments.hyperparameters), arguments, log)
    distributed.leave()


def parse() -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hyperparameters", type=Path, required=True, help="the rendered file")
    parser.add_argument("--data", type=Path, required=True, help="train/, eval/, dataset.json")
    parser.add_argument("--results", type=Path, required=True, help="this run's own folder")
    parser.add_argument("--seed", type=int, required=True, help="of weights, order and dropout")
    parser.add_argument("--checkpoint", type=Path, help="folder with model.safetensors")
    return Arguments(**vars(parser.parse_args()))


def run(config: Config, arguments: Arguments, log: RunLog) -> None:
    """Initialise, start the clock, train to the target or the end of the schedule, stop it."""
    torch.set_num_threads(config.training.threads)
    process = distributed.join(accelerators=config.accelerators)
    if arguments.checkpoint is None and not config.rehearsal:
        raise RunError("--checkpoint is missing; a result starts from the rules' checkpoint.")
    eval_samples = check_count(arguments.data, config)
    announce(config, arguments.seed, eval_samples, log)
    store = open_rows(
        arguments.data / "train",
        sequences_per_row=config.training.sequences_per_row,
        length=config.hyperparameters.max_sequence_length,
    )
    numbers = order(store, config, process, arguments.seed)
    made = build.prepare(config, process, arguments.seed, arguments.checkpoint, log)
    read_evaluation = functools.partial(
        Evaluation, made.model, made.judge, arguments.data, config, process, sequences=eval_samples
    )
    if config.rehearsal:  # its data may be read before the clock: what an untrained model knows
        log.event("untrained_accuracy", read_evaluation()().accuracy)
    log.end("init_stop")
    distributed.barrier()
    log.run_start()
    batches = read(store, numbers, config, process)
    train(config, made.update, batches, read_evaluation(), log)


def announce(config: Config, seed: int, eval_samples: int, log: RunLog) -> None:
    """Log what is known before the run: submission, seed, hyperparameters, sizes of the sets."""
    values = config.hyperparameters
    submission = dataclasses.asdict(config.submission)
    log.event("submission_benchmark", "bert")
    log.events({f"submission_{key}": value for key, value in submission.items()})
    log.event("seed", seed)
    log.events(dataclasses.asdict(values))
    planned = values.opt_learning_rate_training_steps * values.global_batch_size
    log.event("train_samples", planned)  # batch * steps, as mlp_logging.py:84
    log.event("eval_samples", eval_samples)


def order(store: RowStore, config: Config, process: Process, seed: int) -> Iterator[np.ndarray]:
    """Choose the rows of this rank's micro-batches by the seed; reads nothing."""
    return training_rows(
        len(store),
        seed,
        rows=config.rows(process.world_size),
        rank=process.rank,
        ranks=process.world_size,
    )


def read(
    store: RowStore, numbers: Iterator[np.ndarray], config: Config, process: Process
) -> Batches:
    """Start reading this rank's micro-batches."""
    return Batches(
        store,
        numbers,
        form=config.training.form,
        vocab_size=config.model.vocab_size,
        device=process.device,
    )


def train(
    config: Config, update: Update, batches: Batches, evaluation: Evaluation, log: RunLog
) -> None:
    """Train block by block, each ended by an evaluation, and stop the clock.

    Samples are the sequences really trained on: a packed row holds one to three.
    """
    values, target = config.hyperparameters, config.training.target_accuracy
    stops = evaluation_steps(
        every_samples=config.training.eval_every_samples,
        global_batch_size=values.global_batch_size,
        training_steps=values.opt_learning_rate_training_steps,
    )
    if config.training.evaluate_untrained:
        assess(evaluation, 0, log)
    step = samples = 0
    for stop in stops:
        log.start("block_start", first_epoch_num=samples, epoch_count=1, samples_count=samples)
        began, before, mine = time.perf_counter(), samples, 0
        for _ in range(step, stop):
            micro_batches = [next(batches) for _ in range(values.gradient_accumulation_steps)]
            update([to_device(batch, update.device) for batch, _ in micro_batches])
            mine += sum(sequences for _, sequences in micro_batches)
        loss = mean_loss(update, steps=stop - step)  # waits for the device
        seconds = time.perf_counter() - began
        samples += sum_over_ranks(mine, update.device)
        step = stop
        log.end("block_stop", first_epoch_num=before, samples_count=samples)
        # Throughput counts real sequences, not rows or padding.
        stats = {"throughput": (samples - before) / seconds, "loss": loss}
        log.event("tracked_stats", stats, epoch_num=samples, step=step)
        if (accuracy := assess(evaluation, samples, log)) >= target:
            log.run_stop("success", epoch_num=samples)
            return
    reason = f"the schedule ends at accuracy {accuracy:.4f}, below the target {target}"
    log.run_stop("aborted", epoch_num=samples, reason=reason)


def sum_over_ranks(number: int, device: torch.device) -> int:
    """Sum a count over all ranks."""
    return int(distributed.sum_(torch.tensor(number, device=device)).item())


def mean_loss(update: Update, *, steps: int) -> float:
    """Wait for the device and return the mean masked-LM loss of the last steps over all ranks.

    Raises DivergedError when a loss among them was not finite.
    """
    masked, following = (distributed.sum_(update.loss_sums) / (steps * update.ranks)).tolist()
    update.loss_sums.zero_()
    if not math.isfinite(masked + following):
        raise DivergedError(
            f"the loss is not finite any more (masked LM {masked}, next sentence {following});"
            " lower opt_base_learning_rate."
        )
    return float(masked)


def assess(evaluation: Evaluation, samples: int, log: RunLog) -> float:
    """Evaluate after so many samples, log it and return the masked-LM accuracy."""
    log.start("eval_start", epoch_num=samples)
    found = evaluation()
    log.end("eval_stop", epoch_num=samples)
    log.event("eval_accuracy", found.accuracy, epoch_num=samples)
    return found.accuracy


if __name__ == "__main__":
    main()
