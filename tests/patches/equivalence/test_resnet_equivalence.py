"""Our ResNet-50 against the reference itself, by numbers that the reference computed.

goldens/resnet.npz is written by make_resnet_goldens.py under TensorFlow 2.15.1; both sides build
the same weights and batches from inputs.py.
"""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

import inputs  # noqa: E402

from image_classification.pytorch import crops, lars, model, schedule, sgd  # noqa: E402
from image_classification.pytorch.config import Model  # noqa: E402

GOLDENS = Path(__file__).parent / "goldens/resnet.npz"
SIZES = Model(classes=1000, image_size=224, stages=(3, 4, 6, 3), width=64, resize_size=256)
BRANCHES = {"conv_a": "branch2a", "conv_b": "branch2b", "conv_c": "branch2c"}
KERAS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"} | {
    "running_var": "moving_variance"
}


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS) as file:
        return dict(file)


def keras_name(name: str) -> str:
    """stages.1.0.conv_b.weight -> res3a_branch2b/kernel."""
    *path, kind = name.split(".")
    if path[0] == "head":
        return f"fc1000/{'kernel' if kind == 'weight' else 'bias'}"
    if path[0] == "stem":
        return "conv1/kernel" if path[1] == "conv" else f"bn_conv1/{KERAS[kind]}"
    stage, block, layer = int(path[1]) + 2, "abcdef"[int(path[2])], path[3]
    part = layer.removeprefix("conv_").removeprefix("bn_")
    branch = "branch1" if part == "shortcut" else f"branch2{part}"
    if layer.startswith("conv"):
        return f"res{stage}{block}_{branch}/kernel"
    return f"bn{stage}{block}_{branch}/{KERAS[kind]}"


