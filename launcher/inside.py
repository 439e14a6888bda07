"""Runs inside an image that is being built: its base to what is missing and what is there.

`install` puts what a training program needs and the base lacks into /opt/launcher; `versions`
prints what is there as one line of JSON; `requirements`, on the host, what a wheelhouse needs.
Standard library only, and no module of the launcher: it is copied into the image alone. It never
replaces a package that the base has.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shlex
import subprocess  # noqa: TID251 - pip is a program
import sys
from importlib import metadata
from pathlib import Path

ENVIRONMENT = "/opt/launcher"
ABSENT = "absent"
LOCK = "requirements.lock"
REFERENCE_LOCK = "reference.lock"
# For bases without torch: never CUDA's gigabytes.
TORCH_CPU = "https://download.pytorch.org/whl/cpu"

# What a program imports -> the requirement that brings it, where the base does not.
NEEDS = {
    # First what both need: the second image finds that step in the builder's cache.
    "both": {"yaml": "pyyaml", "numpy": "numpy", "torch": "torch", "safetensors": "safetensors"},
    "resnet": {"nvidia.dali": "nvidia-dali-cuda120"},
}
# The last TensorFlow with Estimator; its Pythons are 3.9 to 3.11.
REFERENCE = ("numpy<2", "pyyaml", "nltk")
TENSORFLOW = {"cpu": "tensorflow-cpu==2.15.1", "gpu": "tensorflow[and-cuda]==2.15.1"}
REFERENCE_PYTHONS = ((3, 9), (3, 10), (3, 11))

_DISTRIBUTIONS = {
    "torch": ("torch",),
    "dali": ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "nvidia-dali-cuda110", "nvidia-dali"),
    "apex": ("apex",),
    "flash-attn": ("flash-attn", "flash_attn"),
    "transformer-engine": ("transformer-engine", "transformer_engine"),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "numpy": ("numpy",),
    "mlperf-logging": ("mlperf-logging",),
}


def requirements(implementation: str) -> list[str]:
    """Return what a bare base for CPUs needs, for a wheelhouse of both benchmarks."""
    if implementation == "reference":
        return [TENSORFLOW["cpu"], *REFERENCE]
    return sorted({needed for needs in NEEDS.values() for needed in needs.values()})


def missing(part: str) -> list[str]:
    """Return the requirements that this Python cannot import yet."""
    needs = NEEDS[part]
    return [needed for module, needed in needs.items() if not _importable(module)]


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def pip_options(packages: Path) -> list[str]:
    """Return how pip gets packages: from the wheels alone where there are some."""
    options = ["--no-cache-dir", "--disable-pip-version-check", "--no-warn-script-location"]
    wheels = packages / "wheels"
    if any(wheels.glob("*.whl")):
        options += ["--no-index", "--find-links", str(wheels)]
    else:
        options += ["--extra-index-url", TORCH_CPU]
    authority = packages / "ca.pem"
    if authority.is_file():
        options += ["--cert", str(authority)]
    return options


def install(part: str, implementation: str, accelerator: str, packages: Path) -> None:
    """Make the environment and fill it with what the base lacks."""
    if implementation == "reference":
        _install_reference(accelerator, packages)
        return
    _environment("--system-site-packages")
    if needed := missing(part):
        _pip(packages, "--constraint", str(packages / LOCK), *needed)
    if not _importable("mlperf_logging"):
        _install_logging(packages, LOCK)


def _install_reference(accelerator: str, packages: Path) -> None:
    if sys.version_info[:2] not in REFERENCE_PYTHONS:
        found = platform.python_version()
        sys.exit(f"TensorFlow 2.15.1 needs Python 3.9 to 3.11, the base has {found}; use another.")
    _environment()
    lock = str(packages / REFERENCE_LOCK)
    _pip(packages, "--constraint", lock, TENSORFLOW[accelerator], *REFERENCE)
    _install_logging(packages, REFERENCE_LOCK)


def _environment(*options: str) -> None:
    _run(sys.executable, "-m", "venv", "--without-pip", *options, ENVIRONMENT)
    Path(ENVIRONMENT, "inside.py").write_bytes(Path(__file__).read_bytes())


def _install_logging(packages: Path, lock: str) -> None:
    # Without its dependencies: pandas would bring another numpy over the base's.
    _pip(packages, "--no-deps", "--constraint", str(packages / lock), "mlperf-logging")


def _pip(packages: Path, *arguments: str) -> None:
    python = f"{ENVIRONMENT}/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    _run(*pip, *pip_options(packages), *arguments)


def _run(*command: str) -> None:
    # NGC images from 25.03 on constrain pip to their own versions, which breaks every other pin.
    environment = {**os.environ, "PIP_CONSTRAINT": ""}
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(f"failed: {shlex.join(command)}")


def versions() -> dict[str, str]:
    """Return the version of everything that can change a result, or that it is absent."""
    found = {"python": platform.python_version()}
    found |= {name: _distribution(names) for name, names in _DISTRIBUTIONS.items()}
    found |= {"cuda": ABSENT, "cudnn": ABSENT, "nccl": ABSENT}
    return found | _of_torch() | _of_tensorflow()


def _distribution(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ABSENT


def _of_torch() -> dict[str, str]:
    if not _importable("torch"):
        return {}
    torch = importlib.import_module("torch")
    cuda = torch.version.cuda
    if cuda is None:
        return {"torch": torch.__version__}
    nccl = importlib.import_module("torch.cuda.nccl").version()
    return {
        "torch": torch.__version__,
        "cuda": cuda,
        "cudnn": str(torch.backends.cudnn.version() or ABSENT),
        "nccl": ".".join(str(part) for part in nccl),
    }


def _of_tensorflow() -> dict[str, str]:
    if not _importable("tensorflow"):
        return {}
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    built = importlib.import_module("tensorflow").sysconfig.get_build_info()
    names = {"cuda": "cuda_version", "cudnn": "cudnn_version"}
    return {name: str(built[key]) for name, key in names.items() if key in built}


def main() -> None:
    """Install, or print versions or requirements."""
    parser = argparse.ArgumentParser(description="Runs inside an image that is being built.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("versions")
    lister = commands.add_parser("requirements")
    lister.add_argument("implementation", choices=("pytorch", "reference"))
    installer = commands.add_parser("install")
    installer.add_argument("part", choices=tuple(NEEDS))
    installer.add_argument("implementation", choices=("pytorch", "reference"))
    installer.add_argument("accelerator", choices=("cpu", "gpu"))
    chosen = parser.parse_args()
    if chosen.command == "install":
        packages = Path(__file__).resolve().parent
        install(chosen.part, chosen.implementation, chosen.accelerator, packages)
    elif chosen.command == "requirements":
        sys.stdout.write("".join(f"{needed}\n" for needed in requirements(chosen.implementation)))
    else:
        sys.stdout.write(json.dumps(versions(), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
