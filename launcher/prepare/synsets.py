"""Which class each validation image shows, from any of the files that say so.

ImageNet's validation images are numbered, not sorted by class. Accepted, in this order:
`--labels FILE` or a file of these names in the source folder. Classes are WordNet ids (synsets);
their order, sorted, gives the labels 0..999, as in the reference's records (1..1000 there).
"""

import csv
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launcher.errors import ConfigError, HostError

LIST = "imagenet_2012_validation_synset_labels.txt"  # one synset a line, by image number
TABLE = "LOC_val_solution.csv"  # ImageId,PredictionString
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"  # ground truth as class numbers, meta.mat names them
NUMBERS = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
META = "ILSVRC2012_devkit_t12/data/meta.mat"


def validation_synsets(source: Path, labels: Path | None, keys: Sequence[str]) -> list[str]:
    """Return the synset of each validation image, whose keys are sorted. Raises ConfigError."""
    path = labels or next(
        (source / name for name in (LIST, TABLE, DEVKIT) if (source / name).is_file()), None
    )
    if path is None:
        raise ConfigError(
            f"{source}: nothing says which class each validation image shows; add {DEVKIT} "
            f"(from image-net.org), {LIST} or {TABLE}, or sort the images into class folders."
        )
    try:
        found = _reader(path)(path, keys)
    except (KeyError, ValueError, UnicodeDecodeError, tarfile.TarError) as error:
        raise ConfigError(
            f"{path}: cannot be read as labels ({error}); see docs/data.md."
        ) from error
    if len(found) != len(keys):
        raise ConfigError(
            f"{path}: labels {len(found):,} images and {len(keys):,} are there; "
            "use the labels of the same set."
        )
    return found


def _reader(path: Path) -> Callable[[Path, Sequence[str]], list[str]]:
    if path.suffix == ".csv":
        return _table
    return _devkit if path.name.endswith((".tar.gz", ".tgz", ".tar")) else _list


def _list(path: Path, _keys: Sequence[str]) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _table(path: Path, keys: Sequence[str]) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        found = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    return [found[key] for key in keys]


def _devkit(path: Path, _keys: Sequence[str]) -> list[str]:
    with tarfile.open(path) as archive:
        numbers, meta = (archive.extractfile(name) for name in (NUMBERS, META))
        if numbers is None or meta is None:
            raise ValueError(f"{NUMBERS} or {META} is not a file")
        names = _class_names(meta.read())
        return [names[int(number)] for number in numbers.read().split()]


def _class_names(meta: bytes) -> Mapping[int, str]:
    try:
        from scipy.io import loadmat  # noqa: PLC0415 - only for this one file
    except ImportError as error:
        raise HostError(
            f"{META} is a MATLAB file and scipy is not installed; run `pip install scipy`, "
            f"or give {LIST} with --labels."
        ) from error
    rows = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
