import pytest

from launcher import filetree, patchqueue, paths
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import File

OURS = {
    "common/files/pytorch_common/mlperf.py": File(b"COMMON = 1\n"),
    "bert/files/language_model/pytorch/bert/train.py": File(b"TRAIN = 1\n"),
    "bert/files/language_model/pytorch/bert/run_and_time.sh": File(b"exec true\n", executable=True),
}


@pytest.fixture
def patches(tmp_path):
    filetree.write_folder(OURS, tmp_path / "patches")
    return tmp_path / "patches"


def overlaid(patches, tmp_path):
    return patchqueue.materialise_overlay(Benchmark.BERT, tmp_path / "out", patches=patches)


def test_the_overlay_is_common_and_own_files_side_by_side(patches, tmp_path):
    overlaid(patches, tmp_path)
    assert filetree.read_folder(tmp_path / "out") == {
        name.partition("/files/")[2]: file for name, file in OURS.items()
    }


def test_an_unchanged_overlay_is_left_untouched(patches, tmp_path):
    first = overlaid(patches, tmp_path)
    before = (tmp_path / "out").stat()
    assert overlaid(patches, tmp_path) == first
    assert (tmp_path / "out").stat() == before


def test_a_changed_overlay_replaces_the_old_one_whole(patches, tmp_path):
    first = overlaid(patches, tmp_path)
    (patches / "bert/files/language_model/pytorch/bert/train.py").rename(
        patches / "bert/files/language_model/pytorch/bert/learn.py"
    )
    assert overlaid(patches, tmp_path) != first
    assert not (tmp_path / "out/language_model/pytorch/bert/train.py").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "patches"]


def test_a_file_that_is_common_and_own_is_refused(patches, tmp_path):
    filetree.write_folder({"pytorch_common/mlperf.py": File(b"")}, patches / "bert/files")
    with pytest.raises(ConfigError, match=r"pytorch_common/mlperf\.py is also in"):
        overlaid(patches, tmp_path)


def test_a_benchmark_without_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="patches/bert/files is empty"):
        patchqueue.materialise_overlay(Benchmark.BERT, tmp_path / "out", patches=tmp_path)


def test_the_digest_follows_names_modes_and_bytes(patches):
    first = patchqueue.digest(Benchmark.BERT, patches)
    assert patchqueue.digest(Benchmark.BERT, patches) == first
    seen = {first.sha256}
    train = patches / "bert/files/language_model/pytorch/bert/train.py"
    train.chmod(0o755)
    seen.add(patchqueue.digest(Benchmark.BERT, patches).sha256)
    train.write_bytes(b"TRAIN = 2\n")
    seen.add(patchqueue.digest(Benchmark.BERT, patches).sha256)
    train.rename(train.with_name("learn.py"))
    last = patchqueue.digest(Benchmark.BERT, patches)
    assert len(seen | {last.sha256}) == 4
    assert set(first.files) - set(last.files) == {"bert/files/language_model/pytorch/bert/train.py"}


def test_the_other_benchmarks_files_do_not_touch_the_digest(patches):
    first = patchqueue.digest(Benchmark.BERT, patches)
    filetree.write_folder({"resnet/files/x.py": File(b"x")}, patches)
    assert patchqueue.digest(Benchmark.BERT, patches) == first


def test_a_series_out_of_step_is_refused_by_the_odd_patch(patches):
    filetree.write_folder(
        {"0001-a.patch": File(b""), "0002-b.patch": File(b""), "series": File(b"0001-a.patch\n")},
        patches / "bert",
    )
    with pytest.raises(ConfigError, match=r"0002-b\.patch is out of step"):
        patchqueue.series(Benchmark.BERT, patches)


def test_this_checkouts_own_series_are_in_step():
    for benchmark in Benchmark:
        patchqueue.series(benchmark, paths.PATCHES)
