"""LARS, SGD and the schedule against the reference's equations, written again in float64 numpy."""

import numpy as np
import pytest
import torch

from image_classification.pytorch.lars import EPSILON, Lars
from image_classification.pytorch.schedule import Schedule
from image_classification.pytorch.sgd import Sgd

MOMENTUM, DECAY = 0.9, 2e-4
SCHEDULE = Schedule(base=8.5, end=1e-4, power=2, warmup_steps=6255, decay_steps=45037)
FIRST = 6200  # a step whose rate is far from 0, and the warm-up ends on the way
SHAPES = ((64, 3, 7, 7), (10,), (10, 64), (4, 4))  # the last one is all zero


def tensors(seed):
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=shape) for shape in SHAPES]
    arrays[-1] *= 0
    return arrays


def lars_step(w, v, g, rate, *, adapted):
    ratio = 1.0
    if adapted:
        wn, gn = np.sqrt((w * w).sum()), np.sqrt((g * g).sum())
        if wn > 0 and gn > 0:
            ratio = 0.001 * wn / (gn + DECAY * wn + 1e-7)
        g = g + DECAY * w
    v = MOMENTUM * v - rate * ratio * g
    return w + v, v


def sgd_step(w, v, g, rate, *, adapted):
    v = MOMENTUM * v - rate * (g + 2 * DECAY * w * adapted)
    return w + v, v


@pytest.mark.parametrize(
    ("kind", "equation", "scale"), [(Lars, lars_step, 1.0), (Sgd, sgd_step, 0.01)]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_ten_steps_follow_the_equation(kind, equation, scale, dtype, tolerance):
    adapted = [True, False, True, True]
    weights = tensors(0)
    velocities = [np.zeros_like(w) for w in weights]
    parameters = [torch.tensor(w, dtype=dtype) for w in weights]
    optimizer = kind(parameters, adapted, momentum=MOMENTUM, weight_decay=DECAY)
    for step in range(10):
        rate = SCHEDULE(FIRST + 10 * step) * scale
        gradients = tensors(step + 1)
        updated = [
            equation(w, v, g, rate, adapted=chosen)
            for w, v, g, chosen in zip(weights, velocities, gradients, adapted, strict=True)
        ]
        weights, velocities = [w for w, _ in updated], [v for _, v in updated]
        optimizer.step(
            [torch.tensor(g, dtype=dtype) for g in gradients], torch.tensor(rate, dtype=dtype)
        )
    for parameter, w in zip(parameters, weights, strict=True):
        error = np.abs(parameter.double().numpy() - w).max()
        assert error <= tolerance * max(1.0, np.abs(w).max())


def test_a_step_at_rate_zero_changes_nothing():
    parameters = [torch.ones(3, 3)]
    Lars(parameters, [True], momentum=0.9, weight_decay=DECAY).step(
        [torch.ones(3, 3)], torch.tensor(0.0)
    )
    assert torch.equal(parameters[0], torch.ones(3, 3))


def test_the_rate_is_inside_the_velocity():
    """With the rate outside, the second step would shrink the first one's momentum as well."""
    parameter = torch.zeros(1)
    sgd = Sgd([parameter], [True], momentum=0.5, weight_decay=0.0)
    sgd.step([torch.ones(1)], torch.tensor(1.0))
    sgd.step([torch.zeros(1)], torch.tensor(0.0))
    assert parameter.item() == -1.5


def test_the_effective_epsilon_is_not_the_logged_one():
    assert EPSILON == 1e-7


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (1, 0.00135891),
        (6254, 8.498641),
        (6255, 8.5),
        (6256, 8.499622),
        (30000, 1.8998996),
        (51290, 1.000168e-4),
        (51292, 1e-4),
        (60000, 1e-4),
    ],
)
def test_the_schedule_has_the_references_values(step, rate):
    assert SCHEDULE(step) == pytest.approx(rate, rel=3e-6)  # as printed
