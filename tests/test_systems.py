import pytest

from launcher import paths, systems
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError

TEXT = b"""
title: Node
submitter: ACME
division: closed
status: Preview
accelerators: {count: 8, model: H200, memory_gib: 141}
"""


@pytest.mark.parametrize("path", sorted(paths.SYSTEMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_system_file_of_the_project_is_valid(path):
    assert systems.load(path).name == path.stem


def test_the_example_is_full_of_placeholders():
    example = systems.load(paths.SYSTEMS / "example-8xh200.yaml")
    assert set(example.placeholders) == {"submitter", "platform"}


def test_numbers_without_a_point_and_dates_are_what_they_look_like(tmp_path):
    extra = b"benchmarks: {resnet: {training: {a: 5e-5, b: 2026-01-01, c: 1.5E+3}}}"
    (tmp_path / "x.yaml").write_bytes(TEXT + extra)
    source = systems.load(tmp_path / "x.yaml").source
    assert source["benchmarks"]["resnet"]["training"] == {"a": 5e-5, "b": "2026-01-01", "c": 1500.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT + b"titel: x", "x.yaml: titel is not a known key"),
        (TEXT + b"title: x", "line 7: is not valid YAML: key 'title' stands twice"),
        (b"a: &b [1]\nc: *b", "aliases are not allowed"),
        (b"a: [1", "line 1: is not valid YAML"),
        (b"\xff\xfe\xff", "is not valid YAML"),
        (b"[" * 10_000, "is not valid YAML"),
        (b"? [a]\n: 1", "is not valid YAML"),
        (b"!!python/object/apply:os.system [id]", "is not valid YAML"),
        (b"#" * (systems.MAX_BYTES + 1), "larger than 1 MiB"),
        (b"", "the file is None"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence_with_its_name(tmp_path, text, said):
    path = tmp_path / "x.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        systems.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        systems.load(tmp_path / "none.yaml")


def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="rename it"):
        systems.load(tmp_path / "my node.yaml")


def test_the_only_own_system_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "SYSTEMS", tmp_path)
    for name in ("example-8xh200.yaml", "rehearsal.yaml"):
        (tmp_path / name).touch()
    assert systems.default() is None
    (tmp_path / "mine.yaml").touch()
    assert systems.default() == tmp_path / "mine.yaml"
    (tmp_path / "other.yaml").touch()
    with pytest.raises(ConfigError, match=r"mine\.yaml, other\.yaml.*--system"):
        systems.default()


@pytest.mark.parametrize("benchmark", Benchmark)
def test_the_files_of_the_project_lead_to_settings(benchmark):
    for name, rehearsal in (("example-8xh200", False), ("rehearsal", True)):
        path = paths.SYSTEMS / f"{name}.yaml"
        found = systems.settings(path, systems.load(path), benchmark, rehearsal=rehearsal)
        assert found.warnings == ()
        assert rehearsal == (found.preset.name == "rehearsal")


def test_what_cannot_run_is_refused_with_the_files_name():
    path = paths.SYSTEMS / "rehearsal.yaml"
    with pytest.raises(ConfigError, match=r"rehearsal\.yaml: benchmarks\.bert\.preset is"):
        systems.settings(path, systems.load(path), Benchmark.BERT, rehearsal=False)
