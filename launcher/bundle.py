"""Everything an air-gapped node needs to one folder with a manifest, and the folder back, verified.

A bundle holds the reference at the pin, the wheels, this checkout and, when asked, the base image.
It is put in place only when complete, and nothing in it is used before its digest was compared.
"""

import io
import json
import shutil
import subprocess  # noqa: TID251 - pip is a program
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import __version__, git, images, inside, paths, reference
from launcher.core import strictjson
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import sha256

SCHEMA = 1
MANIFEST = "manifest.json"
REFERENCE = "reference.tar"
LAUNCHER = "launcher.tar"
BASE_IMAGE = "base-image.tar"
WHEELS = "wheels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle."""

    folder: Path
    base_image: str | None  # name of the image in it
    base_id: str | None

    @property
    def reference(self) -> Path:
        """Return the archive of the reference."""
        return self.folder / REFERENCE

    @property
    def wheels(self) -> Path:
        """Return the wheelhouse."""
        return self.folder / WHEELS


def create(
    to: Path,
    *,
    place: str | None = None,
    wheelhouse: Path | None = None,
    base_image: str | None = None,
    tensorflow: bool = False,
    checkout: Path = paths.ROOT,
    on_progress: images.OnProgress,
) -> Bundle:
    """Collect a bundle: wheels from a folder, else every locked package by pip.

    With `tensorflow` pip collects those of the patched reference's image, too.

    Raises ConfigError for a folder in the way or uncommitted work in the checkout.
    """
    if to.exists():
        raise ConfigError(f"{to} exists; name a folder that does not, or delete it.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".making-") as made:
        aside = Path(made) / "bundle"
        aside.mkdir()
        on_progress("reference")
        _write_reference(aside / REFERENCE, place)
        on_progress("launcher")
        commit = _write_launcher(aside / LAUNCHER, checkout)
        on_progress("wheels")
        _write_wheels(aside / WHEELS, wheelhouse, tensorflow=tensorflow)
        base = {}
        if base_image is not None:
            on_progress(f"base image {base_image}")
            base = {"name": base_image, "id": images.save(base_image, aside / BASE_IMAGE)}
        _write_manifest(aside, {"launcher_commit": commit, "base_image": base or None})
        aside.rename(to)
    return verify(to)


def verify(folder: Path) -> Bundle:
    """Compare every file with the manifest and the pin with this checkout's.

    Raises ConfigError naming the first file that is missing, altered or too many.
    """
    manifest = _read_manifest(folder)
    listed: Mapping[str, Any] = manifest["files"]
    found = _names(folder)
    if extra := sorted(found - listed.keys()):
        raise ConfigError(f"{folder / extra[0]} is not in {MANIFEST}; remove it.")
    for name, facts in sorted(listed.items()):
        if name not in found:
            raise ConfigError(f"{folder / name} is missing; copy the bundle again.")
        if sha256(folder / name) != facts["sha256"]:
            raise ConfigError(f"{folder / name} is altered; copy the bundle again.")
    if manifest["pin"] != reference.load().commit:
        raise ConfigError(
            f"{folder / MANIFEST}: pin is {manifest['pin']}, this checkout's is "
            f"{reference.load().commit}; make the bundle with this checkout."
        )
    base = manifest["base_image"] or {}
    return Bundle(folder=folder, base_image=base.get("name"), base_id=base.get("id"))


def load_base(bundle: Bundle) -> None:
    """Load the base image that a bundle carries, where the engine does not hold it."""
    if bundle.base_image is not None and images.image_id(bundle.base_image) != bundle.base_id:
        images.load(bundle.folder / BASE_IMAGE)


def _write_reference(path: Path, place: str | None) -> None:
    """Write both verified subtrees as an archive that `--reference` takes."""
    with tarfile.open(path, "w") as archive:
        for benchmark in Benchmark:
            for name, file in reference.obtain(benchmark, place).items():
                member = tarfile.TarInfo(name)
                member.size = len(file.content)
                member.mode = 0o755 if file.executable else 0o644
                archive.addfile(member, io.BytesIO(file.content))


def _write_launcher(path: Path, checkout: Path) -> str:
    """Write the checkout's commit as an archive and return its id."""
    try:
        if changed := git.text(checkout, "status", "--porcelain").splitlines():
            raise ConfigError(
                f"{checkout}: {changed[0].strip()} is not committed; commit it, so that the bundle "
                "can say which launcher it holds."
            )
        path.write_bytes(git.git(checkout, "archive", "--format=tar", "--prefix=gp2bm/", "HEAD"))
        return git.text(checkout, "rev-parse", "HEAD")
    except git.GitError as error:
        raise ConfigError(f"{checkout} is no git checkout ({error}); clone it.") from error


def _write_wheels(wheels: Path, wheelhouse: Path | None, *, tensorflow: bool) -> None:
    if wheelhouse is None:
        _collect_wheels(wheels)
        if tensorflow:
            lock = ("--constraint", str(paths.ROOT / inside.REFERENCE_LOCK))
            _pip_wheel(wheels, *lock, *inside.requirements("reference"))
        return
    given = sorted(wheelhouse.glob("*.whl"))
    if not given:
        raise ConfigError(f"--wheelhouse {wheelhouse} holds no wheels; fill it with pip wheel.")
    wheels.mkdir()
    for wheel in given:
        shutil.copy(wheel, wheels / wheel.name)


def _collect_wheels(wheels: Path) -> None:
    """Let pip make a wheel of every locked package, for the Python that runs this."""
    pip = [sys.executable, "-m", "pip"]
    lock = paths.ROOT / "requirements.lock"
    torch = next(
        line for line in lock.read_text(encoding="utf-8").splitlines() if line.startswith("torch==")
    )
    probe = [*pip, "install", "--no-index", "--dry-run", "--no-deps", "--ignore-installed", torch]
    local = not subprocess.run(probe, check=False, capture_output=True).returncode
    index = [] if local else ["--extra-index-url", inside.TORCH_CPU]
    _pip_wheel(wheels, "--requirement", str(lock), *index)


def _pip_wheel(wheels: Path, *wanted: str) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels)]
    if subprocess.run([*pip, *wanted], check=False).returncode:
        raise ConfigError("pip could not collect the wheels; give a folder with --wheelhouse.")


def _write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in sorted(_names(folder))
    }
    manifest = {
        "schema": SCHEMA,
        "launcher_version": __version__,
        "pin": reference.load().commit,
        "reference_trees": {
            benchmark.value: subtree.tree
            for benchmark, subtree in reference.load().subtrees.items()
        },
        **facts,
        "files": files,
    }
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = strictjson.loads((folder / MANIFEST).read_bytes())
        if manifest["schema"] != SCHEMA:
            raise ConfigError(
                f"{folder / MANIFEST}: schema is {manifest['schema']}, this launcher reads "
                f"{SCHEMA}; make the bundle again."
            )
        missing = {"files", "pin", "base_image"} - manifest.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is no bundle ({error}); name one.") from error
    if missing:
        raise ConfigError(f"{folder / MANIFEST}: {min(missing)} is missing; make the bundle again.")
    files, base = manifest["files"], manifest["base_image"] or {}
    sound = isinstance(files, dict) and isinstance(base, dict)
    if not sound or not all(isinstance(each, dict) and "sha256" in each for each in files.values()):
        raise ConfigError(
            f"{folder / MANIFEST}: files or base_image is not as `bundle create` writes it; make "
            "the bundle again."
        )
    return dict(manifest)


def _names(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
