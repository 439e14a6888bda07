import io
import tarfile

import numpy as np
import pytest

from image_classification.pytorch.samples import image_sizes, open_split
from pytorch_common.failure import RunError
from tests.patches.resnet.runs import write_folders

LABELS = [3, 1, 0, 2, 3, 1]


def write_shard(directory, number, images, labels):
    """Write a tar and DALI's index of it, version 1.2."""
    path = directory / f"shard-{number:05d}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            for kind, content in (("jpg", image), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{number}-{key}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    lines = [
        " ".join(
            f"{member.name.split('.')[1]} {member.offset_data} {member.size} {member.name}"
            for member in members[at : at + 2]
        )
        for at in range(0, len(members), 2)
    ]
    path.with_suffix(".idx").write_text(f"v1.2 {len(lines)}\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def folders(tmp_path):
    write_folders(tmp_path, "train", [1, 2, 1, 2])
    return tmp_path


@pytest.fixture
def shards(folders, tmp_path):
    """Put the same six images into two shards."""
    images = [path.read_bytes() for path in sorted(folders.rglob("*.JPEG"))]
    directory = tmp_path / "packed/train"
    directory.mkdir(parents=True)
    write_shard(directory, 0, images[:4], [0, 1, 1, 2])
    write_shard(directory, 1, images[4:], [3, 3])
    return tmp_path / "packed"


def opened(root, expected=6, classes=4):
    return open_split(root, "train", classes=classes, expected=expected)


def test_both_forms_hold_the_same_samples(folders, shards):
    numbers = np.array([5, 0, 3])
    for root in (folders, shards):
        images, labels = opened(root).read(numbers)
        assert labels.tolist() == [3, 0, 2]
        assert [image.tobytes()[:2] for image in images] == [b"\xff\xd8"] * 3
        assert image_sizes(opened(root), numbers, images).tolist() == [[20, 24]] * 3
    loose, packed = (opened(root).read(np.arange(6))[0] for root in (folders, shards))
    assert all(np.array_equal(a, b) for a, b in zip(loose, packed, strict=True))


def test_asking_ahead_changes_nothing(shards):
    samples = opened(shards)
    samples.prefetch(np.arange(6))
    assert len(samples.read(np.arange(6))[0]) == 6


def test_names_say_where_a_sample_lies(folders, shards):
    assert opened(folders).name(5).endswith("class-03/0001.JPEG")
    assert opened(shards).name(5).endswith("shard-00001.tar: 1-1.jpg")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(RunError, match=r"train: no such directory"):
        opened(tmp_path)


def test_a_wrong_number_of_images_is_named(shards):
    with pytest.raises(RunError, match="holds 6 images, but the configuration says 7"):
        opened(shards, expected=7)


def test_a_wrong_number_of_classes_is_named(folders):
    with pytest.raises(RunError, match="holds 4 class folders, but the model has 10"):
        opened(folders, classes=10)


def test_a_missing_index_is_named(shards):
    (shards / "train/shard-00001.idx").unlink()
    with pytest.raises(RunError, match=r"shard-00001.idx: no such file"):
        opened(shards)


def test_a_truncated_shard_is_named_with_both_sizes(shards):
    shard = shards / "train/shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(RunError, match=r"shard-00000.tar: is cut off at 2000 of \d+ bytes"):
        opened(shards)


@pytest.mark.parametrize(
    "text", ["", "v1.2 1\n", "v1.2 1\njpg 0 5\n", "v9 1\njpg 0 1 a cls 1 1 b\n"]
)
def test_a_broken_index_is_named(shards, text):
    (shards / "train/shard-00000.idx").write_text(text)
    with pytest.raises(RunError, match=r"shard-00000.idx: "):
        opened(shards)


def test_a_label_that_the_model_lacks_is_named(shards):
    with pytest.raises(RunError, match=r"shard-00001.tar: 1-0.jpg: its label is b'3'"):
        opened(shards, classes=3).read(np.array([0, 4]))


def test_a_damaged_image_is_named(folders):
    victim = folders / "train/class-01/0001.JPEG"
    victim.write_bytes(victim.read_bytes()[:300])
    samples = opened(folders)
    numbers = np.arange(6)
    with pytest.raises(RunError, match=r"class-01/0001.JPEG: it is cut off"):
        image_sizes(samples, numbers, samples.read(numbers)[0])
