"""A Docker engine and a tiny image, made of this machine's own shell; or the reason to skip."""

import io
import os
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

import docker
import pytest

from launcher.engine.docker import DockerEngine
from launcher.errors import EngineError

TOOLS = ("sh", "cat", "date", "head", "printf", "sleep", "tr")


def _rootfs() -> bytes:
    """Pack the shell, a few tools and the libraries they load: an image without any registry."""
    packed, names = io.BytesIO(), set()
    with tarfile.open(fileobj=packed, mode="w") as tar:

        def add(source, name):
            if name not in names:
                names.add(name)
                tar.add(os.path.realpath(source), arcname=name.lstrip("/"))

        for tool in TOOLS:
            place = shutil.which(tool)
            add(place, f"/bin/{tool}")
            listed = subprocess.run(["ldd", place], check=True, capture_output=True, text=True)
            for library in (word for word in listed.stdout.split() if word.startswith("/")):
                add(library, library)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    return packed.getvalue()


@pytest.fixture(scope="session")
def client():
    """Return a client of the Docker engine, or skip."""
    try:
        DockerEngine().close()
    except EngineError as error:
        pytest.skip(f"no Docker engine: {error}")
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(client, tmp_path_factory) -> str:
    """Import an image with a shell; removed at the end."""
    if any(shutil.which(tool) is None for tool in (*TOOLS, "ldd")):
        pytest.skip(f"the image is made of this machine's {', '.join(TOOLS)} and ldd")
    tag = uuid.uuid4().hex[:8]
    rootfs = Path(tmp_path_factory.mktemp("image"), "rootfs.tar")
    rootfs.write_bytes(_rootfs())
    client.api.import_image_from_file(str(rootfs), repository="enginetest/shell", tag=tag)
    yield f"enginetest/shell:{tag}"
    client.images.remove(f"enginetest/shell:{tag}", force=True)


@pytest.fixture
def label(client):
    """Return a run set's id of its own; what it leaves behind is removed."""
    identity = uuid.uuid4().hex
    yield identity
    for left in client.containers.list(all=True, filters={"label": f"gp2bm.set={identity}"}):
        left.remove(v=True, force=True)
