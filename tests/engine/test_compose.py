from pathlib import Path

import pytest
import yaml

from launcher import paths
from launcher.core.benchmark import Benchmark
from launcher.engine import base, compose
from launcher.errors import ConfigError

MINIMAL = {
    "image": "some/image",
    "command": ["sh", "-c", "true"],
    "working_dir": "/",
    "network_mode": "none",
    "shm_size": "64m",
}


def write(tmp_path, **changes):
    service = {**MINIMAL, **changes}
    service = {key: value for key, value in service.items() if value is not None}
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump({"services": {"some": service}}))
    return path


def load(tmp_path, variables=None, **changes):
    return compose.load(write(tmp_path, **changes), "some", variables or {})


@pytest.mark.parametrize("benchmark", Benchmark)
def test_our_own_file_asks_for_everything_a_run_needs(benchmark):
    spec = compose.load(paths.COMPOSE, benchmark.value, {"GP2BM_SEED": "7"})
    assert spec.image == f"gp2bm/{benchmark.value}"
    assert spec.command[0] == "./run_and_time.sh"
    assert spec.command[-2:] == ("--seed", "7")
    assert spec.working_dir == f"/workspace/training/{benchmark.facts.overlay}"
    assert spec.all_gpus
    assert spec.init
    assert spec.network == "none"
    assert spec.ipc == "private"
    assert spec.cap_add == ("SYS_NICE",)
    assert spec.ulimits["memlock"] == (-1, -1)
    assert spec.ulimits["stack"] == (64 << 20, 64 << 20)
    assert spec.shm_bytes >= 1 << 30
    writable = [mount.target for mount in spec.mounts if not mount.read_only]
    assert writable == ["/results"]


def test_variables_are_filled_as_compose_does(tmp_path):
    words = ["${A}", "${B:-b}", "${C-c}", "${EMPTY:-full}", "${EMPTY-full}", "$$HOME", "x${A}y"]
    spec = load(tmp_path, {"A": "a", "EMPTY": ""}, command=words)
    assert spec.command == ("a", "b", "c", "full", "", "$HOME", "xay")


def test_a_variable_without_value_or_default_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"SEED is not set: the seed"):
        load(tmp_path, command=["${SEED:?the seed}"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privileged": True}, r"services\.some\.privileged is not a key"),
        ({"image": None}, r"services\.some\.image is missing"),
        ({"gpus": 2}, "gpus is 2"),
        ({"shm_size": "much"}, "shm_size is 'much'"),
        ({"command": "one string"}, "command must be a list"),
        ({"volumes": ["./a:/a"]}, "volumes must be a mapping"),
        ({"volumes": [{"type": "bind", "target": "/a"}]}, "a source and a target"),
        ({"volumes": [{"type": "bind", "source": "a", "target": "/a", "ro": 1}]}, r"volumes\.ro"),
        ({"ulimits": {"nofile": {"soft": 1}}}, r"ulimits\.nofile"),
        ({"logging": {"drivers": "local"}}, r"logging\.drivers"),
        ({"environment": ["A=b"]}, "environment must be a mapping"),
        ({"stop_grace_period": "soon"}, "stop_grace_period is 'soon'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_key(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, **changes)


def test_an_unknown_service_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"no service 'bert'; it has some"):
        compose.load(write(tmp_path), "bert", {})


@pytest.mark.parametrize("text", ["[", "- a list", "services: {some: 1}"])
def test_a_file_of_another_form_is_one_sentence(tmp_path, text):
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"compose\.yaml"):
        compose.load(path, "some", {})


@pytest.mark.parametrize(
    ("text", "size"), [("64gb", 64 << 30), ("1.5g", 3 << 29), ("512m", 512 << 20), (4096, 4096)]
)
def test_sizes_are_powers_of_1024(text, size):
    assert compose.size_bytes(text, "shm_size") == size


def test_a_relative_source_lies_beside_the_file(tmp_path):
    volumes = [{"type": "bind", "source": "./data", "target": "/data", "read_only": True}]
    (mount,) = load(tmp_path, volumes=volumes).mounts
    assert mount == base.Mount(source=tmp_path / "data", target="/data", read_only=True)


def test_times_and_limits_are_read(tmp_path):
    limits = {"nofile": {"soft": 10, "hard": 20}, "stack": 5}
    spec = load(tmp_path, ulimits=limits, stop_grace_period="1m30s")
    assert spec.ulimits == {"nofile": (10, 20), "stack": (5, 5)}
    assert spec.stop_grace_s == 90.0


def test_a_spec_survives_the_round_trip_through_json():
    spec = compose.load(paths.COMPOSE, "bert", {"GP2BM_SEED": "7"})
    assert base.from_json(base.to_json(spec)) == spec
    assert isinstance(base.from_json(base.to_json(spec)).mounts[0].source, Path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"volumes": 3}, "volumes must be a list"),
        ({"ulimits": [1]}, "ulimits must be a mapping"),
        ({"ulimits": {"stack": {"soft": [], "hard": 1}}}, r"ulimits\.stack must be a number"),
        ({"init": "false"}, "init is 'false'; write true or false"),
        ({"cap_add": "SYS_NICE"}, "cap_add must be a list"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, **change)


def test_empty_sections_are_none(tmp_path):
    spec = load(tmp_path, volumes=None, ulimits=None, cap_add=None)
    assert (spec.mounts, spec.ulimits, spec.cap_add) == ((), {}, ())


@pytest.mark.parametrize("text", ["services: [a]", "services: {1: {}}", "[" * 2000, "services:"])
def test_a_file_without_such_a_service_is_refused(tmp_path, text):
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"compose\.yaml"):
        compose.load(path, "bert", {})
