import os
import subprocess
import sys

from launcher import __version__, cli
from launcher.core.benchmark import Benchmark
from launcher.paths import ROOT
from tests import recorded


def test_the_version_is_printed(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_option_is_a_usage_error(capsys):
    assert cli.run(["--colour"]) == 2
    assert "colour" in capsys.readouterr().err


def test_a_python_without_our_packages_is_told_what_to_do_in_one_sentence():
    bare = [sys.executable, "-S", "-m", "launcher", "check"]
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "make setup" in done.stderr


def test_a_file_that_fails_where_nobody_expected_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("launcher.scoring.load", lambda _: open("/nowhere/at/all"))  # noqa: PTH123, SIM115
    assert cli.run(["score"]) == 3
    assert capsys.readouterr().err == "error: /nowhere/at/all: No such file or directory.\n"


def test_names_are_printed_in_a_locale_that_cannot_spell_them(tmp_path):
    folder = tmp_path / "résultats"
    recorded.write(folder / "resnet", Benchmark.RESNET)
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "launcher", "status", str(folder)]
    done = subprocess.run(command, env=plain, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_message_about_a_strangers_file_cannot_steer_the_terminal(tmp_path, capsys):
    folder = tmp_path / "a\x9b2J\u202e"
    assert cli.run(["score", str(folder)]) == 5
    said = capsys.readouterr().err
    assert "\x9b" not in said
    assert "a\\x9b2J\\u202e" in said
