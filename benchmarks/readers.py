"""How fast the readers are: TFRecords beside TensorFlow's, packed rows and shards from page cache.

Run by hand: `python benchmarks/readers.py [--tensorflow-python PYTHON] [--records FILE]`. Both
sides of a ratio run in turn on one file in one call; every figure is the best of three, on one
core, and rates a second of CPU time are printed beside rates a second of the wall clock, as the
machine may be shared.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from launcher.prepare import prose, records, rows, shards, tfrecord

REPEATS = 3
BATCH = 48  # rows a step takes, of the 8-GPU preset
SEQUENCES = 20_000
TENSORFLOW = """
import json, sys, time
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
WIDTHS = {"input_ids": 512, "input_mask": 512, "segment_ids": 512, "masked_lm_positions": 76,
          "masked_lm_ids": 76, "masked_lm_weights": 76, "next_sentence_labels": 1}
KINDS = {name: tf.io.FixedLenFeature([width], tf.float32 if "weights" in name else tf.int64)
         for name, width in WIDTHS.items()}
options = tf.data.Options()
options.threading.private_threadpool_size = 1

def once(parse):
    data = tf.data.TFRecordDataset(sys.argv[1]).batch(512).with_options(options)
    data = data.map(lambda batch: tf.io.parse_example(batch, KINDS)) if parse else data
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    for batch in data:
        count += int((batch["input_ids"] if parse else batch).shape[0])
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)

once(True)
print(json.dumps([max(once(parse) for _ in range(3)) for parse in (False, True)]))
"""


def measured(work):
    """Return what `work() -> amount` does in a second of the wall clock and of CPU time."""
    best = (0.0, 0.0)
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        amount = work()
        rates = amount / (time.perf_counter() - wall), amount / (time.process_time() - cpu)
        best = max(best, rates, key=lambda pair: pair[1])
    return best


def line(name, rates, unit):
    print(f"{name:<44} {rates[0]:>14,.0f} {rates[1]:>14,.0f} {unit}")


def make_records(path):
    """Write records with the corpus's mix of lengths."""
    generator = random.Random(1)  # noqa: S311 - reproducible
    lengths = [generator.randrange(40, 513) for _ in range(SEQUENCES)]
    with path.open("wb") as file:
        for length in lengths:
            file.write(tfrecord.frame(example(length, generator)))


def example(length, generator):
    masked = min(76, max(1, round(length * prose.MASKED_SHARE)))
    ids = generator.choices(range(1000, 30522), k=length)
    integers = {
        "input_ids": ids + [0] * (512 - length),
        "input_mask": [1] * length + [0] * (512 - length),
        "segment_ids": [0] * (length // 2) + [1] * (length - length // 2) + [0] * (512 - length),
        "masked_lm_positions": [*range(1, masked + 1), *[0] * (76 - masked)],
        "masked_lm_ids": ids[:masked] + [0] * (76 - masked),
        "next_sentence_labels": [length % 2],
    }
    entries = b"".join(
        feature(name, 3, b"".join(map(varint, values))) for name, values in integers.items()
    )
    weights = np.zeros(76, dtype="<f4")
    weights[:masked] = 1
    return message(1, entries + feature("masked_lm_weights", 2, weights.tobytes()))


def feature(name, kind, packed):
    return message(1, message(1, name.encode()) + message(2, message(kind, message(1, packed))))


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def read_records(path, tensorflow_python):
    sizes = records.Sizes()
    raw = measured(lambda: sum(1 for _ in tfrecord.read(path)))
    parsed = measured(lambda: sum(len(batch) for batch in records.read(path, sizes)))
    line("TFRecord frames and checksums, ours", raw, "records/s")
    line("TFRecord to checked sequences, ours", parsed, "records/s")
    if not tensorflow_python:
        print("TensorFlow: not measured, give --tensorflow-python")
        return
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [tensorflow_python, "-c", TENSORFLOW, str(path)],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    frames, examples = json.loads(done.stdout.splitlines()[-1])
    line("TFRecord frames, TensorFlow, one thread", frames, "records/s")
    line("TFRecord to parsed examples, TensorFlow", examples, "records/s")
    print(f"ours / TensorFlow, CPU time: {raw[1] / frames[1]:.2f} read, "
          f"{parsed[1] / examples[1]:.2f} read and parsed")  # fmt: skip


def read_rows(path, folder):
    sequences = np.concatenate(list(records.read(path, records.Sizes())))
    packed = rows.packing().pack(sequences, seed=1)
    folder.mkdir()
    rows.packing().write_rows(folder, shard=0, rows=packed)
    store = rows.packing().RowStore(folder)
    order = np.random.default_rng(0).permutation(len(store))

    def epoch():
        count = 0
        for start in range(0, len(order), BATCH):
            count += int(np.count_nonzero(store.take(order[start : start + BATCH])["lengths"]))
        return count

    line("packed rows, random batches", measured(epoch), "sequences/s")


def read_shards(folder):
    folder.mkdir()
    generator = random.Random(2)  # noqa: S311 - reproducible
    samples = [
        shards.Sample(
            key=f"n{n:08d}", label=n % 1000, image=os.urandom(generator.randrange(220_000))
        )
        for n in range(1024)
    ]
    path = folder / "shard-00000.tar"
    shards.write(path, samples)
    read = measured(lambda: sum(len(sample.image) for sample in shards.read(path)))
    line("shards, our reader", read, "bytes/s")
    try:
        read_with_dali(path)
    except ImportError:
        print("DALI: not measured, it is not installed")


def read_with_dali(path):
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=64, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def read():
        images, labels = fn.readers.webdataset(
            paths=[str(path)], index_paths=[str(path.with_suffix(".idx"))], ext=["jpg", "cls"]
        )
        return images, labels

    pipeline = read()
    pipeline.build()
    steps = 1024 // 64

    def epoch():
        outputs = [pipeline.run()[0] for _ in range(steps)]
        return sum(image.shape()[0] for images in outputs for image in images)

    line("shards, DALI webdataset, no decoding", measured(epoch), "bytes/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensorflow-python")
    parser.add_argument("--records", type=Path, help="a TFRecord file of the reference's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = options.records or Path(temporary) / "records"
        if options.records is None:
            make_records(path)
        print(f"{'one core, best of 3':<44} {'per wall s':>14} {'per CPU s':>14}")
        read_records(path, options.tensorflow_python)
        read_rows(path, Path(temporary) / "rows")
        read_shards(Path(temporary) / "shards")


if __name__ == "__main__":
    sys.exit(main())
