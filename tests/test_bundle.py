import json

import pytest

from launcher import bundle, git, reference
from launcher.errors import ConfigError


@pytest.fixture
def small(tmp_path):
    """A bundle without a reference: what it holds is not looked into here."""
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels/a.whl").write_bytes(b"wheel")
    (folder / "reference.tar").write_bytes(b"reference")
    bundle._write_manifest(folder, {"launcher_commit": "0" * 40, "base_image": None})
    return folder


def test_an_untouched_bundle_is_accepted(small):
    opened = bundle.verify(small)
    assert (opened.reference, opened.wheels) == (small / "reference.tar", small / "wheels")
    assert opened.base_image is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "wheels/a.whl").write_bytes(b"wheat"), "a.whl is altered"),
        (lambda folder: (folder / "wheels/a.whl").unlink(), "a.whl is missing"),
        (lambda folder: (folder / "wheels/b.whl").touch(), "b.whl is not in manifest.json"),
        (lambda folder: (folder / "manifest.json").unlink(), "is no bundle"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is no bundle"),
    ],
)
def test_a_touched_bundle_is_refused_by_the_file(small, change, said):
    change(small)
    with pytest.raises(ConfigError, match=said):
        bundle.verify(small)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("schema", 2, "schema is 2"), ("pin", "f" * 40, "pin is ffff"), ("files", None, "missing")],
)
def test_a_bundle_of_another_launcher_is_refused(small, key, value, said):
    manifest = json.loads((small / "manifest.json").read_text())
    manifest[key] = value
    if value is None:
        del manifest[key]
    (small / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=said):
        bundle.verify(small)


@pytest.fixture
def checkout(tmp_path):
    git.initialise(tmp_path / "checkout")
    (tmp_path / "checkout/file").write_text("x")
    git.git(tmp_path / "checkout", "add", "-A")
    git.git(tmp_path / "checkout", "commit", "-q", "-m", "launcher")
    return tmp_path / "checkout"


def create(tmp_path, checkout, /, **changes):
    (tmp_path / "wheels").mkdir(exist_ok=True)
    (tmp_path / "wheels/a.whl").write_bytes(b"wheel")
    options = {"wheelhouse": tmp_path / "wheels", "checkout": checkout, "on_progress": print}
    return bundle.create(tmp_path / "out/bundle", **options | changes)


@pytest.fixture
def no_reference_needed(monkeypatch):
    monkeypatch.setattr(reference, "obtain", lambda *_: {})


@pytest.mark.usefixtures("no_reference_needed")
def test_a_bundle_is_complete_when_it_appears(tmp_path, checkout):
    made = create(tmp_path, checkout)
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "launcher.tar",
        "manifest.json",
        "reference.tar",
        "wheels",
    ]
    assert [path.name for path in made.folder.parent.iterdir()] == ["bundle"]
    with pytest.raises(ConfigError, match="exists"):
        create(tmp_path, checkout)


@pytest.mark.usefixtures("no_reference_needed")
@pytest.mark.parametrize("change", ["dirty", "empty", "unversioned"])
def test_what_cannot_be_bundled_leaves_nothing_behind(tmp_path, checkout, change):
    options = {}
    if change == "dirty":
        (checkout / "file").write_text("y")
    if change == "empty":
        (tmp_path / "none").mkdir()
        options["wheelhouse"] = tmp_path / "none"
    if change == "unversioned":
        (tmp_path / "plain").mkdir()
        options["checkout"] = tmp_path / "plain"
    with pytest.raises(ConfigError):
        create(tmp_path, checkout, **options)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("no_reference_needed")
@pytest.mark.parametrize("asked", [False, True])
def test_tensorflows_wheels_come_along_only_when_asked_for(tmp_path, checkout, monkeypatch, asked):
    collected = []
    monkeypatch.setattr(bundle, "_collect_wheels", lambda wheels: wheels.mkdir())
    monkeypatch.setattr(bundle, "_pip_wheel", lambda _, *wanted: collected.extend(wanted))
    create(tmp_path, checkout, wheelhouse=None, tensorflow=asked)
    assert ("tensorflow-cpu==2.15.1" in collected) is asked
    assert any(word.endswith("reference.lock") for word in collected) is asked


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "[" * 5000,
        '{"schema": 1, "files": [], "pin": "", "base_image": null}',
        '{"schema": 1, "files": {"a": 1}, "pin": "", "base_image": null}',
        '{"schema": 1, "files": {}, "pin": "", "base_image": "x"}',
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=r"no bundle|missing|is not as"):
        bundle.verify(tmp_path)
