import copy

import pytest

from launcher.core import system
from launcher.core.benchmark import Benchmark

FIELDS = {
    "title": "Node (8x H200)",
    "submitter": "ACME",
    "division": "closed",
    "status": "Available on-premise",
    "accelerators": {"count": 8, "model": "H200", "memory_gib": 141},
}


def changed(path, value):
    fields = copy.deepcopy(FIELDS)
    *sections, last = path.split(".")
    section = fields
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return fields


def test_a_system_is_read():
    one = system.parse("node", FIELDS)
    assert (one.name, one.platform, one.log_status) == ("node", "1xNode (8x H200)", "onprem")
    assert one.accelerators == system.Accelerators(count=8, model="H200", memory_gib=141)
    assert (one.choices, one.proposed, one.source, one.placeholders) == ({}, None, FIELDS, ())


def test_the_description_has_the_33_keys_of_mlperf():
    description = system.parse("node", FIELDS).mlperf_description()
    assert len(description) == 33
    assert set(description) == {*system.DERIVED, *system.DESCRIPTION}
    assert description["accelerators_per_node"] == "8"
    assert description["accelerator_memory_capacity"] == "141 GiB"


def test_a_node_without_accelerators_needs_no_model():
    fields = FIELDS | {"accelerators": {"count": 0, "model": "", "memory_gib": 0}}
    assert system.parse("x", fields).mlperf_description()["accelerator_memory_capacity"] == ""


def test_choices_and_proposal_are_read():
    fields = FIELDS | {
        "platform": "P",
        "benchmarks": {
            "bert": {"preset": "safe", "hyperparameters": {"a": 1}, "training": {"b": 2}},
            "resnet": None,
        },
        "description": {"cooling": "air", "other_software_stack": {"cuda": "13"}},
        "proposed": {"resnet_seconds": 600, "bert_seconds": 300.5, "nodes": 1, "method": "m"},
    }
    one = system.parse("x", fields)
    assert one.platform == "P"
    assert one.choices[Benchmark.BERT] == system.Choice(
        preset="safe", hyperparameters={"a": 1}, training={"b": 2}
    )
    assert one.choices[Benchmark.RESNET].preset is None
    assert one.description["cooling"] == "air"
    assert one.proposed == system.Proposed(
        resnet_seconds=600, bert_seconds=300.5, nodes=1, method="m"
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("titel", "x", "titel is not a known key; did you mean title?"),
        ("zzzz", "x", "zzzz is not a known key; allowed: title"),
        ("division", "clsoed", "division is 'clsoed'; allowed: 'closed', 'open'"),
        ("division", ["closed"], "division is"),
        ("status", "onprem", "allowed: 'Available on-premise'"),
        ("title", 3, "title is 3; it must be a text"),
        ("submitter", "  ", "submitter is empty"),
        ("submitter", None, "submitter is missing"),
        ("accelerators", 8, "accelerators is 8; it must be a mapping"),
        ("accelerators.count", -1, "accelerators.count is -1; allowed: a whole number from 0"),
        ("accelerators.count", 8.0, "accelerators.count is 8.0"),
        ("accelerators.count", True, "accelerators.count is True"),
        ("accelerators.memory_gib", float("nan"), "allowed: a number from 0 to 4096"),
        ("accelerators.modell", "x", "accelerators.modell is not a known key; did you mean model"),
        ("benchmarks.bret", {}, "benchmarks.bret is not a known key; did you mean bert?"),
        ("benchmarks.bert.prest", "x", "benchmarks.bert.prest"),
        ("benchmarks.bert.preset", 1, "benchmarks.bert.preset is 1"),
        ("benchmarks.bert.training", 1, "benchmarks.bert.training is 1"),
        ("description.cooling", 1, "description.cooling is 1; it must be a text"),
        ("description.other_software_stack", 1, "description.other_software_stack is 1"),
        ("description.colling", "", "did you mean cooling?"),
        ("description.submitter", "x", "description.submitter is filled from"),
        ("proposed", {"nodes": 1}, "proposed.resnet_seconds is missing"),
        ("benchmarks.bert.training", {"x": object()}, "JSON cannot hold"),
    ],
)
def test_a_mistake_is_named_with_key_value_and_what_is_allowed(path, value, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is checked below
        system.parse("x", changed(path, value))
    assert said in str(caught.value)


def test_a_file_that_holds_no_mapping_is_refused():
    with pytest.raises(ValueError, match="the file is None"):
        system.parse("x", None)


@pytest.mark.parametrize("text", ["", "<your company>", "SUBMISSION_PLATFORM_PLACEHOLDER"])
def test_texts_nobody_filled_in_are_found(text):
    assert system.is_placeholder(text)
    assert not system.is_placeholder("ACME")


def test_a_system_names_its_placeholders():
    assert system.parse("x", changed("submitter", "<you>")).placeholders == ("submitter",)
