import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from launcher import imagecontext, imagelabels, inside, patchqueue, paths, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError, EngineError

PIN = reference.load()
ROOT = paths.ROOT


def source(benchmark=Benchmark.BERT, **changes):
    facts = {
        "pin": PIN.commit,
        "reference_tree": PIN.subtrees[benchmark].tree,
        "tree": "0" * 40,
        "patches": patchqueue.digest(benchmark),
    }
    return imagecontext.Source(**facts | changes)


def labels(**changes):
    return imagelabels.of_source(Benchmark.BERT, "pytorch", source()) | changes


def differences(said, **changes):
    options = {"benchmark": Benchmark.BERT, "implementation": "pytorch", "rehearsal": False}
    return imagelabels.differences(said, **options | changes)


def test_an_image_of_this_checkout_has_no_differences():
    assert differences(labels()) == []


def test_a_changed_patch_is_named():
    files = dict(patchqueue.digest(Benchmark.BERT).files)
    name = next(iter(files))
    said = labels(
        **{
            imagelabels.PATCHES: "other",
            imagelabels.PATCH_FILES: json.dumps(files | {name: "x", "bert/old.patch": "y"}),
        }
    )
    assert sorted(differences(said)) == sorted(
        ["patches/bert/old.patch is gone", f"patches/{name} differs"]
    )


def test_a_patch_that_the_image_lacks_is_named():
    files = dict(patchqueue.digest(Benchmark.BERT).files)
    name, _ = files.popitem()
    said = labels(**{imagelabels.PATCHES: "other", imagelabels.PATCH_FILES: json.dumps(files)})
    assert differences(said) == [f"patches/{name} is new"]


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        (imagelabels.PIN, "f" * 40, "pin is ffff"),
        (imagelabels.BENCHMARK, "resnet", "benchmark is resnet, not bert"),
        (imagelabels.IMPLEMENTATION, "reference", "implementation is reference, not pytorch"),
        (imagelabels.REFERENCE_TREE, "f" * 40, "reference tree is ffff"),
    ],
)
def test_each_label_that_differs_is_said(label, value, said):
    found = differences(labels(**{label: value}))
    assert len(found) == 1
    assert said in found[0]


def test_an_image_without_the_reference_is_for_rehearsals_alone():
    bare = imagelabels.of_source(
        Benchmark.BERT, "pytorch", source(reference_tree=imagecontext.ABSENT)
    )
    assert differences(bare, rehearsal=True) == []
    assert "only a rehearsal" in differences(bare)[0]


def test_an_image_of_somebody_else_is_refused():
    assert differences({}) == ["it carries no labels of this launcher"]


@pytest.fixture
def filled(tmp_path, monkeypatch):
    monkeypatch.setattr(imagecontext.paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(imagecontext.paths, "ROOT", tmp_path)
    for name in ("requirements.lock", "reference.lock", "Dockerfile.bert"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a-1-py3-none-any.whl").write_bytes(b"wheel")
    return fill(tmp_path)


def fill(tmp_path, **changes):
    options = {
        "place": None,
        "overlay_only": True,
        "wheelhouse": tmp_path / "wheels",
        "ca_bundle": None,
    }
    return imagecontext.fill(Benchmark.BERT, **options | changes)


def names(context):
    return [name for name, _ in imagecontext.members(context)]


def test_a_context_holds_recipe_tree_and_packages_and_nothing_else(filled):
    tree = "build/image/bert/tree/language_model/pytorch/bert/run_and_time.sh"
    assert {name.split("/")[3] for name in names(filled) if name.count("/") > 2} == {
        "tree",
        "packages",
    }
    assert names(filled)[0] == "Dockerfile.bert"
    assert "build/image/bert/packages/wheels/a-1-py3-none-any.whl" in names(filled)
    assert tree in names(filled) or not (ROOT / "patches/bert/files" / tree[22:]).exists()


def test_an_equal_context_has_an_equal_digest_and_equal_bytes(filled, tmp_path):
    digests, packed = set(), []
    for attempt in range(2):
        context = fill(tmp_path) if attempt else filled
        digests.add(imagecontext.digest(context, base="x"))
        with (tmp_path / f"{attempt}.tar").open("wb") as stream:
            imagecontext.pack(context, stream)
        packed.append((tmp_path / f"{attempt}.tar").read_bytes())
        os.utime(tmp_path / "wheels/a-1-py3-none-any.whl", (0, 0))
    assert len(digests) == 1
    assert packed[0] == packed[1]


def test_a_changed_wheel_base_or_recipe_changes_the_digest(filled, tmp_path):
    digests = [imagecontext.digest(filled, base="x"), imagecontext.digest(filled, base="y")]
    (tmp_path / "wheels/a-1-py3-none-any.whl").write_bytes(b"wheat")
    digests.append(imagecontext.digest(fill(tmp_path), base="x"))
    (tmp_path / "Dockerfile.bert").write_text("FROM other\n")
    digests.append(imagecontext.digest(filled, base="x"))
    assert len(set(digests)) == 4


def test_a_packed_context_is_readable_by_any_user(filled, tmp_path):
    with (tmp_path / "c.tar").open("wb") as stream:
        imagecontext.pack(filled, stream)
    with tarfile.open(tmp_path / "c.tar") as archive:
        assert {member.mode for member in archive} <= {0o755, 0o644}


@pytest.mark.parametrize(
    ("option", "said"), [("wheelhouse", "holds no wheels"), ("ca_bundle", "is no file")]
)
@pytest.mark.usefixtures("filled")
def test_a_wheelhouse_or_certificate_that_is_not_there_is_refused(tmp_path, option, said):
    with pytest.raises(ConfigError, match=said):
        fill(tmp_path, **{option: tmp_path / "nowhere"})


def test_what_the_base_has_is_not_installed_again(monkeypatch):
    monkeypatch.setattr(inside, "_importable", lambda module: module != "safetensors")
    assert inside.missing("both") == ["safetensors"]
    assert inside.missing("resnet") == []


def test_pip_uses_wheels_alone_where_there_are_some(tmp_path):
    assert "--no-index" not in inside.pip_options(tmp_path)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/x.whl").touch()
    (tmp_path / "ca.pem").touch()
    options = inside.pip_options(tmp_path)
    assert "--no-index" in options
    assert options[-2:] == ["--cert", str(tmp_path / "ca.pem")]
    assert "--extra-index-url" not in options


def test_versions_say_what_is_absent():
    found = inside.versions()
    assert found["flash-attn"] == "absent"
    assert found["python"].startswith("3.")
    assert found["torch"] != "absent"


def test_no_engine_is_one_sentence_with_a_remedy():
    # In a process of its own: docker's client leaves its socket open where nothing answers.
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "images", "check"],
        env={**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == EngineError.exit_code
    assert done.stderr.startswith(b"error: no Docker engine answers")
    assert done.stderr.count(b"\n") == 1
