import dataclasses
import json

import pytest

from launcher.core import plan as plans
from launcher.core.benchmark import Benchmark

PLAN = plans.Plan(
    benchmark=Benchmark.BERT,
    implementation="pytorch",
    rehearsal=True,
    created="2026-01-01T00:00:00Z",
    launcher_version="0.1.0",
    seeds=(1, 2),
    seed_source="os.urandom",
    engine="process",
    image=None,
    source={},
    system={},
    preset="rehearsal",
    hyperparameters={"global_batch_size": 8},
    hyperparameters_sha256="0" * 64,
    container={},
    host={},
    dataset=None,
)


def test_a_plan_survives_the_round_trip():
    assert plans.loads(plans.dumps(PLAN)) == PLAN


def test_the_required_number_of_runs_is_the_rules_not_the_plans():
    assert PLAN.required_runs == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "colour"),
        ({"schema": 99}, "schema"),
        ({"seeds": ["x"]}, "seeds"),
        ({"benchmark": "resnet50"}, "resnet50"),
    ],
)
def test_an_altered_plan_is_refused_by_the_key(change, said):
    fields = json.loads(plans.dumps(PLAN)) | change
    with pytest.raises(ValueError, match=said):
        plans.loads(json.dumps(fields))


def test_a_missing_key_is_named():
    fields = json.loads(plans.dumps(PLAN))
    del fields["seeds"]
    with pytest.raises(ValueError, match="seeds"):
        plans.loads(json.dumps(fields))


def test_a_plan_must_be_an_object():
    with pytest.raises(ValueError, match="object"):
        plans.loads("[]")


def test_a_plan_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.rehearsal = False
