"""A run set as the launcher records it, made up but complete: plan, ledger, full-size logs."""
# ruff: noqa: S311 - its numbers must come out the same every time

import hashlib
import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path

from launcher.core import ledger
from launcher.core import plan as plans
from launcher.core.benchmark import Benchmark

START_MS = 1_788_000_000_000
SYSTEM = {
    "title": "Test node (8x H200-SXM-141GB)",
    "submitter": "Maple Computing",
    "division": "closed",
    "status": "Available on-premise",
    "platform": "1xTestNode",
    "accelerators": {"count": 8, "model": "NVIDIA H200-SXM5-141GB", "memory_gib": 141},
    "description": {
        "host_processor_model_name": "Some Processor 9",
        "host_processor_core_count": "96",
        "framework": "PyTorch",
        "operating_system": "Ubuntu 24.04",
    },
}
HYPERPARAMETERS = {
    Benchmark.RESNET: {
        "global_batch_size": 3264,
        "gradient_accumulation_steps": 1,
        "opt_name": "lars",
        "lars_opt_base_learning_rate": 11.0,
        "lars_opt_end_learning_rate": 0.0001,
        "lars_opt_learning_rate_decay_poly_power": 2,
        "lars_opt_learning_rate_decay_steps": 13344,
        "lars_epsilon": 0.0,
        "lars_opt_learning_rate_warmup_epochs": 2,
        "lars_opt_momentum": 0.9,
        "lars_opt_weight_decay": 0.0001,
    },
    Benchmark.BERT: {
        "global_batch_size": 768,
        "gradient_accumulation_steps": 1,
        "opt_base_learning_rate": 0.0005,
        "opt_lamb_epsilon": 1e-06,
        "opt_lamb_beta_1": 0.83,
        "opt_lamb_beta_2": 0.925,
        "opt_lamb_weight_decay_rate": 0.0166629,
        "opt_learning_rate_training_steps": 3680,
        "opt_learning_rate_warmup_steps": 0,
        "num_warmup_steps": 0,
        "start_warmup_step": 0,
    },
}
ENDS = {Benchmark.RESNET: (36, 4), Benchmark.BERT: (2_450_000, 150_000)}  # last evaluation, every
MINUTES = {Benchmark.RESNET: 13.0, Benchmark.BERT: 5.6}
INIT_MS = 60_000


def line(time_ms, key, value=None, kind="POINT_IN_TIME", **metadata):
    record = {
        "namespace": "",
        "time_ms": int(time_ms),
        "event_type": kind,
        "key": key,
        "value": value,
        "metadata": {"file": "/workspace/training/train.py", "lineno": 1, **metadata},
    }
    return f":::MLLOG {json.dumps(record)}\n"


def log(benchmark, *, seed, start_ms, minutes, converges=True):
    """Write one log; run_start is at start_ms."""
    facts = benchmark.facts
    begin = start_ms - INIT_MS
    out = [
        line(begin - 1000, "cache_clear", value=True),
        line(begin, "init_start", kind="INTERVAL_START"),
    ]
    told = {
        "submission_benchmark": benchmark.value,
        "submission_org": SYSTEM["submitter"],
        "submission_division": "closed",
        "submission_status": "onprem",
        "submission_platform": SYSTEM["platform"],
        "seed": seed,
        **HYPERPARAMETERS[benchmark],
        "train_samples": facts.train_samples or 156_725_653,
        "eval_samples": facts.eval_samples,
    }
    out += [line(begin + 5, key, value) for key, value in told.items()]
    out += [
        line(start_ms - 1, "init_stop", kind="INTERVAL_END"),
        line(start_ms, "run_start", kind="INTERVAL_START"),
        line(start_ms, "block_start", None, "INTERVAL_START", first_epoch_num=1, epoch_count=1),
        "loss 7.25, something a framework prints\n",
    ]
    out += _evaluations(benchmark, seed, start_ms, minutes, converges=converges)
    stop = start_ms + minutes * 60_000
    status = "success" if converges else "aborted"
    out.append(line(stop - 1, "block_stop", None, "INTERVAL_END", first_epoch_num=1))
    out.append(line(stop, "run_stop", None, "INTERVAL_END", status=status))
    return "".join(out).encode()


def _evaluations(benchmark, seed, start_ms, minutes, *, converges):
    last, every = ENDS[benchmark]
    noise = random.Random(seed)
    points = [*range(every, last, every), last]
    target = benchmark.facts.quality_target
    for at in points:
        share = at / last
        value = target * (1 - math.exp(-5 * share)) + noise.uniform(-0.003, 0.003)
        value = min(value, target - 0.0005)
        if at == last and converges:
            value = target + noise.uniform(0.0001, 0.002)
        time_ms = start_ms + share * (minutes * 60_000 - 50)
        yield line(time_ms, "eval_start", None, "INTERVAL_START", epoch_num=at)
        yield line(time_ms + 20, "eval_stop", None, "INTERVAL_END", epoch_num=at)
        yield line(time_ms + 20, "eval_accuracy", round(value, 6), epoch_num=at)


