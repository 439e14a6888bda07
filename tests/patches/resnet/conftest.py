import pytest
import torch
import yaml

from tests.patches.resnet import runs

torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other


@pytest.fixture
def document():
    return yaml.safe_load(runs.render())


@pytest.fixture
def real_document():
    return yaml.safe_load(runs.render(rehearsal=False, accelerators=8))


@pytest.fixture(scope="session")
def bright(tmp_path_factory):
    """A data set of ten classes that tell themselves apart by brightness."""
    root = tmp_path_factory.mktemp("bright")
    runs.write_folders(root, "train", [6] * 10)
    runs.write_folders(root, "validation", [3] + [2] * 9, seed=1)
    return root
