"""ImageNet in any of the forms that users have becomes the same verified shards."""

import io
import itertools
import subprocess
from pathlib import Path

import pytest

from launcher import dataset
from launcher.errors import ConfigError, HostError
from launcher.prepare import imagenet, imagesource, jpeg, shards, synsets, work
from launcher.prepare.work import Crew

FORMS = ("folders", "tars", "records")


def prepare(source, root, **more):
    crew = Crew(root=root, **more)
    options = imagenet.Options(source=source, crew=crew, rehearsal=True, per_shard=8)
    return imagenet.prepare(options)


@pytest.fixture(scope="module")
def three(tmp_path_factory, miniature):
    made = {}
    for form in FORMS:
        root = tmp_path_factory.mktemp(form)
        prepare(miniature(form, root / "source"), root / "data")
        made[form] = root / "data"
    return made


def test_three_forms_of_input_give_the_same_samples_in_the_same_bytes(three):
    contents = []
    for root in three.values():
        files = sorted(path for path in root.rglob("*") if path.is_file())
        contents.append({str(p.relative_to(root)): p.read_bytes() for p in files})
    names = {name for name in contents[0] if name != dataset.NAME}
    assert len(names) == 2 * (4 + 2)
    for one, other in itertools.pairwise(contents):
        assert {name: one[name] == other[name] for name in names} == dict.fromkeys(names, True)


def test_every_image_is_there_once_with_its_bytes_and_its_label(three, images):
    expected = {
        (split, name.removesuffix(".JPEG")): (sorted({k[1] for k in images}).index(synset), content)
        for (split, synset, name), content in images.items()
    }
    found = {
        (split, sample.key): (sample.label, sample.image)
        for split in ("train", "validation")
        for path in sorted((three["tars"] / split).glob("*.tar"))
        for sample in shards.read(path)
    }
    assert found == expected


def test_the_manifest_counts_and_names_the_odd_images(three):
    for form, root in three.items():
        manifest, _ = dataset.read(root)
        assert {split.name: split.samples for split in manifest.splits} == {
            "train": 28,
            "validation": 10,
        }
        assert manifest.source["input"] == f"ILSVRC2012 {form}"
        assert manifest.statistics["train"]["oddities"] == {
            "n02105855_2": "png",
            "n04152593_3": "cmyk",
        }
        assert sum(manifest.statistics["train"]["short_side"].values()) == 28


def test_neighbours_in_a_shard_are_of_different_classes(three):
    labels = [sample.label for sample in shards.read(three["tars"] / "train" / "shard-00000.tar")]
    assert len(set(labels)) > 1


def test_the_index_is_the_one_that_dalis_own_program_writes(three, tmp_path):
    wds2idx = pytest.importorskip("wds2idx", reason="DALI is not installed")
    for path in (three["folders"] / "train").glob("*.tar"):
        with wds2idx.IndexCreator(str(path), str(tmp_path / "idx"), verbose=False) as creator:
            creator.create_index()
        assert (tmp_path / "idx").read_text() == path.with_suffix(".idx").read_text()


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_image_is_refused_by_name_in_every_form(form, miniature, images, tmp_path):
    name = "n01443537_4"
    cut = images["train", "n01443537", f"{name}.JPEG"][:-200]
    source = miniature(form, tmp_path / "source", **{name: cut})
    with pytest.raises(ConfigError, match=rf"{name}.*is cut off.*replace the file"):
        prepare(source, tmp_path / "data")
    assert not (tmp_path / "data" / dataset.NAME).exists()


def test_an_image_that_is_neither_jpeg_nor_png_is_refused_by_name(miniature, tmp_path):
    source = miniature("tars", tmp_path / "source", n01443537_4=b"GIF89a not here")
    with pytest.raises(ConfigError, match="n01443537_4: is neither JPEG nor PNG"):
        prepare(source, tmp_path / "data")


def test_a_real_set_must_be_complete(miniature, tmp_path):
    source = miniature("folders", tmp_path / "source")
    options = imagenet.Options(source=source, crew=Crew(root=tmp_path / "data"))
    with pytest.raises(ConfigError, match="has 28 train images, 1,281,167 belong"):
        imagenet.prepare(options)


def test_the_official_archives_are_checked_against_their_published_md5(miniature, tmp_path):
    source = miniature("tars", tmp_path / "source")
    options = imagenet.Options(source=source, crew=Crew(root=tmp_path / "data"))
    with pytest.raises(ConfigError, match=r"train\.tar: md5 is [0-9a-f]+, published is 1d675b47"):
        imagenet.prepare(options)


def test_validation_labels_that_are_not_fifty_of_each_class_are_refused(tmp_path):
    entries = [
        imagesource.Entry(split, f"{split}{n}-{number}", f"n{n:08d}", "x", 0, 1)
        for n in range(1000)
        for split, count in (("train", 1), ("validation", 51 if n == 7 else 50))
        for number in range(count)
    ]
    with pytest.raises(ConfigError, match="51 validation images of n00000007, 50 belong"):
        imagenet._require_classes(tmp_path, entries)
    with pytest.raises(ConfigError, match="has 999 classes, 1000 belong"):
        imagenet._require_classes(tmp_path, [e for e in entries if e.synset != "n00000003"])


