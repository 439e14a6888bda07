import pytest

from launcher import cli
from launcher.cli import demo


@pytest.fixture
def commands(monkeypatch):
    """Record what the demo asks of the launcher, and answer 0."""
    asked = []

    def answer(arguments):
        asked.append(arguments)
        return 0

    monkeypatch.setattr(demo, "_launcher", answer)
    return asked


def test_the_demo_runs_both_benchmarks_then_scores_and_reports(commands, tmp_path, capsys):
    assert cli.run(["demo", "--folder", str(tmp_path)]) == 0

    assert [words[0] for words in commands] == ["run", "run", "score", "report"]
    assert all("--rehearsal" in words for words in commands[:2])
    said = capsys.readouterr().out
    assert "15 runs" in said
    assert f"{demo._python()} -m launcher check" in said


def test_the_python_named_for_a_closer_look_is_the_one_at_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(demo.sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert demo._python() == str(tmp_path / ".venv/bin/python")
    monkeypatch.chdir(tmp_path)
    assert demo._python() == ".venv/bin/python"


def test_a_step_that_fails_ends_the_demo_with_its_code(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "_launcher", lambda arguments: 3 if arguments[0] == "score" else 0)

    assert cli.run(["demo", "--folder", str(tmp_path)]) == 3


def test_an_unfinished_demo_continues_and_a_finished_one_is_kept(commands, tmp_path):
    (tmp_path / "1").mkdir()
    cli.run(["demo", "--folder", str(tmp_path)])
    assert str(tmp_path / "1") in commands[0]

    (tmp_path / "1/report.html").write_text("")
    cli.run(["demo", "--folder", str(tmp_path)])
    assert str(tmp_path / "2") in commands[-4]
