import io
import subprocess
import tarfile

import pytest

from launcher import filetree, git, patchexport, patchqueue, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import File

THEIRS = {
    "image_classification/model.py": File(b"LAYERS = 50\n"),
    "language_model/tensorflow/bert/run.py": File(b"import tf\n\nLAYERS = 24\n\n\nprint(LAYERS)\n"),
    "language_model/tensorflow/bert/clean.sh": File(b"echo clean\n", executable=True),
    "README.md": File(b"all of training\n"),
}
RUN = "language_model/tensorflow/bert/run.py"
OURS = {
    "common/files/pytorch_common/mlperf.py": File(b"COMMON = 1\n"),
    "bert/files/language_model/pytorch/bert/train.py": File(b"TRAIN = 1\n"),
    "bert/README.md": File(b"notes by hand\n"),
}


@pytest.fixture
def clone(tmp_path):
    """A small stand-in for mlcommons/training, with both subtrees."""
    folder = tmp_path / "training"
    git.initialise(folder)
    filetree.write_folder(THEIRS, folder)
    git.git(folder, "add", "-A")
    git.git(folder, "commit", "-q", "-m", "reference")
    return folder


@pytest.fixture
def pin(clone, tmp_path):
    commit = git.text(clone, "rev-parse", "HEAD")
    paths = {"resnet": "image_classification", "bert": "language_model/tensorflow/bert"}
    toml = f'url = "file://{clone}"\ncommit = "{commit}"\ntag = "v0"\n'
    for name, path in paths.items():
        tree = git.text(clone, "rev-parse", f"HEAD:{path}")
        toml += f'[subtrees.{name}]\npath = "{path}"\ntree = "{tree}"\n'
    (tmp_path / "reference.toml").write_text(toml)
    (tmp_path / "reference.files").write_bytes(git.git(clone, "ls-tree", "-r", "HEAD"))
    return reference.load(tmp_path / "reference.toml", tmp_path / "reference.files")


@pytest.fixture
def patches(tmp_path):
    filetree.write_folder(OURS, tmp_path / "patches")
    return tmp_path / "patches"


def bert_files():
    return {name: file for name, file in THEIRS.items() if name.startswith("language_model")}


def archive(folder, *, prefix="", altered=b""):
    path = folder / "reference.tar"
    with tarfile.open(path, "w") as tar:
        for name, file in THEIRS.items():
            content = file.content + altered * (name == RUN)
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            member.mode = 0o775 if file.executable else 0o664
            tar.addfile(member, io.BytesIO(content))
    return path


def obtain(place, pin, tmp_path):
    return reference.obtain(Benchmark.BERT, str(place), pin=pin, cache=tmp_path / "cache")


def test_every_form_of_the_reference_gives_the_same_files(clone, pin, tmp_path):
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", clone, bare], check=True)
    (tmp_path / "plain").mkdir()
    filetree.write_folder(THEIRS, tmp_path / "plain")
    wrapped = archive(tmp_path / "plain", prefix="training-v0/")
    for place in (clone, bare, archive(tmp_path), wrapped, tmp_path / "plain", f"file://{clone}"):
        assert obtain(place, pin, tmp_path) == bert_files(), place


def test_a_url_is_fetched_without_the_files_nobody_asked_for(clone, pin, tmp_path):
    git.git(clone, "config", "uploadpack.allowFilter", "true")
    filetree.write_folder({"large/weights.bin": File(b"w" * 1000)}, clone)
    git.git(clone, "add", "-A")
    git.git(clone, "commit", "-q", "-m", "more")
    obtain(f"file://{clone}", pin, tmp_path)
    held = git.text(tmp_path / "cache", "rev-list", "--objects", "--missing=print", "HEAD")
    assert not any(line.startswith("?") and RUN in line for line in held.splitlines())
    assert not (tmp_path / "cache/large").exists()


def test_a_clone_with_another_commit_checked_out_still_gives_the_pin(clone, pin, tmp_path):
    (clone / RUN).write_bytes(b"later\n")
    git.git(clone, "commit", "-q", "-a", "-m", "later")
    assert obtain(clone, pin, tmp_path) == bert_files()


def test_one_altered_byte_is_refused_by_the_files_name(pin, tmp_path):
    with pytest.raises(ConfigError, match=f"{RUN} is altered"):
        obtain(archive(tmp_path, altered=b" "), pin, tmp_path)


