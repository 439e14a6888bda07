import re
import shutil
import subprocess

import pytest

from launcher import paths

MAKEFILE = (paths.ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, flags=re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments):
    done = subprocess.run(
        ["make", "-C", paths.ROOT, "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_make_alone_lists_every_target_with_what_it_does():
    listed = {line.split()[0] for line in make().splitlines()[1:]}
    assert listed == set(TARGETS)


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "images", "check-patches"])
def test_what_a_newcomer_types_is_there(target):
    assert target in TARGETS


def test_task_and_reference_reach_the_launcher():
    said = make("--dry-run", "tree", "TASK=bert", "REFERENCE=/some/clone")
    assert "-m launcher tree --task bert --reference /some/clone" in said
