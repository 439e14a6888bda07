import subprocess
import sys

from launcher import __version__, cli
from launcher.paths import ROOT


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
