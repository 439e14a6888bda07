# ruff: noqa: INP001 - a script
"""Write the lock files: what this project asks for, resolved once, every version exact.

Run by `make lock`. They name no package index and carry no hash: torch comes as a local wheel,
from PyTorch's CPU index, or from a site's own mirror, and is the same version in each.
"""

import json
import subprocess  # noqa: TID251 - pip is a program
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"  # the newest that has been tried as a CPU wheel
LINUX_ONLY = ("nvidia-", "nvtx")
REQUIREMENTS = """\
# Every package of .venv and of the CPU images, exact. Written by `make lock`; do not edit.
# `torch` is the CPU build: a local wheel where pip finds one, else PyTorch's own CPU index.
"""
REFERENCE = """\
# Every package of the reference's own environment (TensorFlow on CPU, Python 3.9 to 3.11), exact.
# Written by `make lock`; do not edit. The GPU build takes CUDA's wheels as TensorFlow pins them.
"""


def main() -> None:
    """Resolve both environments in dry runs and write their locks."""
    launcher = (f"{ROOT}[rehearsal,data,dev]", f"torch=={TORCH}+cpu", "setuptools")
    write("requirements.lock", REQUIREMENTS, launcher)
    # absl 2.1.0 is what the patched flags were tried with.
    tensorflow = ("tensorflow-cpu==2.15.1", "numpy<2", "absl-py==2.1.0", "pyyaml", "nltk")
    write("reference.lock", REFERENCE, tensorflow, "mlperf-logging==4.1.68")


def write(name: str, header: str, wanted: tuple[str, ...], *without_dependencies: str) -> None:
    """Resolve requirements and write one lock."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *wanted],
        check=True,
        stdout=subprocess.PIPE,
    )
    found = {each["metadata"]["name"]: each for each in json.loads(done.stdout)["install"]}
    found.pop("gp2bm-mlperf-launcher", None)
    lines = [line(name, each["metadata"]["version"]) for name, each in found.items()]
    lines += without_dependencies
    (ROOT / name).write_text(header + "\n".join(sorted(lines, key=str.lower)) + "\n")


def line(name: str, version: str) -> str:
    """Return one line of a lock."""
    marker = '; sys_platform == "linux" and platform_machine == "x86_64"'
    only = marker if name.startswith(LINUX_ONLY) else ""
    return f"{name}=={version.partition('+')[0]}{only}"


if __name__ == "__main__":
    main()
