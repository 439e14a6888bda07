"""Each forgery is caught by name, and nothing of a response is ever executed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher import (
    answer,
    check,
    filetree,
    patchqueue,
    response,
    verify,
)
from launcher.core.benchmark import Benchmark
from launcher.paths import ROOT
from launcher.verify.claims import Verdict
from tests import recorded
from tests.verify import forgeries
from tests.verify.forger import Forger
from tests.verify.forgeries import BERT, RESNET

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A response, laid out as a folder, in which everything agrees."""
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    results = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        source = {
            "tree": filetree.tree_id(patchqueue.overlay(benchmark)),
            "patches_sha256": patchqueue.digest(benchmark).sha256,
        }
        recorded.write(results / benchmark.value, benchmark, source=source)
    root = tmp_path_factory.mktemp("honest") / "response"
    found = answer.load([results], answer.unasked)
    order = response.Order(template=TEMPLATE.read_bytes(), reference=None, draft=False)
    response.stage(found, found.system, order, root, report=lambda _: "<!DOCTYPE html>")
    return root


@pytest.fixture
def forger(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "response")
    return Forger(tmp_path / "response")


@pytest.fixture
def nothing_starts(monkeypatch):
    """Make the test fail if anything at all is executed."""

    def started(*_, **__):
        raise AssertionError("verify started a program")

    monkeypatch.setattr(subprocess, "Popen", started)
    for name in ("system", "posix_spawn", "execv", "execve", "fork"):
        monkeypatch.setattr(os, name, started)


def differing(root, referee=answer.unasked):
    found = verify.verify(root, referee=referee)
    return {claim.name for claim in found.claims if claim.verdict is Verdict.DIFFERS}


def inventory(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("nothing_starts")
def test_nothing_differs_in_an_honest_response(honest):
    assert differing(honest) == set()


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(("attempt", "claim"), forgeries.ATTEMPTS)
def test_an_attempt_is_caught_by_name(forger, tmp_path, attempt, claim):
    attempt(forger)
    forger.sign()
    before = inventory(tmp_path)
    found = differing(forger.root)
    assert claim in found
    assert inventory(tmp_path) == before  # looking changes nothing


def altered_file(forger):
    path = forger.root / "README.md"
    path.write_text(path.read_text() + " ")


def unlisted_file(forger):
    (forger.root / "solution/note.txt").write_text("hello")


def missing_file(forger):
    (forger.root / "solution/versions.json").unlink()


def emptied_manifest(forger):
    (forger.root / "MANIFEST.sha256").write_text("")


@pytest.mark.parametrize("attempt", [altered_file, unlisted_file, missing_file, emptied_manifest])
def test_a_change_behind_the_manifests_back_is_caught(forger, attempt):
    attempt(forger)
    assert "manifest" in differing(forger.root)


def test_a_log_cannot_have_rules_of_its_own_executed(forger, tmp_path):
    """mlperf-logging would load and execute a YAML file named by submission_division."""
    proof = tmp_path / "executed"
    rules = f"- KEY:\n    NAME: seed\n    POST: \" open({str(proof)!r}, 'w') \"\n"
    (tmp_path / "response/evil_common.yaml").write_text(rules)
    away = "../" * 12 + str(tmp_path / "response/evil").lstrip("/")
    change = forgeries.replace(
        b'"submission_division", "value": "closed"',
        f'"submission_division", "value": "{away}"'.encode(),
    )
    forger.edit_log(RESNET, 0, change, cover=True)
    forger.sign()
    assert "compliance" in differing(forger.root, check.check)
    assert not proof.exists()


def test_a_program_in_the_package_is_never_started(forger, tmp_path, monkeypatch):
    proof = tmp_path / "executed"
    text = f"open({str(proof)!r}, 'w')\n"
    for name in ("sitecustomize.py", "conftest.py", "mlperf_logging.py", "launcher.py", "json.py"):
        (forger.root / name).write_text(text)
        (forger.run(BERT, 0) / name).write_text(text)
    monkeypatch.chdir(forger.root)
    verify.verify(Path(), referee=check.check)
    assert not proof.exists()


@pytest.fixture
def complete(honest, reference, tmp_path):
    """A response with the whole source tree, reference included."""
    shutil.copytree(honest, tmp_path / "response")
    forger = Forger(tmp_path / "response")
    for benchmark in Benchmark:
        tree = forgeries.source(forger, benchmark)
        shutil.rmtree(tree)
        patchqueue.materialise(benchmark, tree, place=str(reference))
        shutil.rmtree(tree / ".git")
    forger.sign()
    return forger


def claimed(forger, reference):
    found = verify.verify(forger.root, referee=answer.unasked, reference=str(reference))
    return [claim for claim in found.claims if claim.name.startswith("source.")]


@pytest.mark.reference
@pytest.mark.slow
def test_with_the_reference_the_source_is_what_its_patches_make(complete, reference):
    told = claimed(complete, reference)
    made = [claim.verdict for claim in told if claim.name == "source.patches-apply"]
    assert made == [Verdict.AGREES] * 2
    [bert] = [c.message for c in told if c.name == "source.diffstat" and "bert" in c.where]
    assert "files added" in bert


@pytest.mark.reference
@pytest.mark.slow
def test_with_the_reference_one_altered_line_of_it_is_named(complete, reference):
    path = next(forgeries.source(complete, RESNET).glob("image_classification/**/resnet_model.py"))
    path.write_text(path.read_text() + "# faster\n")
    [wrong] = [
        claim.message
        for claim in claimed(complete, reference)
        if claim.name == "source.patches-apply" and claim.verdict is Verdict.DIFFERS
    ]
    assert wrong.endswith("resnet_model.py is not what reference and patches make")
