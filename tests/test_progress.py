import io
import json

import pytest
from rich.console import Console

from launcher.core.benchmark import Benchmark
from launcher.progress import Board, Row, duration, expected_progress, remaining_s, table


def line(key, value=None, **metadata):
    record = {"namespace": "", "time_ms": 1_700_000_000_000, "event_type": "POINT_IN_TIME"}
    record |= {"key": key, "value": value, "metadata": metadata}
    return b":::MLLOG " + json.dumps(record).encode() + b"\n"


def row(number=0, **changes):
    values = {"number": number, "seed": 7, "benchmark": Benchmark.RESNET, "target": 0.759}
    return Row(**{**values, **changes})


def board(*rows, terminal=False, expected=None):
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=terminal, width=140)
    return Board("a title", list(rows), expected=expected, console=console), printed


def test_a_row_follows_the_log_as_it_grows():
    one = row()
    assert not one.feed(b"noise\n" + line("init_start"))
    assert one.feed(line("run_start"))
    assert one.state == "training"
    one.feed(line("tracked_stats", {"throughput": 2500.4}))
    whole = line("eval_accuracy", 0.5, epoch_num=4)
    assert not one.feed(whole[:20])
    assert one.feed(whole[20:])
    assert one.cells()[:7] == ("0", "7", "training", "4 epochs", "0.5000", "0.7590", "2,500")


@pytest.mark.parametrize("value", [None, "high", True])
def test_a_log_that_lies_about_types_does_not_break_the_table(value):
    one = row()
    one.feed(line("eval_accuracy", value, epoch_num="four"))
    one.feed(line("tracked_stats", value))
    one.feed(line("tracked_stats", {"throughput": "fast"}))
    assert len(one.cells()) == 9


def test_the_time_to_go_comes_from_where_such_runs_converge(monkeypatch):
    clock = iter([100.0, 160.0])
    monkeypatch.setattr("launcher.progress.time.monotonic", lambda: next(clock))
    one = row()
    one.feed(line("run_start") + line("eval_accuracy", 0.5, epoch_num=12))
    one.tick(36)
    assert one.cells()[-2:] == ("0:01:00", "0:02:00")


def test_runs_that_are_done_tell_how_long_the_rest_takes():
    done = [row(0, state="success", elapsed_s=60.0, progress=36.0)]
    assert remaining_s([row()]) is None
    assert remaining_s(done) is None
    assert remaining_s([*done, row(1, state="training", eta_s=30.0), row(2), row(3)]) == 150
    assert expected_progress([*done, row(1, progress=99.0)]) == 36
    assert expected_progress([row()]) is None


def test_elsewhere_than_on_a_terminal_each_news_is_a_plain_line():
    shown, printed = board(row())
    with shown.shown():
        shown.state(0, "starting")
        shown.feed(0)(line("run_start") + line("eval_accuracy", 0.5, epoch_num=4))
    lines = printed.getvalue().splitlines()
    assert lines[0] == "run 0  seed 7  starting  of 0.7590"
    assert "4 epochs  accuracy 0.5000" in lines[1]
    assert "\x1b" not in printed.getvalue()


def test_on_a_terminal_there_is_one_table():
    shown, printed = board(row(), row(1), terminal=True)
    with shown.shown():
        shown.feed(0)(line("run_start") + line("eval_accuracy", 0.5, epoch_num=4))
        shown.say("a word [not markup]")
    assert "a title" in printed.getvalue()
    assert "a word [not markup]" in printed.getvalue()
    assert "run 0  seed" not in printed.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, ""), (0, "0:00:00"), (59.6, "0:01:00"), (36061, "10:01:01")]
)
def test_durations_are_hours_minutes_seconds(seconds, said):
    assert duration(seconds) == said


def test_the_table_fits_into_eighty_columns_uncut():
    full = {"seed": 2_147_483_647, "progress": 2_450_000.0, "accuracy": 0.7201}
    clock = {"throughput": 12_345.0, "elapsed_s": 36_061.0, "eta_s": 36_061.0}
    one = row(benchmark=Benchmark.BERT, state="clearing caches", **full, **clock)
    printed = io.StringIO()
    Console(file=printed, width=80).print(table("a title", [one]))
    assert "…" not in printed.getvalue()
    for cell in ("2147483647", "clearing", "2,450,000", "0.7201", "12,345", "10:01:01"):
        assert cell in printed.getvalue()


def test_a_folder_that_looks_like_markup_is_printed_as_it_is():
    printed = io.StringIO()
    Console(file=printed, width=80).print(table("results[/b]/[red]", [row()]))
    assert "results[/b]/[red]" in printed.getvalue()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, 1e-320, True, "x"])
def test_no_number_in_a_log_can_end_a_run(value):
    one = row()
    one.feed(line("run_start") + line("eval_accuracy", 0.5, epoch_num=value))
    one.feed(
        line("eval_accuracy", value, epoch_num=4) + line("tracked_stats", {"throughput": value})
    )
    one.tick(35.0)
    assert table("a title", [one]).row_count == len([one.cells()])


def test_a_terminal_that_went_away_does_not_end_a_run():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(len(text))

    shown = Board("a title", [row()], expected=None, console=Console(file=Gone()))
    shown.say("hello")
    shown.feed(0)(line("run_start") + line("eval_accuracy", 0.5, epoch_num=4))
    assert shown.rows[0].accuracy == 0.5