def test_two_images_of_one_name_are_refused(miniature, tmp_path):
    source = miniature("folders", tmp_path / "source")
    double = source / "train" / "n01440764" / "n01440764_1.jpg"
    double.write_bytes((source / "train" / "n01440764" / "n01440764_1.JPEG").read_bytes())
    with pytest.raises(ConfigError, match="have one name; remove one"):
        prepare(source, tmp_path / "data")


def test_a_folder_with_nothing_known_says_what_is_looked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"ILSVRC2012_img_train\.tar.*train-00000-of-01024"):
        imagesource.find(tmp_path)


def test_an_altered_record_file_is_named(miniature, tmp_path):
    source = miniature("records", tmp_path / "source")
    victim = source / "train-00001-of-00003"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ConfigError, match="train-00001-of-00003: the record at byte"):
        prepare(source, tmp_path / "data")


def test_without_labels_of_the_validation_images_the_files_that_would_do_are_named(
    miniature, tmp_path
):
    source = miniature("tars", tmp_path / "source")
    (source / synsets.TABLE).unlink()
    with pytest.raises(ConfigError, match=r"devkit_t12\.tar\.gz"):
        prepare(source, tmp_path / "data")


def test_labels_of_another_number_of_images_are_refused(miniature, tmp_path):
    source = miniature("folders", tmp_path / "source")
    (source / synsets.LIST).write_text("n01440764\n")
    with pytest.raises(ConfigError, match="labels 1 images and 10 are there"):
        prepare(source, tmp_path / "data")


def test_the_development_kit_names_the_validation_classes(tar_bytes, tmp_path):
    io_module = pytest.importorskip("scipy.io", reason="scipy is not installed")
    np = pytest.importorskip("numpy")
    rows = [(1, "n02119789"), (2, "n02100735"), (3, "n00001740")]
    table = np.array(rows, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    meta = io.BytesIO()
    io_module.savemat(meta, {"synsets": table})
    kit = tmp_path / synsets.DEVKIT
    kit.write_bytes(tar_bytes({synsets.META: meta.getvalue(), synsets.NUMBERS: b"2\n1\n2\n"}))
    found = synsets.validation_synsets(tmp_path, None, ["a", "b", "c"])
    assert found == ["n02100735", "n02119789", "n02100735"]


def test_too_little_space_is_said_with_figures_before_anything_is_written(
    miniature, tmp_path, monkeypatch
):
    source = miniature("folders", tmp_path / "source")
    monkeypatch.setattr(work.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(HostError, match=r"needs 0\.0 GB more and 0\.0 GB are free"):
        prepare(source, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tar"))


def test_headers_are_read_as_pillow_reads_the_image(images):
    image_module = pytest.importorskip("PIL.Image")
    for content in images.values():
        header = jpeg.read_header(content)
        with image_module.open(io.BytesIO(content)) as image:
            assert (header.width, header.height) == image.size
            assert header.kind == image.format.lower()


def test_a_jpeg_without_end_marker_that_decodes_whole_is_kept(images):
    content = images["train", "n01443537", "n01443537_4.JPEG"]
    assert jpeg.read_header(content[:-2] + bytes(1000)) == jpeg.read_header(content)
    with pytest.raises(jpeg.ImageError, match="no end marker"):
        jpeg.read_header(content[: len(content) // 2])


@pytest.mark.slow
def test_dali_and_pillow_see_the_same_pixels_in_the_odd_images(three):
    fn = pytest.importorskip("nvidia.dali.fn", reason="DALI is not installed")
    dali = pytest.importorskip("nvidia.dali")
    np, image_module = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    paths = sorted(str(path) for path in (three["folders"] / "train").glob("*.tar"))

    @dali.pipeline_def(batch_size=28, num_threads=1, device_id=None)
    def decoded():
        images, labels = fn.readers.webdataset(
            paths=paths,
            index_paths=[path.removesuffix("tar") + "idx" for path in paths],
            ext=["jpg", "cls"],
        )
        return fn.decoders.image(images, output_type=dali.types.RGB), labels

    pipeline = decoded()
    pipeline.build()
    images, labels = pipeline.run()
    samples = [sample for path in paths for sample in shards.read(Path(path))]
    for number, sample in enumerate(samples):
        with image_module.open(io.BytesIO(sample.image)) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.array(images.at(number)), expected), sample.key
        assert int(bytes(np.array(labels.at(number)))) == sample.label


DECODE = """
import pathlib, sys
import numpy as np
import tensorflow as tf

for path in pathlib.Path(sys.argv[1]).glob("*.image"):
    np.save(path.with_suffix(".npy"), tf.io.decode_jpeg(path.read_bytes(), 3).numpy())
"""


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_references_decoder_sees_the_same_pixels_in_the_odd_images(
    three, tensorflow_python, tmp_path
):
    np, image_module = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    odd = {"n02105855_2", "n04152593_3", "n01440764_1"}
    for path in (three["records"] / "train").glob("*.tar"):
        for sample in shards.read(path):
            if sample.key in odd:
                (tmp_path / f"{sample.key}.image").write_bytes(sample.image)
    command = [tensorflow_python, "-c", DECODE, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.stem for path in tmp_path.glob("*.npy")} == odd
    for path in tmp_path.glob("*.npy"):
        with image_module.open(path.with_suffix(".image")) as image:
            expected = np.asarray(image.convert("RGB"), dtype=int)
        difference = np.abs(np.load(path).astype(int) - expected)
        assert difference.max() <= 8, path  # TensorFlow uses the fast integer DCT