def test_objects_replaced_inside_a_clone_are_refused_by_the_files_name(clone, pin, tmp_path):
    (tmp_path / "evil").write_bytes(b"evil\n")
    evil = git.text(clone, "hash-object", "-w", str(tmp_path / "evil"))
    git.git(clone, "replace", git.text(clone, "rev-parse", f"HEAD:{RUN}"), evil)
    with pytest.raises(ConfigError, match=f"{RUN} is altered"):
        obtain(clone, pin, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / RUN).unlink(), "run.py is missing"),
        (lambda folder: (folder / RUN).with_name("new.py").touch(), "new.py is not in the ref"),
        (lambda folder: (folder / RUN).chmod(0o755), "mode 100755"),
    ],
)
def test_a_missing_extra_or_executable_file_is_refused(pin, tmp_path, change, said):
    filetree.write_folder(THEIRS, tmp_path / "plain")
    change(tmp_path / "plain")
    with pytest.raises(ConfigError, match=said):
        obtain(tmp_path / "plain", pin, tmp_path)


def test_a_place_that_is_nothing_is_refused_with_what_would_do(pin, tmp_path):
    with pytest.raises(ConfigError, match="give a clone of"):
        obtain(tmp_path / "nowhere", pin, tmp_path)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ConfigError, match="git archive"):
        obtain(tmp_path / "text", pin, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no language_model/tensorflow/bert"):
        obtain(tmp_path / "empty", pin, tmp_path)
    with pytest.raises(ConfigError, match="git archive"):
        obtain(f"file://{tmp_path}/nothing", pin, tmp_path)


def test_a_clone_without_the_pin_says_what_to_fetch(pin, tmp_path):
    git.initialise(tmp_path / "other")
    with pytest.raises(ConfigError, match="git fetch"):
        obtain(tmp_path / "other", pin, tmp_path)


@pytest.mark.usefixtures("pin")
def test_a_listing_that_does_not_make_the_pinned_tree_is_refused(tmp_path):
    listing = tmp_path / "reference.files"
    listing.write_text(listing.read_text().replace("run.py", "ran.py"))
    with pytest.raises(ConfigError, match="do not make tree"):
        reference.load(tmp_path / "reference.toml", listing)


def test_this_checkouts_pin_is_consistent():
    pin = reference.load()
    assert {b: len(pin.subtrees[b].files) for b in Benchmark} == {
        Benchmark.RESNET: 38,
        Benchmark.BERT: 28,
    }


@pytest.fixture
def tree(clone, pin, patches, tmp_path):
    """A materialised tree with one patch, exported."""
    folder = tmp_path / "build/bert"
    make(folder, clone, pin, patches)
    edit(folder, RUN, b"import tf\n\nLAYERS = 24\n\n\nprint(LAYERS + 0)\n", "Add nothing")
    export(folder, patches)
    return folder


def make(folder, clone, pin, patches):
    return patchqueue.materialise(
        Benchmark.BERT, folder, place=str(clone), patches=patches, pin=pin
    )


def export(folder, patches):
    return patchexport.export(Benchmark.BERT, folder, patches=patches)


def edit(folder, name, content, subject):
    filetree.write_folder({name: File(content)}, folder)
    git.git(folder, "add", "-A")
    git.git(folder, "commit", "-q", "-m", f"{subject}\n\nWhy.\n\nUpstream: N/A a test")


def test_export_apply_export_is_byte_identical(tree, clone, pin, patches):
    before = filetree.read_folder(patches)
    assert "bert/0001-Add-nothing.patch" in before
    head = git.text(tree, "rev-parse", "HEAD^{tree}")
    assert make(tree, clone, pin, patches) == head
    changed, _ = export(tree, patches)
    assert changed == []
    assert filetree.read_folder(patches) == before


def test_a_tree_made_twice_is_the_same_commit(tree, clone, pin, patches, tmp_path):
    make(tree, clone, pin, patches)
    make(tmp_path / "again", clone, pin, patches)
    assert git.text(tree, "rev-parse", "HEAD") == git.text(tmp_path / "again", "rev-parse", "HEAD")


def test_a_commit_on_their_files_and_ours_is_split_by_one_rule(tree, patches):
    filetree.write_folder({"pytorch_common/new.py": File(b"NEW = 1\n")}, tree)
    filetree.write_folder(
        {"language_model/pytorch/bert/run.sh": File(b"x\n", executable=True)}, tree
    )
    edit(tree, RUN, b"import tf\n", "Drop the print")
    changed, _ = export(tree, patches)
    assert changed == [
        "bert/0002-Drop-the-print.patch",
        "bert/files/language_model/pytorch/bert/run.sh",
        "bert/series",
        "common/files/pytorch_common/new.py",
    ]
    assert b"new.py" not in (patches / "bert/0002-Drop-the-print.patch").read_bytes()
    assert (patches / "bert/series").read_text().splitlines() == [
        "0001-Add-nothing.patch",
        "0002-Drop-the-print.patch",
    ]
    assert (patches / "bert/files/language_model/pytorch/bert/run.sh").stat().st_mode & 0o100


def test_a_file_or_patch_that_the_tree_dropped_leaves_patches(tree, patches):
    git.git(tree, "rm", "-q", "language_model/pytorch/bert/train.py")
    git.git(tree, "commit", "-q", "-m", "drop")
    git.git(tree, "checkout", "-q", patchqueue.REFERENCE_REF, "--", RUN)
    git.git(tree, "commit", "-q", "-m", "take back")
    export(tree, patches)
    assert sorted(filetree.read_folder(patches)) == [
        "bert/README.md",
        "common/files/pytorch_common/mlperf.py",
    ]


@pytest.mark.parametrize("committed", [True, False])
def test_a_tree_with_unexported_work_is_not_overwritten(tree, clone, pin, patches, committed):
    (tree / RUN).write_bytes(b"my work\n")
    if committed:
        git.git(tree, "commit", "-q", "-a", "-m", "mine")
    with pytest.raises(ConfigError, match="make patches TASK=bert"):
        make(tree, clone, pin, patches)
    assert (tree / RUN).read_bytes() == b"my work\n"


def test_a_folder_that_is_no_tree_of_ours_is_not_overwritten(clone, pin, patches, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("mine")
    with pytest.raises(ConfigError, match="is not a tree of ours"):
        make(tmp_path / "home", clone, pin, patches)


def test_uncommitted_work_is_not_exported(tree, patches):
    (tree / RUN).write_bytes(b"my work\n")
    with pytest.raises(ConfigError, match="commit it first"):
        export(tree, patches)


def test_a_patch_that_has_drifted_is_refused_by_name_never_applied_with_fuzz(
    tree, clone, pin, patches, tmp_path
):
    assert tree.exists()
    patch = patches / "bert/0001-Add-nothing.patch"
    patch.write_bytes(patch.read_bytes().replace(b" LAYERS = 24", b" LAYERS = 12"))
    with pytest.raises(ConfigError, match=r"0001-Add-nothing\.patch does not apply"):
        make(tmp_path / "fresh", clone, pin, patches)
    assert not (tmp_path / "fresh").exists()


def test_a_patch_edited_by_hand_is_found_stale(tree, clone, pin, patches):
    del tree
    patch = patches / "bert/0001-Add-nothing.patch"
    patch.write_bytes(patch.read_bytes() + b"-- \n2.39.5\n")
    stale, _ = patchexport.check(Benchmark.BERT, str(clone), patches=patches, pin=pin)
    assert stale == ["bert/0001-Add-nothing.patch"]


def test_a_patch_must_say_what_upstream_knows(tree, patches):
    git.git(tree, "commit", "-q", "--amend", "-m", "Add nothing")
    _, exported = export(tree, patches)
    assert patchexport.without_trailer(exported, Benchmark.BERT) == ["0001-Add-nothing.patch"]


@pytest.fixture
def odd_git_configuration(tmp_path, monkeypatch):
    (tmp_path / "gitconfig").write_text(
        "[core]\nautocrlf = true\n[format]\nsignOff = true\nthread = true\n"
        "[diff]\nnoprefix = true\ncontext = 9\n[commit]\ngpgSign = true\n"
        "[am]\nthreeWay = true\nmessageId = true\n[user]\nname = Somebody\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))


def test_the_users_git_configuration_changes_nothing(tree, clone, pin, patches, request):
    before = filetree.read_folder(patches)
    request.getfixturevalue("odd_git_configuration")
    make(tree, clone, pin, patches)
    export(tree, patches)
    assert filetree.read_folder(patches) == before


@pytest.mark.reference
@pytest.mark.parametrize("benchmark", Benchmark)
def test_this_checkouts_patches_apply_and_come_back_byte_for_byte(benchmark, request):
    place = str(request.getfixturevalue("reference"))
    stale, exported = patchexport.check(benchmark, place)
    assert stale == []
    assert patchexport.without_trailer(exported, benchmark) == []
