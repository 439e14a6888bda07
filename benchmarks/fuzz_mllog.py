"""Throw mutated log bytes at the parser and the result builder; any exception is a find.

    python benchmarks/fuzz_mllog.py --inputs 10000000 --seed 1

Inputs are one to three lines of well-formed or odd records, mutated by flips, cuts, copies and
tokens that matter to MLLOG and JSON. Every fourth is read again in two pieces, and both readings
must agree. Prints inputs, rate and finds; exits 1 when there is one.
"""

import argparse
import math
import random
import resource
import time

from launcher.core import mllog, result
from launcher.core.mllog import Event

RECORD = (
    b':::MLLOG {"namespace": "", "time_ms": 1700000000000, "event_type": "POINT_IN_TIME", '
    b'"key": "%s", "value": %s, "metadata": {"file": "train.py", "lineno": 3%s}}\n'
)
STEMS = [
    RECORD % (b"eval_accuracy", b"0.71", b', "epoch_num": 4'),
    RECORD % (b"eval_accuracy", b"NaN", b', "samples_count": 1e400'),
    RECORD % (b"run_start", b"null", b""),
    RECORD % (b"run_stop", b"null", b', "status": "success"'),
    RECORD % (b"run_stop", b"null", b', "status": "aborted"'),
    RECORD % (b"seed", b"12345", b""),
    RECORD % (b"submission_benchmark", b'"bert"', b""),
    RECORD % (b"submission_benchmark", b'"../../evil"', b""),
    RECORD % (b"global_batch_size", b"768", b""),
    RECORD % (b"train_samples", b"[[[{}]]]", b""),
    b"0: " + RECORD % (b"init_start", b"null", b""),
    b"text:::MLLOG {}\r\n",
    b":::MLL 1556733699.71 run_start: {}\n",
    b"loss 7.25\n",
    b"\xff\xfe\x00 not text\r",
]
TOKENS = [
    *(b":::MLLOG ", b":::MLL", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"\\ud800", b",", b":"),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b"0.0", b"\n", b"\r"),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b'"key"', b'"time_ms"', b'"metadata"', b"[" * 50),
]


def mutate(draw: random.Random) -> bytes:
    """Make one input."""
    data = bytearray(b"".join(draw.choices(STEMS, k=1 + draw.getrandbits(2) // 2)))
    for _ in range(draw.randint(0, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.random()
        if kind < 0.35 and at < len(data):  # a flipped bit
            data[at] ^= 1 << draw.randrange(8)
        elif kind < 0.7:  # a token that matters
            data[at:at] = draw.choice(TOKENS)
        elif kind < 0.85:  # a hole
            del data[at : at + draw.randint(1, 40)]
        else:  # a copy
            data[at:at] = data[: draw.randint(1, 80)]
    return bytes(data)


def reading(pieces: list[bytes]) -> tuple[list[Event], mllog.Log]:
    """Read pieces as a growing log is read."""
    reader = mllog.Reader()
    builder = result.Builder("fuzz")
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.close()
    builder.add(events)
    builder.result()
    return events, reader.log()


def same(one: list[Event], other: list[Event]) -> bool:
    """Compare events; NaN equals NaN here."""
    return repr(one) == repr(other)


def main() -> int:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    draw = random.Random(chosen.seed)  # noqa: S311 - a fuzzer repeats itself on purpose
    finds = used = 0
    begun = time.perf_counter()
    for number in range(chosen.inputs):
        data = mutate(draw)
        try:
            whole, log = reading([data])
            assert all(0 <= event.time_ms < math.inf for event in whole)
            if number % 4 == 0:
                cut = draw.randrange(len(data) + 1)
                halves, again = reading([data[:cut], data[cut:]])
                assert same(whole, halves), "the events depend on how the bytes are cut"
                assert log.oddities == again.oddities, "the oddities depend on it"
        except Exception as error:  # noqa: BLE001 - any is a find
            finds += 1
            print(f"input {number}: {type(error).__name__}: {error}: {data!r}")
        used += len(data)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{chosen.inputs} inputs, {used / 1e9:.2f} GB, {seconds:.0f} s "
        f"({chosen.inputs / seconds:.0f}/s), peak {peak:.0f} MiB, {finds} finds"
    )
    return int(finds > 0)


if __name__ == "__main__":
    raise SystemExit(main())
