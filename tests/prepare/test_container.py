"""The reference's scripts in a container: no network, only the paths they need, nothing left."""

import uuid
from pydoc_data.topics import topics

import docker
import pytest

from launcher import dataset
from launcher.errors import EngineError, HostError
from launcher.prepare import container, inspection, prose, wikipedia
from launcher.prepare.work import Crew

pytestmark = [pytest.mark.docker, pytest.mark.slow]
REFERENCE = "gp2bm/bert-reference:latest"
WITH_PYTHON = (REFERENCE, "gp2bm/bert:latest", "gp2bm/resnet:latest", "gp2bm-base:bookworm")
LOOK = """
import os, socket, sys
assert open("{source}/text").read() == "in"
open("{made}/out", "w").write("made")
try:
    open("{source}/more", "w")
except OSError:
    print("read-only")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
except OSError:
    print("no network")
sys.exit(3)
"""


@pytest.fixture(scope="module")
def engine():
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException:
        pytest.skip("no Docker engine answers")
    yield client
    client.close()


def image_of(engine, names):
    for name in names:
        try:
            engine.images.get(name)
        except docker.errors.ImageNotFound:
            continue
        return name
    return pytest.skip(f"none of these images is here: {', '.join(names)}")


def test_a_script_sees_its_paths_and_no_network_and_its_failure_is_quoted(engine, tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    (source / "text").write_text("in")
    command = ("python3", "-c", LOOK.format(source=source, made=made))
    label = uuid.uuid4().hex
    with pytest.raises(HostError, match=r"ended with code 3: read-only \| no network; mend"):
        container.run(
            image_of(engine, WITH_PYTHON), command, reads=[source], writes=made, label=label
        )
    assert (made / "out").read_text() == "made"
    assert not (source / "more").exists()
    labels = {"label": f"{container.LABEL}={label}"}
    assert engine.containers.list(all=True, filters=labels) == []


def test_containers_of_a_killed_launcher_are_swept_up_and_others_stay(engine):
    image, ours, other = image_of(engine, WITH_PYTHON), uuid.uuid4().hex, uuid.uuid4().hex
    for label in (ours, other):
        engine.containers.create(image, ["sleep", "60"], labels={container.LABEL: label})
    container.sweep(ours)
    left = {
        label: len(
            engine.containers.list(all=True, filters={"label": f"{container.LABEL}={label}"})
        )
        for label in (ours, other)
    }
    container.sweep(other)
    assert left == {ours: 0, other: 1}


def test_an_image_that_is_not_here_is_named(engine):
    del engine
    with pytest.raises(EngineError, match="no/such:image"):
        container.check("no/such:image")


def test_text_becomes_rows_in_the_reference_image(engine, tmp_path):
    image = image_of(engine, [REFERENCE])
    source = tmp_path / "source"
    source.mkdir()
    texts = [text for _, text in sorted(topics.items())]
    (source / "vocab.txt").write_text("\n".join(prose.vocabulary(texts, 2000)) + "\n")
    articles = ["\n".join(prose.sentences(text)) for text in texts[:12]]
    (source / "part-00000-of-00500").write_text("\n\n".join(articles[:9]))
    (source / "eval.txt").write_text("\n\n".join(articles[9:]))
    data = tmp_path / "data"
    wikipedia.prepare(
        wikipedia.Options(source=source, crew=Crew(root=data), image=image, rehearsal=True)
    )
    manifest, _ = dataset.read(data)
    assert all(split.samples > 20 for split in manifest.splits)
    assert inspection.full(data, manifest) == []
    labels = {"label": f"{container.LABEL}={data.absolute()}"}
    assert engine.containers.list(all=True, filters=labels) == []
