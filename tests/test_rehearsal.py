"""The rehearsal data: small, real, whole or not there."""

import io
import shutil
import sys

import pytest

from launcher import dataset, rehearsal
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError, HostError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
pytest.importorskip("numpy", reason="numpy is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from launcher.prepare import rows  # noqa: E402 - after the skips


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return rehearsal.prepare(Benchmark.RESNET, tmp_path_factory.mktemp("data") / "resnet")


def test_the_digits_are_all_there_in_ten_classes_and_two_disjoint_splits(digits):
    manifest, _ = dataset.read(digits)
    assert {split.name: split.samples for split in manifest.splits} == {
        "train": 1433,
        "validation": 364,
    }
    for split in ("train", "validation"):
        folders = sorted(path.name for path in (digits / split).iterdir())
        assert folders == [f"digit-{label}" for label in range(10)]
    names = [path.name for path in digits.rglob("*.JPEG")]
    assert len(names) == len(set(names)) == 1797


def test_a_digit_is_an_rgb_jpeg_a_small_network_can_use(digits):
    path = next((digits / "train" / "digit-3").iterdir())
    image = Image.open(io.BytesIO(path.read_bytes()))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
    dark, bright = image.convert("L").getextrema()
    assert bright - dark > 100


def test_making_the_set_again_changes_nothing_and_elsewhere_gives_the_same_bytes(digits, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in digits.rglob("*")}
    assert rehearsal.prepare(Benchmark.RESNET, digits) == digits
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("*")} == before
    again = rehearsal.prepare(Benchmark.RESNET, tmp_path / "again")
    assert (again / dataset.NAME).read_bytes() == (digits / dataset.NAME).read_bytes()


def test_an_incomplete_rehearsal_set_is_made_anew(tmp_path):
    made = rehearsal.prepare(Benchmark.RESNET, tmp_path / "data")
    victim = made / "train" / "digit-0" / "scan_0010.JPEG"
    content = victim.read_bytes()
    victim.unlink()
    rehearsal.prepare(Benchmark.RESNET, tmp_path / "data")
    assert victim.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failure_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        rehearsal.prepare(Benchmark.RESNET, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_other_data_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(ConfigError, match="no data manifest"):
        rehearsal.prepare(Benchmark.RESNET, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_rehearsal_data_is_attested_for_rehearsals_only(digits):
    attestation = dataset.attest(digits, Benchmark.RESNET, rehearsal=True)
    assert attestation["rehearsal"] is True
    assert attestation["splits"]["train"]["samples"] == 1433
    with pytest.raises(ConfigError, match="rehearsal data and the run is a real one"):
        dataset.attest(digits, Benchmark.RESNET, rehearsal=False)
    with pytest.raises(ConfigError, match="benchmark is resnet, the run needs bert"):
        dataset.attest(digits, Benchmark.BERT, rehearsal=True)


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    return rehearsal.prepare(Benchmark.BERT, tmp_path_factory.mktemp("data") / "bert")


def test_the_prose_is_packed_in_rows_the_training_program_reads(topics):
    packing = rows.packing()
    vocabulary = (topics / "vocab.txt").read_text(encoding="utf-8").split()
    assert len(vocabulary) == rehearsal.VOCABULARY_SIZE
    for split in dataset.read(topics)[0].splits:
        store = packing.RowStore(topics / split.name)
        assert store.count_sequences() == split.samples
        packed = store.take(range(len(store)))
        packing.check_rows(packed, vocab_size=len(vocabulary))
        assert rows.content(packed) == split.content
        assert packed["lengths"].sum() > 0.85 * packed["tokens"].size
        assert split.samples > len(store)  # some rows hold several


def test_no_pair_of_the_training_text_is_in_the_eval_text(topics):
    def pairs(split):
        packing = rows.packing()
        sequences = packing.unpack(packing.RowStore(topics / split).shards[0])
        return {sequence["tokens"].tobytes() for sequence in sequences}

    assert not pairs("train") & pairs("eval")


def test_a_missing_package_is_one_sentence_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(HostError, match=r"needs sklearn\.datasets, which is not installed; run"):
        rehearsal.prepare(Benchmark.RESNET, tmp_path / "data")


def test_what_a_faster_process_published_is_not_deleted_under_its_readers(tmp_path):
    destination = rehearsal.prepare(Benchmark.RESNET, tmp_path / "data")
    before = destination.stat().st_ino
    slower = tmp_path / "slower"
    shutil.copytree(destination, slower)
    rehearsal._publish(Benchmark.RESNET, slower, destination)
    assert destination.stat().st_ino == before
