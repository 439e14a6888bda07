import pytest
import torch

from image_classification.pytorch import build, config, evaluate
from pytorch_common.failure import RunError

BATCH = 4


@pytest.fixture
def evaluation(document):
    network = build.model(config.parse(document), torch.device("cpu"), seed=1)
    return evaluate.Evaluation(network, batch=BATCH, image_size=28, input_dtype=torch.float32)


class Batches:
    """Noise whose labels are what the network says of it, but for as many as are to be wrong."""

    def __init__(self, evaluation, *, samples, wrong):
        self.model, self.left, self.wrong = evaluation._model, samples, wrong
        self.generator = torch.Generator().manual_seed(0)

    def load(self, images, labels):
        images.copy_(torch.randn(images.shape, generator=self.generator) * 50)
        with torch.no_grad():
            labels.copy_(self.model(images.permute(0, 3, 1, 2)).argmax(dim=1))
        wrong = min(self.wrong, BATCH)
        labels[:wrong] = (labels[:wrong] + 1) % 10
        labels[self.left :] = -1
        self.wrong -= wrong
        self.left = max(0, self.left - BATCH)


def test_accuracy_is_the_share_of_images_whatever_fills_the_last_batch(evaluation):
    batches = Batches(evaluation, samples=10, wrong=3)
    assert evaluation(batches, 3, 10) == pytest.approx(0.7)


def test_a_wrong_number_of_images_ends_the_run(evaluation):
    with pytest.raises(RunError, match=r"counted 10 of 12 images; restore validation/"):
        evaluation(Batches(evaluation, samples=10, wrong=0), 3, 12)


def test_a_graph_judges_when_it_counts_as_the_plain_way_does(evaluation, monkeypatch):
    replays = []

    def capture(parts):
        return [lambda: (replays.append(1), parts[0]())]

    monkeypatch.setattr(evaluate.graphs, "capture", capture)
    assert evaluation.capture().passed
    replays.clear()
    assert evaluation(Batches(evaluation, samples=10, wrong=3), 3, 10) == pytest.approx(0.7)
    assert len(replays) == 3


def forbidden(_):
    raise RuntimeError("operation not permitted when stream is capturing")


def stale(_):
    return [lambda: None]


@pytest.mark.parametrize("capture", [forbidden, stale])
def test_without_a_graph_the_plain_way_judges(evaluation, monkeypatch, capture):
    monkeypatch.setattr(evaluate.graphs, "capture", capture)
    assert not evaluation.capture().passed
    assert evaluation(Batches(evaluation, samples=10, wrong=3), 3, 10) == pytest.approx(0.7)
