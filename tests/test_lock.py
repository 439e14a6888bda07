"""The lock files hold what the project asks for, and nothing that ties them to one place."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from launcher import inside, paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [*PROJECT["dependencies"], *EXTRAS["rehearsal"], *EXTRAS["data"], *EXTRAS["dev"]]


def locked(name):
    lines = (paths.ROOT / name).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonical(each.name): str(each.specifier) for each in requirements}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("asked", ASKED)
def test_the_lock_holds_an_allowed_version_of_what_the_project_asks_for(asked):
    requirement = Requirement(asked)
    found = locked(inside.LOCK).get(canonical(requirement.name))
    assert found, f"{requirement.name} is not in {inside.LOCK}; run make lock"
    assert requirement.specifier.contains(found.removeprefix("==")), "run make lock"


@pytest.mark.parametrize("implementation", ["pytorch", "reference"])
def test_the_lock_holds_what_the_images_install(implementation):
    name = inside.LOCK if implementation == "pytorch" else inside.REFERENCE_LOCK
    for needed in [*inside.requirements(implementation), "mlperf-logging"]:
        assert canonical(Requirement(needed).name) in locked(name)


@pytest.mark.parametrize("name", [inside.LOCK, inside.REFERENCE_LOCK])
def test_a_lock_names_no_place_and_pins_every_package(name):
    assert all(re.fullmatch(r"==[0-9][0-9a-z.]*", pin) for pin in locked(name).values())
    assert not re.search(r"://|--", (paths.ROOT / name).read_text())


def test_both_environments_log_with_the_same_referee():
    assert locked(inside.LOCK)["mlperf-logging"] == locked(inside.REFERENCE_LOCK)["mlperf-logging"]
