import json
import shutil

import pytest

from launcher import cli, forecast, runset
from launcher.core.benchmark import Benchmark
from launcher.errors import LogError
from tests import recorded


def set_after(tmp_path, runs, *, working=False, **options):
    """A ResNet set of five planned runs of which so many are done."""
    folder = recorded.write(tmp_path / "resnet", Benchmark.RESNET, **options)
    for number in range(runs, 5):
        if number == runs and working:
            (folder / f"run_{number}/exit.json").unlink()
        else:
            shutil.rmtree(folder / f"run_{number}")
    return runset.load(folder)


def test_a_set_at_work_tells_what_is_left(tmp_path):
    runs = set_after(tmp_path, 3, working=True)
    begun = runs.runs[3].result.init_start_ms / 1000
    outlook = forecast.look(runs, now=begun + 60)
    assert outlook.running == 3
    assert outlook.run_s == pytest.approx(13 * 60 + 94, abs=20)  # with container and init
    assert outlook.left_s == pytest.approx(2 * outlook.run_s - 60)
    assert forecast.look(runs).left_s == pytest.approx(outlook.run_s)  # long overdue
    assert "run 3 is at work" in forecast.told(outlook)[0]


def test_the_first_run_gives_the_first_estimate(tmp_path):
    outlook = forecast.look(set_after(tmp_path, 1))
    assert outlook.left_s == pytest.approx(4 * outlook.run_s)
    assert any("left" in line for line in forecast.told(outlook))


def test_before_the_first_run_ends_nothing_is_estimated(tmp_path):
    outlook = forecast.look(set_after(tmp_path, 0, working=True))
    assert (outlook.run_s, outlook.left_s) == (None, None)
    assert not any("left" in line or "olympic" in line for line in forecast.told(outlook))


def test_an_end_without_a_date_gives_no_estimate(tmp_path):
    runs = set_after(tmp_path, 1)
    runs.runs[0].exit.update(started_at=None, finished_at="soon")
    assert forecast.look(runs).run_s is None


def test_the_published_odds_of_the_preset_are_used(tmp_path):
    runs = set_after(tmp_path, 0, working=True)
    usual = forecast.look(runs).forecast.odds
    object.__setattr__(runs.plan, "preset", "resnet-8x400")
    assert forecast.look(runs).forecast.odds == pytest.approx(9 / 180)
    assert usual == pytest.approx(9 / 370)


def test_a_strangers_logs_cannot_be_forecast(tmp_path):
    text = recorded.log(Benchmark.RESNET, seed=1, start_ms=10**12, minutes=13)
    (tmp_path / "result_0.txt").write_bytes(text)
    with pytest.raises(LogError, match="no plan"):
        forecast.look(runset.load(tmp_path))


def test_the_command_is_not_silent_about_a_strangers_logs(tmp_path, capsys):
    text = recorded.log(Benchmark.RESNET, seed=1, start_ms=10**12, minutes=13)
    (tmp_path / "result_0.txt").write_bytes(text)
    assert cli.run(["forecast", str(tmp_path)]) == 5
    assert "name a run set of this launcher" in capsys.readouterr().err


def test_the_command_tells_it_in_words_and_as_json(tmp_path, capsys):
    set_after(tmp_path, 4)
    assert cli.run(["forecast", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "4 of 5 runs are done" in out
    assert "factor 1.0000 so far" in out
    assert cli.run(["forecast", str(tmp_path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["done"] == 4
    assert told["seconds_left"] == pytest.approx(told["seconds_a_run"])


def test_a_rehearsal_is_not_compared_with_the_reference(tmp_path, capsys):
    set_after(tmp_path, 4, rehearsal=True)
    assert cli.run(["forecast", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "REHEARSAL - NOT A RESULT" in out
    assert "factor" not in out


def test_long_spans_are_told_in_hours():
    assert forecast._span(3725) == "1 h 2 min"
    assert forecast._span(65) == "1 min 5 s"


def test_a_finished_set_is_not_forecast(tmp_path):
    said = forecast.told(forecast.look(set_after(tmp_path, 5)))
    assert said[0].startswith("5 of 5 runs are done")
    assert "nothing is left to forecast" in said[1]
    assert len(said) == 2
