import dataclasses
import html
import json
import shutil
from types import SimpleNamespace

import pytest

from launcher import answer, check, package, redaction, response, verify
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError, ResponseError
from launcher.paths import ROOT
from launcher.verify.claims import Verdict
from tests import recorded

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"
SECRETS = ("gpu-node-17", "margaret")


@pytest.fixture(scope="module")
def redacted(tmp_path_factory):
    """A redacted response as a folder, and its key."""
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    results = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        recorded.write(results / benchmark.value, benchmark)
    found = answer.load([results], answer.unasked)
    key = redaction.secrets(found.sets.values())
    root = tmp_path_factory.mktemp("redacted") / "response"
    order = response.Order(template=TEMPLATE.read_bytes(), reference=None, draft=False, redact=key)
    response.stage(found, found.system, order, root, report=lambda _: "<!DOCTYPE html>")
    return root, key


def claims(root, key=None):
    found = verify.verify(root, referee=answer.unasked, key=key)
    return {claim.name: claim.verdict for claim in found.claims}


def test_no_secret_is_left_in_any_file(redacted):
    root, _ = redacted
    for _, path in package.files(root):
        content = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content], path


def test_without_the_key_hashes_cannot_be_told_and_all_else_still_agrees(redacted):
    root, _ = redacted
    told = claims(root)
    assert told["redaction"] is Verdict.CANNOT_TELL
    assert told["ledger.chain"] is Verdict.CANNOT_TELL
    assert told["manifest"] is Verdict.AGREES
    assert told["seeds"] is Verdict.AGREES
    assert told["score.raw"] is Verdict.AGREES
    assert Verdict.DIFFERS not in told.values()


def test_with_the_key_everything_agrees_again(redacted):
    root, key = redacted
    told = claims(root, key)
    for name in ("redaction", "ledger.chain", "plan", "logs", "manifest"):
        assert told[name] is Verdict.AGREES, name


def test_the_package_itself_stays_redacted(redacted):
    root, key = redacted
    before = package.manifest(root)
    claims(root, key)
    assert package.manifest(root) == before


def test_a_file_altered_after_redaction_is_caught_with_the_key(redacted, tmp_path):
    root, key = redacted
    shutil.copytree(root, tmp_path / "copy")
    path = tmp_path / "copy/ledger/bert/plan.json"
    path.write_text(path.read_text().replace("record", "safe"))
    (tmp_path / "copy/MANIFEST.sha256").write_text(package.manifest(tmp_path / "copy"))
    assert claims(tmp_path / "copy", key)["redaction"] is Verdict.DIFFERS


def test_a_listing_cannot_name_files_outside(redacted, tmp_path):
    root, key = redacted
    shutil.copytree(root, tmp_path / "copy")
    outside = tmp_path / "outside"
    outside.write_text("REDACTED-1")
    listing = {"tokens": [], "files": {"../outside": "0" * 64, str(outside): "0" * 64}}
    (tmp_path / "copy/solution/redaction.json").write_text(json.dumps(listing))
    assert claims(tmp_path / "copy", key)["redaction"] is Verdict.DIFFERS
    assert outside.read_text() == "REDACTED-1"


def test_tokens_that_begin_alike_do_not_mix():
    names = [f"secret-{number:02}" for number in range(12)]
    key = redaction.secrets([], names)
    text = " ".join(names).encode()
    forward = redaction._replaced(text, {secret: token for token, secret in key.tokens.items()})
    assert b"secret" not in forward
    assert redaction._replaced(forward, key.tokens) == text


def test_text_that_looks_like_a_token_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("REDACTED-1 was here")
    with pytest.raises(ResponseError, match=r"note\.txt already holds"):
        redaction.redact(tmp_path, redaction.secrets([], ["something"]))


def test_ordinary_words_are_not_secrets():
    host = dataclasses.replace(
        recorded.plan(Benchmark.BERT, runs=1), host={"hostname": "localhost"}
    )
    runs = SimpleNamespace(plan=host, chain=None)
    assert redaction.secrets([runs]).tokens == {}


@pytest.mark.parametrize("text", ["", "[]", '{"tokens": 1}', "{}"])
def test_a_key_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="redaction key"):
        redaction.load(path)


def test_a_key_survives_its_file(tmp_path):
    key = redaction.secrets([], ["one-secret", "another"])
    (tmp_path / "key.json").write_text(key.dumps())
    assert redaction.load(tmp_path / "key.json") == key


def test_mlperf_logging_and_our_checks_pass_on_redacted_logs(redacted):
    root, _ = redacted
    found = verify.verify(root, referee=check.check)
    told = {claim.name: claim.verdict for claim in found.claims}
    assert (told["compliance"], told["check"]) == (Verdict.AGREES, Verdict.AGREES)


@pytest.mark.parametrize("word", ["abc", "", "root", "data"])
def test_a_text_that_cannot_be_replaced_is_refused_and_never_left_in_silence(word):
    with pytest.raises(ConfigError, match=f"--redact-also is '{word}'"):
        redaction.secrets([], ["gpu-node-17", word])


def test_a_secret_is_replaced_however_the_file_spells_it(tmp_path):
    secret = 'José & "Söhne"'  # noqa: S105 - a name
    for name, text in {
        "plain.txt": secret,
        "log.txt": json.dumps([secret]),
        "ledger.jsonl": json.dumps([secret], ensure_ascii=False),
        "report.html": html.escape(secret),
    }.items():
        (tmp_path / name).write_text(f"<{text}>", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "solution").mkdir()
    key = redaction.secrets([], [secret])
    redaction.redact(tmp_path, key)
    for name in before:
        assert b"hne" not in (tmp_path / name).read_bytes()
    stated = json.loads((tmp_path / "solution/redaction.json").read_text())
    assert redaction.restore(tmp_path, stated, key) == []
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_secret_in_a_name_of_a_file_is_pointed_out(tmp_path):
    (tmp_path / "gpu-node-17.json").write_text("{}")
    [finding] = redaction.left(tmp_path, redaction.secrets([], ["gpu-node-17"]))
    assert finding.where == "gpu-node-17.json"
