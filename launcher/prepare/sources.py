"""What a user asks -> the preparation that fits what lies in the source folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.dataset import Manifest
from launcher.errors import ConfigError, HostError
from launcher.prepare.work import STATE, Crew, text_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that `prepare` can be told; each preparation takes its part."""

    source: Path
    crew: Crew
    labels: Path | None = None
    vocabulary: Path | None = None
    tensorflow_python: str | None = None
    image: str | None = None
    tree: Path | None = None
    wikiextractor: Path | None = None
    wikiextractor_python: str | None = None
    rehearsal: bool = False


def prepare(benchmark: Benchmark, request: Request) -> Manifest:
    """Prepare a data set; return what is there when it is complete already.

    Raises ConfigError or HostError naming what is missing, on the source or on the machine.
    """
    root = request.crew.root
    if not request.source.is_dir():
        raise ConfigError(
            f"--source {request.source}: is not a folder; name the one with the downloads."
        )
    if (root / dataset.NAME).exists():  # it is written last
        return _complete(benchmark, root)
    _refuse_foreign(root)
    try:
        return _resnet(request) if benchmark is Benchmark.RESNET else _bert(request)
    except ModuleNotFoundError as error:
        raise HostError(
            f"preparing data needs {error.name}, which is not installed; "
            "run `pip install '.[data]'` in the checkout."
        ) from error


def _complete(benchmark: Benchmark, root: Path) -> Manifest:
    """Return a complete set's manifest; sweep up what a kill after its last step left."""
    manifest, _ = dataset.read(root)
    if manifest.benchmark is not benchmark:
        raise ConfigError(
            f"{root}: holds {manifest.benchmark.value} data; give another --data directory."
        )
    shutil.rmtree(root / STATE, ignore_errors=True)
    if (text_place(root) / STATE).is_dir():
        shutil.rmtree(text_place(root))
    return manifest


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not (root / STATE).exists() and any(root.iterdir()):
        raise ConfigError(f"{root}: is not empty and was not begun here; give a new directory.")


def _resnet(request: Request) -> Manifest:
    from launcher.prepare import imagenet  # noqa: PLC0415 - needs Pillow and google-crc32c

    return imagenet.prepare(
        imagenet.Options(
            source=request.source,
            crew=request.crew,
            labels=request.labels,
            rehearsal=request.rehearsal,
        )
    )


def _bert(request: Request) -> Manifest:
    from launcher.prepare import dump, wikipedia  # noqa: PLC0415 - needs numpy and google-crc32c

    options = wikipedia.Options(
        source=request.source,
        crew=request.crew,
        vocabulary=request.vocabulary,
        tree=request.tree,
        tensorflow_python=request.tensorflow_python,
        image=request.image,
        rehearsal=request.rehearsal,
    )
    if dump.find(request.source) is None:
        return wikipedia.prepare(options)
    extractor = dump.Extractor(program=request.wikiextractor, python=request.wikiextractor_python)
    return dump.prepare(options, extractor)