def iso(ms):
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def sha(content):
    return hashlib.sha256(content).hexdigest()


def plan(benchmark, *, runs, rehearsal=False, source=None, hyperparameters=b""):
    draw = random.Random(f"{benchmark.value} {runs}")
    return plans.Plan(
        benchmark=benchmark,
        implementation="pytorch",
        rehearsal=rehearsal,
        created=iso(START_MS),
        launcher_version="0.1.0",
        seeds=tuple(draw.getrandbits(31) for _ in range(runs)),
        seed_source="os.urandom",
        engine="docker",
        image={"name": f"gp2bm-{benchmark.value}", "id": "sha256:" + "a" * 64, "labels": {}},
        source=source or {},
        system=SYSTEM,
        preset="record",
        hyperparameters=HYPERPARAMETERS[benchmark],
        hyperparameters_sha256=sha(hyperparameters),
        container={"environment": {}},
        host={"hostname": "gpu-node-17", "user": "margaret", "results": "/home/margaret/results"},
        dataset=None,
    )


def write(folder, benchmark, *, runs=None, failed=(), rehearsal=False, source=None):
    """Write a complete run set and return its folder."""
    runs = benchmark.facts.required_runs if runs is None else runs
    folder.mkdir(parents=True)
    hyperparameters = f"benchmark: {benchmark.value}\n".encode()
    planned = plan(
        benchmark, runs=runs, rehearsal=rehearsal, source=source, hyperparameters=hyperparameters
    )
    text = plans.dumps(planned).encode()
    (folder / "plan.json").write_bytes(text)
    (folder / "hyperparameters.yaml").write_bytes(hyperparameters)
    book = Book()
    frozen = {"plan_sha256": sha(text), "hyperparameters_sha256": sha(hyperparameters)}
    now = START_MS
    book.add(now, "plan", frozen)
    book.add(now, "session", {"pid": 4711, "host": "gpu-node-17", "resumed": False})
    logs = {}
    for number, seed in enumerate(planned.seeds):
        now = _write_run(
            folder,
            book,
            benchmark,
            number,
            seed=seed,
            now=now,
            converges=number not in failed,
            rehearsal=rehearsal,
        )
        name = "REHEARSAL-result.txt" if rehearsal else "result.txt"
        logs[str(number)] = sha((folder / f"run_{number}" / name).read_bytes())
    book.add(now, "complete", {"logs": logs})
    (folder / "ledger.jsonl").write_text(book.text)
    return folder


def _write_run(folder, book, benchmark, number, *, seed, now, converges, rehearsal):
    begun = now + 10_000
    start = begun + INIT_MS + 20_000
    minutes = MINUTES[benchmark] * (1 + 0.01 * random.Random(seed).uniform(-1, 1))
    content = log(benchmark, seed=seed, start_ms=start, minutes=minutes, converges=converges)
    done = start + minutes * 60_000 + 4000
    run = folder / f"run_{number}"
    run.mkdir()
    (run / ("REHEARSAL-result.txt" if rehearsal else "result.txt")).write_bytes(content)
    (run / "stderr.txt").write_bytes(b"")
    telemetry = (_sample(start + second * 1000) for second in range(0, int(minutes * 60), 10))
    (run / "telemetry.jsonl").write_text("".join(telemetry))
    cleared = {
        "run": number,
        "attempt": 0,
        "method": "drop_caches",
        "data_bytes": 140 << 30,
        "resident_before_bytes": 100 << 30,
        "resident_after_bytes": 0,
        "proven": True,
    }
    book.add(begun, "cache_clear", cleared)
    book.add(begun, "run_start", {"run": number, "attempt": 0, "seed": seed, "container": "c"})
    ended = {
        "run": number,
        "seed": seed,
        "attempt": 0,
        "ended": "exited",
        "exit_code": 0,
        "container_id": f"{number:064x}",
        "started_at": iso(begun),
        "finished_at": iso(done),
        "oom_killed": False,
        "log": "result.txt",
        "log_bytes": len(content),
        "log_sha256": sha(content),
        "elapsed_s": round((done - begun) / 1000, 3),
    }
    (run / "exit.json").write_text(json.dumps(ended, indent=2))
    book.add(done, "run_end", ended)
    return done


def _sample(time_ms):
    gpus = [{"index": gpu, "utilization": 97, "power_w": 640 + gpu} for gpu in range(8)]
    return json.dumps({"time_ms": time_ms, "gpus": gpus}) + "\n"


class Book:
    """A ledger being written."""

    def __init__(self):
        self.last = None
        self.text = ""

    def add(self, time_ms, event, payload):
        self.last = ledger.append(self.last, time=iso(time_ms), event=event, payload=payload)
        self.text += ledger.dumps(self.last)


def reseal(path: Path, change):
    """Rewrite a ledger through `change(records)`, sealed anew: what a forger would do."""
    records = [json.loads(text) for text in path.read_text().splitlines()]
    last, text = None, ""
    for record in change(records):
        last = ledger.append(
            last, time=record["time"], event=record["event"], payload=record["payload"]
        )
        text += ledger.dumps(last)
    path.write_text(text)
