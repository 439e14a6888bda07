"""Class folders of JPEG files to the TFRecord files that the reference reads.

The bytes of an image stay as they are; labels count from 1 in the order of the folders' names.
It is for a few thousand images: a rehearsal's.
"""

from pathlib import Path

FILES = {"train": 8, "validation": 2}


def write(source: Path, folder: Path) -> None:
    """Write `train` and `validation` of a data set, the images dealt out over the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in FILES.items():
        classes = sorted(path for path in (source / split).iterdir() if path.is_dir())
        images = [
            (number, image)
            for number, path in enumerate(classes, start=1)
            for image in sorted(path.iterdir())
        ]
        for index in range(count):
            path = folder / f"{split}-{index:05d}-of-{count:05d}"
            _write_file(path, images[index::count])


def _write_file(path: Path, images: list[tuple[int, Path]]) -> None:
    import tensorflow as tf  # noqa: PLC0415 - seconds, and only here

    with tf.io.TFRecordWriter(str(path)) as writer:
        for label, image in images:
            encoded = tf.train.BytesList(value=[image.read_bytes()])
            number = tf.train.Int64List(value=[label])
            features = {
                "image/encoded": tf.train.Feature(bytes_list=encoded),
                "image/class/label": tf.train.Feature(int64_list=number),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
