"""Whatever bytes a package holds, verify answers with claims or one error, never a traceback."""

import json
import random
import shutil

import pytest

from launcher import answer, check, filetree, package, patchqueue, response, verify
from launcher.core.benchmark import Benchmark
from launcher.errors import LauncherError
from launcher.paths import ROOT
from launcher.verify import source
from launcher.verify.claims import Verdict
from tests import recorded

pytestmark = pytest.mark.slow
TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"
ODD = [None, True, -1, 1e308, "", "x" * 300, "../../etc/passwd", [], [[]], {}, {"run": [1]}, "\x00"]
ODD += [768.0]
# What the ledger would not write, a forger still can in a file of JSON.
WORSE = [*ODD, "\ud800", 10**400, -(10**400), json.loads("[" * 900 + "]" * 900)]
FILES = [
    "ledger/bert/plan.json",
    "ledger/bert/ledger.jsonl",
    "ledger/bert/run_3/exit.json",
    "ledger/bert/run_3/result.txt",
    "ledger/bert/run_3/telemetry.jsonl",
    "solution/scores.json",
    "MANIFEST.sha256",
    "Benchmark_Results.xlsx",
    "patches/bert/series",
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    results = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        tree = filetree.tree_id(patchqueue.overlay(benchmark))
        recorded.write(results / benchmark.value, benchmark, source={"tree": tree})
    root = tmp_path_factory.mktemp("honest") / "response"
    found = answer.load([results], answer.unasked)
    order = response.Order(template=TEMPLATE.read_bytes(), reference=None, draft=False)
    response.stage(found, found.system, order, root, report=lambda _: "<!DOCTYPE html>")
    return root


def examined(root, referee=answer.unasked):
    try:
        return json.dumps(verify.verify(root, referee=referee).as_json(), allow_nan=False)
    except LauncherError as error:
        return str(error)


@pytest.mark.parametrize("name", FILES)
def test_flipped_and_missing_bytes_never_raise(honest, tmp_path, name):
    root = tmp_path / "response"
    shutil.copytree(honest, root)
    whole = (root / name).read_bytes()
    draw = random.Random(name)  # noqa: S311 - a test repeats itself on purpose
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        del data[draw.randrange(len(data)) :: draw.choice([1, len(data) + 1])]
        (root / name).write_bytes(bytes(data))
        assert examined(root)


def leaves(value, path=()):
    """Yield the way to every value of a JSON document."""
    yield path
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(below, (*path, key))


def put(document, path, value):
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


@pytest.mark.parametrize("referee", [answer.unasked, check.check], ids=["alone", "checked"])
def test_a_plan_with_any_value_anywhere_never_raises(honest, tmp_path, referee):
    root = tmp_path / "response"
    shutil.copytree(honest, root)
    path = root / "ledger/bert/plan.json"
    whole = path.read_text()
    draw = random.Random(7)  # noqa: S311 - a test repeats itself on purpose
    ways = [way for way in leaves(json.loads(whole)) if way]
    for way in draw.sample(ways, 60 if referee is answer.unasked else 8):
        document = json.loads(whole)
        put(document, way, draw.choice(WORSE))
        path.write_text(json.dumps(document))
        assert examined(root, referee)


def test_a_ledger_with_any_payload_never_raises(honest, tmp_path):
    root = tmp_path / "response"
    shutil.copytree(honest, root)
    path = root / "ledger/resnet/ledger.jsonl"
    whole = path.read_text()
    draw = random.Random(11)  # noqa: S311 - a test repeats itself on purpose
    for _ in range(40):
        path.write_text(whole)

        def change(records):
            record = draw.choice(records)
            ways = [way for way in leaves(record["payload"]) if way]
            put(record["payload"], draw.choice(ways), draw.choice(ODD))
            return records

        recorded.reseal(path, change)
        assert examined(root)


def test_the_manifest_covers_every_file_but_itself(honest):
    stated = package.read_manifest((honest / "MANIFEST.sha256").read_text())
    assert stated.keys() == {name for name, _ in package.files(honest)} - {"MANIFEST.sha256"}


def test_a_source_tree_of_more_bytes_than_any_is_not_read(honest, monkeypatch):
    monkeypatch.setattr(source, "MAX_BYTES", 1000)
    monkeypatch.setattr(source.filetree, "read_folder", lambda _: pytest.fail("read it whole"))
    [claim] = source.examine(package.Layout(root=honest), Benchmark.BERT, None, None)
    assert claim.verdict is Verdict.DIFFERS
    assert "no source does" in claim.message
