"""Images are really built here, from a bare base and packages too small to matter."""

import json
import uuid
import zipfile

import pytest

from launcher import bundle, git, imagelabels, images, inside, paths, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import EngineError

BASE = "gp2bm-base:bookworm"
TORCH = "__version__ = 'small'\nclass version: cuda = None\n"

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def lock() -> dict[str, str]:
    lines = (paths.ROOT / "requirements.lock").read_text().splitlines()
    pairs = (line.partition(";")[0].split("==") for line in lines if "==" in line)
    return {name.lower(): version for name, version in pairs}


def wheel(folder, name, module, content=""):
    """Write the smallest wheel of a locked version."""
    version = lock()[name]
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as packed:
        info = f"{stem}.dist-info"
        packed.writestr(f"{module.replace('.', '/')}/__init__.py", content)
        packed.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        packed.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return a wheelhouse whose packages hold nothing."""
    folder = tmp_path_factory.mktemp("wheels")
    for module, name in (pair for needs in inside.NEEDS.values() for pair in needs.items()):
        wheel(folder, name, module, TORCH if module == "torch" else "")
    wheel(folder, "mlperf-logging", "mlperf_logging")
    return folder


@pytest.fixture
def tag(client):
    """Return a name for an image, which is removed at the end."""
    name = f"gp2bm-test/{uuid.uuid4().hex[:8]}:latest"
    yield name
    for image in client.images.list(name):
        client.images.remove(image.id, force=True)


@pytest.fixture
def request_of(client, wheels, tag, tmp_path, monkeypatch):
    """Return what makes a request for a small image on the bare base, with the network denied."""
    if not client.images.list(BASE):
        pytest.skip(f"no base image {BASE}: run .ci/base-image {BASE}")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    (tmp_path / "build").mkdir()

    def make(benchmark, **changes):
        options = {
            "benchmark": benchmark,
            "base_image": BASE,
            "overlay_only": True,
            "network": "none",
            "wheelhouse": wheels,
            "tag": tag,
            "accelerator": "cpu",
        }
        return images.Request(**options | changes)

    return make


@pytest.mark.parametrize("benchmark", Benchmark)
def test_an_image_is_built_labelled_and_left_alone_the_second_time(request_of, benchmark, client):
    request = request_of(benchmark)
    first = images.build(request, print)
    again = images.build(request, print)
    assert (first.fresh, again.fresh) == (True, False)
    assert first.image == again.image
    image, stale = images.check(request.name, benchmark, rehearsal=True)
    versions = json.loads(image.labels[imagelabels.VERSIONS])
    assert stale == ()
    assert versions["torch"] == "small"
    assert versions["apex"] == "absent"
    assert image.labels[imagelabels.BASE_DIGEST] == client.images.get(BASE).id
    assert image.facts()["labels"][imagelabels.OVERLAY_ONLY] == "true"


def test_an_image_without_the_reference_is_refused_for_a_result(request_of):
    request = request_of(Benchmark.BERT)
    images.build(request, print)
    with pytest.raises(EngineError, match="only a rehearsal"):
        images.check(request.name, Benchmark.BERT, rehearsal=False)
    _, stale = images.check(request.name, Benchmark.BERT, rehearsal=False, allow_stale=True)
    assert len(stale) == 1


def test_any_user_can_run_the_tree_without_network(request_of, client):
    request = request_of(Benchmark.BERT)
    images.build(request, print)
    said = client.containers.run(
        request.name,
        ["python", "-c", "import os, mlperf_logging; print(os.getcwd(), os.listdir('.'))"],
        user="1234:1234",
        network_mode="none",
        read_only=True,
        remove=True,
    )
    assert b"/workspace/training/language_model/pytorch/bert" in said


def test_a_step_that_fails_keeps_its_words(request_of, tmp_path):
    (tmp_path / "few").mkdir()
    wheel(tmp_path / "few", "numpy", "numpy")
    said = []
    with pytest.raises(EngineError, match=r"inside\.py install"):
        images.build(request_of(Benchmark.BERT, wheelhouse=tmp_path / "few"), said.append)
    assert "ERROR: ResolutionImpossible" in "\n".join(said)


@pytest.mark.reference
def test_a_bundle_builds_the_full_image_with_all_networking_denied(
    request_of, wheels, tmp_path, request
):
    place = str(request.getfixturevalue("reference"))
    made = bundle.create(
        tmp_path / "bundle",
        place=place,
        wheelhouse=wheels,
        base_image=BASE,
        checkout=clean_checkout(tmp_path),
        on_progress=print,
    )
    bundle.load_base(made)
    wanted = request_of(
        Benchmark.BERT,
        base_image=made.base_image,
        reference=str(made.reference),
        wheelhouse=made.wheels,
        overlay_only=False,
    )
    built = images.build(wanted, print)
    tree = reference.load().subtrees[Benchmark.BERT].tree
    assert built.image.labels[imagelabels.REFERENCE_TREE] == tree
    assert images.check(wanted.name, Benchmark.BERT, rehearsal=False)[1] == ()


def clean_checkout(tmp_path):
    git.initialise(tmp_path / "checkout")
    git.git(tmp_path / "checkout", "commit", "-q", "--allow-empty", "-m", "launcher")
    return tmp_path / "checkout"


def test_a_base_that_cannot_be_had_is_named(request_of):
    with pytest.raises(EngineError, match="localhost:1/nobody:none is not here"):
        images.build(request_of(Benchmark.BERT, base_image="localhost:1/nobody:none"), print)


@pytest.mark.usefixtures("client")
def test_an_image_that_is_not_there_says_how_to_build_it():
    with pytest.raises(EngineError, match="launcher images build"):
        images.check("nobody/nothing", Benchmark.BERT, rehearsal=True)
