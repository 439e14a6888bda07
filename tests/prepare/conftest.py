"""Miniature data sets in the forms that users have them."""

import functools
import importlib.util
import io
import random
import shutil
import struct
import tarfile

import pytest

from launcher.prepare import prose

# Absent packages leave the whole folder out, and the summary says so.
MISSING = [
    name for name in ("numpy", "PIL", "google_crc32c") if importlib.util.find_spec(name) is None
]
if MISSING:
    collect_ignore_glob = ["test_*.py"]
else:
    import numpy as np
    from PIL import Image

    from launcher.prepare import imagenet, tfrecord, wikipedia, work


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(f"SKIPPED tests/prepare: {', '.join(MISSING)} not installed")


SYNSETS = ("n01440764", "n01443537", "n02105855", "n04152593")


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features):
    """Serialise name -> bytes, [float] or [int] as tf.train.Example."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            body = message(1, message(1, value))
        elif value and isinstance(value[0], float):
            body = message(2, message(1, struct.pack(f"<{len(value)}f", *value)))
        else:
            body = message(3, message(1, b"".join(map(varint, value))))
        entries += message(1, message(1, name.encode()) + message(2, body))
    return message(1, entries)


def picture(generator, kind):
    size = (generator.randrange(40, 90), generator.randrange(40, 90))
    noise = np.random.default_rng(generator.randrange(1 << 30))
    image = Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype="uint8")).resize(size)
    if kind == "png":
        return saved(image, "PNG")
    return saved(image.convert(kind), "JPEG")


def saved(image, form):
    target = io.BytesIO()
    image.save(target, form)
    return target.getvalue()


@functools.cache
def images():
    """(split, synset, file name) -> bytes; a CMYK JPEG, a PNG named JPEG, a grey one among them."""
    generator = random.Random(7)  # noqa: S311 - the same pictures every time
    made = {}
    for synset in SYNSETS:
        for number in range(7):
            kind = {("n02105855", 2): "png", ("n04152593", 3): "CMYK", ("n01440764", 1): "L"}.get(
                (synset, number), "RGB"
            )
            made["train", synset, f"{synset}_{number}.JPEG"] = picture(generator, kind)
    for number in range(1, 11):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        made["validation", generator.choice(SYNSETS), name] = picture(generator, "RGB")
    return made


def validation_labels(made):
    return [key[1] for key in sorted(made, key=lambda key: key[2]) if key[0] == "validation"]


def as_folders(root, made):
    for (split, synset, name), content in made.items():
        folder = root / "train" / synset if split == "train" else root / "val"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (root / "train" / SYNSETS[0] / "notes.txt").write_text("an odd file")
    labels = "".join(f"{synset}\n" for synset in validation_labels(made))
    (root / "imagenet_2012_validation_synset_labels.txt").write_text(labels)


def as_tars(root, made):
    root.mkdir()
    train = {}
    for (split, synset, name), content in made.items():
        if split == "train":
            train.setdefault(synset, {})[name] = content
    inner = {f"{synset}.tar": tar_bytes(files) for synset, files in train.items()}
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(inner))
    validation = {name: made[key] for key in made if key[0] == "validation" for name in key[2:]}
    (root / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(validation))
    table = "".join(
        f"{key[2].removesuffix('.JPEG')},{key[1]} 1 2 3 4\n" for key in made if key[0] != "train"
    )
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{table}")


def tar_bytes(files):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_300_000_000
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def as_records(root, made):
    root.mkdir()
    shuffled = sorted(made, key=lambda key: key[2][::-1])
    for split, count in (("train", 3), ("validation", 2)):
        keys = [key for key in shuffled if key[0] == split]
        for part in range(count):
            path = root / f"{split}-{part:05d}-of-{count:05d}"
            path.write_bytes(b"".join(image_record(key, made) for key in keys[part::count]))


def image_record(key, made):
    features = {
        "image/height": [40],
        "image/class/label": [SYNSETS.index(key[1]) + 1],
        "image/class/synset": key[1].encode(),
        "image/filename": key[2].encode(),
        "image/encoded": made[key],
    }
    return tfrecord.frame(example(features))


IMAGENET = {"folders": as_folders, "tars": as_tars, "records": as_records}


@pytest.fixture(scope="session")
def miniature():
    """Make the miniature ImageNet in a form, with some images replaced."""

    def make(form, root, **altered):
        made = images() | {key: altered[key[2][:-5]] for key in images() if key[2][:-5] in altered}
        IMAGENET[form](root, made)
        return root

    return make


VOCABULARY = 500


@functools.cache
def sentence_pairs():
    generator = random.Random(3)  # noqa: S311 - the same sentences every time
    documents = [
        [
            [generator.randrange(5, VOCABULARY) for _ in range(generator.randrange(4, 30))]
            for _ in range(30)
        ]
        for _ in range(20)
    ]
    rules = prose.Rules(
        sequence_length=512,
        max_predictions=76,
        vocabulary_size=VOCABULARY,
        duplicates=2,
        short_share=0.7,
    )
    return prose.instances(documents, rules, 5)


def pair_features(instance):
    """Pad an instance as `create_pretraining_data.py` does."""
    length, masked = len(instance.input_ids), len(instance.masked_ids)
    second = length - instance.second_segment
    return {
        "input_ids": [*instance.input_ids, *[0] * (512 - length)],
        "input_mask": [1] * length + [0] * (512 - length),
        "segment_ids": [0] * instance.second_segment + [1] * second + [0] * (512 - length),
        "masked_lm_positions": [*instance.masked_positions, *[0] * (76 - masked)],
        "masked_lm_ids": [*instance.masked_ids, *[0] * (76 - masked)],
        "masked_lm_weights": [1.0] * masked + [0.0] * (76 - masked),
        "next_sentence_labels": [int(instance.random_next)],
    }


@pytest.fixture(scope="session")
def pristine_records(tmp_path_factory):
    """Make a folder of two record parts, an eval set and a vocabulary."""
    root = tmp_path_factory.mktemp("records")
    framed = [tfrecord.frame(example(pair_features(one))) for one in sentence_pairs()]
    half = len(framed) // 2
    for part in range(2):
        content = b"".join(framed[part * half : (part + 1) * half])
        (root / f"part-{part:05d}-of-00500").write_bytes(content)
    (root / "eval_10k").write_bytes(b"".join(framed[-20:]))
    pieces = [*prose.SPECIAL, *(f"piece{number}" for number in range(VOCABULARY - 5))]
    (root / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return root


@pytest.fixture(name="example", scope="session")
def _example():
    return example


@pytest.fixture(name="pair_features", scope="session")
def _pair_features():
    return pair_features


@pytest.fixture(scope="session")
def pairs():
    return sentence_pairs()


@pytest.fixture(name="images", scope="session")
def _images():
    return images()


@pytest.fixture(name="tar_bytes", scope="session")
def _tar_bytes():
    return tar_bytes


@pytest.fixture
def wikipedia_records(pristine_records, tmp_path):
    """Copy the record parts, to be altered."""
    return shutil.copytree(pristine_records, tmp_path / "records")


@pytest.fixture(scope="session")
def pristine_sets(pristine_records, miniature, tmp_path_factory):
    """Prepare both miniature data sets, once."""
    root = tmp_path_factory.mktemp("prepared")
    crew = work.Crew(root=root / "bert")
    wikipedia.prepare(wikipedia.Options(source=pristine_records, crew=crew, rehearsal=True))
    crew = work.Crew(root=root / "resnet")
    source = miniature("tars", root / "source")
    imagenet.prepare(imagenet.Options(source=source, crew=crew, rehearsal=True, per_shard=8))
    return root


@pytest.fixture
def prepared(pristine_sets, tmp_path):
    """Copy both prepared sets, to be altered."""
    return {
        name: shutil.copytree(pristine_sets / name, tmp_path / "prepared" / name)
        for name in ("resnet", "bert")
    }


@pytest.fixture(name="message", scope="session")
def _message():
    return message