def to_keras(value):
    """Turn a convolution OIHW into HWIO and a dense kernel [out, in] into [in, out]."""
    if value.ndim == 4:
        return value.permute(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def from_keras(value):
    value = torch.from_numpy(value)
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value


def network(dtype):
    """Return our network with the weights of inputs.py."""
    net = model.ResNet(SIZES).to(dtype)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            shape = tuple(to_keras(tensor).shape)
            tensor.copy_(from_keras(inputs.resnet_variable(keras_name(name), shape)))
    return net


def images(dtype):
    return torch.from_numpy(inputs.resnet_images()).permute(0, 3, 1, 2).to(dtype)


@pytest.fixture(scope="module")
def trained():
    """One forward and backward pass in float64: the loss and every gradient."""
    net = network(torch.float64).train()
    labels = torch.from_numpy(inputs.resnet_labels())
    loss = torch.nn.functional.cross_entropy(
        net(images(torch.float64)), labels, label_smoothing=inputs.RESNET_SMOOTHING
    )
    loss.backward()
    return loss.item(), {name: value.grad for name, value in net.named_parameters()}


@pytest.mark.slow
def test_the_loss_is_the_references(trained, goldens):
    assert trained[0] == pytest.approx(float(goldens["train/loss"]), rel=1e-6)


@pytest.mark.slow
def test_every_gradient_is_the_references(trained, goldens):
    gradients = trained[1]

    assert len(gradients) == 161
    for name, gradient in gradients.items():
        keras = keras_name(name)
        norm, component = goldens[f"gradient/{keras}"]
        ours = to_keras(gradient).numpy()
        assert np.linalg.norm(ours) == pytest.approx(norm, rel=1e-6), name
        along = np.vdot(ours, inputs.probe(keras, ours.shape))
        assert along == pytest.approx(component, abs=1e-6 * norm), name


@pytest.mark.slow
def test_evaluation_gives_the_references_logits(goldens):
    net = network(torch.float64).eval()
    with torch.no_grad():
        logits = net(images(torch.float64)).numpy()

    expected = goldens["eval/logits"]
    assert np.abs(logits - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.slow
def test_symmetric_padding_is_another_network(goldens):
    """The comparison above can fail: the padding of past submissions misses the golden logits."""
    net = model.ResNet(SIZES, padding="symmetric").double().eval()
    net.load_state_dict(network(torch.float64).state_dict())
    with torch.no_grad():
        logits = net(images(torch.float64)).numpy()

    expected = goldens["eval/logits"]
    assert np.abs(logits - expected).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.slow
def test_running_statistics_after_a_step_are_the_references(goldens):
    net = network(torch.float32).train()
    with torch.no_grad():
        net(images(torch.float32))

    state = net.state_dict()
    compared = [name for name in state if f"moving/{keras_name(name)}" in goldens]
    assert len(compared) == 4
    for name in compared:
        expected = goldens[f"moving/{keras_name(name)}"]
        assert np.abs(state[name].numpy() - expected).max() <= 2e-5 * np.abs(expected).max(), name


def test_initial_weights_have_the_references_spread(goldens):
    net = model.ResNet(SIZES)
    model.initialise(net, torch.Generator().manual_seed(1))
    ours = {keras_name(name): value for name, value in net.named_parameters()}
    compared = [key.removeprefix("initial/") for key in goldens if key.startswith("initial/")]
    assert len(compared) == 3
    for name in compared:
        value = to_keras(ours[name])
        unit = 0.01 if name.startswith("fc") else (2.0 / np.prod(value.shape[:-1])) ** 0.5
        std, largest = goldens[f"initial/{name}"]
        assert value.std().item() / unit == pytest.approx(std, rel=5e-3), name
        # Truncated at two sigma of the drawn normal; the dense kernel is not truncated.
        assert value.abs().max().item() / unit == pytest.approx(largest, rel=0.15), name


def reference_schedule(chosen):
    warmup = chosen["warmup_epochs"] * chosen["steps_per_epoch"]
    return schedule.Schedule(
        base=chosen["base"],
        end=chosen["end"],
        power=2.0,
        warmup_steps=warmup,
        decay_steps=chosen["epochs"] * chosen["steps_per_epoch"] - warmup + 1,
    )


@pytest.mark.parametrize("index", range(len(inputs.RESNET_SCHEDULES)))
def test_every_learning_rate_is_the_references(index, goldens):
    rate = reference_schedule(inputs.RESNET_SCHEDULES[index])
    ours = [rate(step) for step in inputs.RESNET_SCHEDULE_STEPS]

    assert ours == pytest.approx(goldens[f"schedule/{index}"].tolist(), rel=2e-5)


def trajectory(optimizer_of):
    """Weights after each of the ten updates, by step and Keras name."""
    names = list(inputs.LARS_VARIABLES)
    weights = [torch.from_numpy(inputs.lars_weight(name)).float() for name in names]
    optimizer = optimizer_of(weights, names)
    rate = reference_schedule(inputs.RESNET_SCHEDULES[2])
    for step in range(inputs.LARS_STEPS):
        gradients = [torch.from_numpy(inputs.lars_gradient(name, step)).float() for name in names]
        optimizer.step(gradients, torch.tensor(rate(inputs.LARS_FIRST_ITERATION + step)))
        for name, weight in zip(names, weights, strict=True):
            yield f"{step}/{name}", weight.numpy()


def test_ten_lars_updates_are_the_references(goldens):
    def build(weights, names):
        skip = ("batch_normalization", "bias", "bn")  # common.py:228
        adapted = [not any(part in name for part in skip) for name in names]
        return lars.Lars(weights, adapted, momentum=0.9, weight_decay=2e-4)

    for key, ours in trajectory(build):
        expected = goldens[f"lars/{key}"]
        assert np.abs(ours - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1e-6), key


def test_ten_sgd_updates_are_the_references(goldens):
    def build(weights, names):
        return sgd.Sgd(
            weights, ["bn" not in name for name in names], momentum=0.9, weight_decay=2e-4
        )

    for key, ours in trajectory(build):
        expected = goldens[f"sgd/{key}"]
        assert np.abs(ours - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1e-6), key


def test_our_names_choose_the_tensors_that_the_reference_adapts():
    net = model.ResNet(SIZES)
    adapted = [name for name, _ in net.named_parameters() if model.adapted(name)]

    assert len(adapted) == 54
    assert all(keras_name(name).endswith("kernel") for name in adapted)
    decayed = [name for name, _ in net.named_parameters() if model.decayed_by_sgd(name)]
    assert len(decayed) == 55


@pytest.mark.parametrize("size", [(375, 500), (500, 500)])
def test_training_crops_have_the_references_distribution(size, goldens):
    draws = 6000
    sizes = np.tile(np.array(size), (draws, 1))
    windows = crops.training(
        sizes,
        crops.draw(np.random.default_rng(7), draws),
        224,
        area=(0.05, 1.0),
        flip_probability=0.5,
    )
    area = windows.shapes.prod(axis=1) / (size[0] * size[1])
    aspect = windows.shapes[:, 1] / windows.shapes[:, 0]
    quantiles = np.linspace(0, 1, 21)
    expected = goldens[f"crop/{size[0]}x{size[1]}"]

    # Two samples of 6,000: quantiles agree to about three standard errors.
    assert np.abs(np.quantile(area, quantiles) - expected[:21])[:-1].max() < 0.03
    assert np.abs(np.quantile(aspect, quantiles) - expected[21:42]).max() < 0.02
    assert area.mean() == pytest.approx(expected[42], abs=0.012)
    assert aspect.mean() == pytest.approx(expected[43], abs=0.01)


@pytest.mark.parametrize(("name", "size"), [("wide", (281, 397)), ("tall", (351, 262))])
def test_evaluation_pixels_are_the_references(name, size, goldens):
    data = pytest.importorskip("image_classification.pytorch.data", exc_type=ImportError)
    picture = inputs.integers(f"picture.{name}", (*size, 3), 0, 256).astype(np.uint8)
    file = io.BytesIO()
    image.fromarray(picture).save(file, "PNG")  # lossless: JPEG decoders are not what is compared
    windows = crops.evaluation(np.array([size]), 224, 256)
    encoded = [np.frombuffer(file.getvalue(), np.uint8)]
    item = (encoded, windows.starts, windows.shapes, windows.grids, np.zeros(1, np.int64))
    loading = data.Loading(
        batch=1,
        image_size=224,
        device=torch.device("cpu"),
        dtype=torch.float32,
        threads=1,
        hardware_decoder_load=0.0,
    )
    loader = data.Loader(None, itertools.repeat((np.zeros(1, np.int64), item)), loading)
    loader.begin()
    pixels, labels = torch.empty(1, 224, 224, 3), torch.empty(1, dtype=torch.int64)
    for _ in range(data.DEPTH + 1):  # what was queued before `begin` is synthetic
        loader.load(pixels, labels)

    # Pictures of pure noise are the worst case: neighbours differ by up to 255, so that the 7e-4 of
    # a pixel by which DALI's warp rounds positions show as 0.18 levels at most (measured).
    difference = np.abs(pixels[0].numpy() - goldens[f"evaluation/{name}"])
    assert difference.max() < 0.25
    assert difference.mean() < 0.05
