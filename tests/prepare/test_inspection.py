"""What `data verify` finds: every flipped byte, by name."""

import json
import os
import random

import pytest

from launcher import cli, dataset, filetree, rehearsal
from launcher.core.benchmark import Benchmark
from launcher.prepare import inspection, rows

ANYWHERE = random.SystemRandom()


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << ANYWHERE.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("benchmark", ["resnet", "bert"])
def test_one_flipped_byte_in_any_file_is_found_and_named(benchmark, prepared):
    root = prepared[benchmark]
    manifest, _ = dataset.read(root)
    assert inspection.full(root, manifest) == []
    for file in manifest.every_file:
        path = root / file.path
        whole = path.read_bytes()
        position = ANYWHERE.randrange(file.bytes)
        flip(path, position)
        findings = inspection.full(root, manifest)
        where = {finding.where for finding in findings}
        assert str(path) in where, position
        assert where <= {str(path), str(path.with_suffix(".tar"))}  # a shard needs its index
        path.write_bytes(whole)
    assert inspection.full(root, manifest) == []


def test_samples_that_were_swapped_together_with_their_checksum_are_found(prepared):
    root = prepared["bert"]
    manifest, _ = dataset.read(root)
    train, evaluation = manifest.splits
    path = root / evaluation.files[0].path
    stored = rows.open_rows(path).copy()
    stored["next_is_random"][0, 0] ^= 1
    rows.packing().write_rows(path.parent, shard=0, rows=stored)
    forged = dataset.describe(root, path, samples=evaluation.samples)
    changed = dataset.Manifest(
        benchmark=manifest.benchmark,
        form=manifest.form,
        rehearsal=True,
        source=manifest.source,
        splits=(
            train,
            dataset.Split(name="eval", samples=20, content=evaluation.content, files=(forged,)),
        ),
        files=manifest.files,
    )
    messages = [finding.message for finding in inspection.full(root, changed)]
    assert messages == [
        "the samples of eval are not those of the manifest; copy or prepare it again"
    ]


def test_the_quick_look_decodes_samples_and_does_not_read_everything(prepared, monkeypatch):
    monkeypatch.setattr(filetree, "sha256", lambda path: pytest.fail(f"read {path} whole"))
    for root in prepared.values():
        manifest, _ = dataset.read(root)
        assert inspection.quick(root, manifest) == []


def test_the_quick_look_sees_a_sample_that_does_not_decode(prepared):
    root = prepared["resnet"]
    manifest, _ = dataset.read(root)
    for path in (root / "train").glob("*.tar"):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\xff\xd8\xff", b"\x00\x00\x00"))
    findings = inspection.quick(root, manifest)
    assert {finding.where for finding in findings} == {
        str(path) for path in (root / "train").glob("*.tar")
    }
    assert "does not decode" in findings[0].message


def test_class_folders_are_verified_too(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    root = rehearsal.prepare(Benchmark.RESNET, tmp_path / "digits")
    manifest, _ = dataset.read(root)
    assert inspection.quick(root, manifest) == []
    victim = root / manifest.splits[0].files[17].path
    flip(victim, 300)
    assert [finding.where for finding in inspection.full(root, manifest)] == [str(victim)]


def test_the_command_seals_the_outcome_and_ends_in_one_on_findings(prepared, capsys):
    root = prepared["bert"]
    assert (
        cli.run(["data", "verify", "--data", str(root), "--full", "--workers", "1", "--json"]) == 0
    )
    attestation = json.loads(capsys.readouterr().out)
    assert attestation["verification"]["level"] == "full"
    assert attestation == dataset.attest(root, Benchmark.BERT, rehearsal=True)
    flip(root / "vocab.txt", 3)
    assert cli.run(["data", "verify", "--data", str(root), "--full", "--workers", "1"]) == 1
    assert "vocab.txt: its bytes are not those of the manifest" in capsys.readouterr().out
    with pytest.raises(dataset.ConfigError, match="the last verification failed"):
        dataset.attest(root, Benchmark.BERT, rehearsal=True)


def test_statistics_are_shown_and_drawn(prepared, tmp_path, capsys):
    for name, root in prepared.items():
        picture = tmp_path / f"{name}.svg"
        command = ["data", "stats", "--data", str(root), "--svg", str(picture)]
        assert cli.run([*command, "--read-seconds", "0.2"]) == 0
        shown = capsys.readouterr().out
        assert "expected_cold_read_s" in shown
        assert "pages" in shown
        assert picture.read_text().startswith("<svg")
    assert "padding" in shown or name == "resnet"
    assert cli.run([*command, "--read-seconds", "0", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["train"]["samples"] > 0


def test_preparing_from_the_command_line_shows_progress_and_the_packing(
    wikipedia_records, tmp_path, capsys
):
    command = ["prepare", "--task", "bert", "--source", str(wikipedia_records), "--rehearsal"]
    assert cli.run([*command, "--data", str(tmp_path / "data"), "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert "train: padding 0." in shown.out
    assert "pack train: 2 of 2" in shown.err
    assert cli.run([*command, "--data", str(wikipedia_records), "--workers", "1"]) == 2
    assert "is not empty and was not begun here" in capsys.readouterr().err


def test_a_look_at_data_that_cannot_be_written_is_shown_but_not_kept(prepared, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda _path, mode, **_more: mode != os.W_OK)
    assert cli.run(["data", "verify", "--data", str(prepared["resnet"])]) == 0
    shown = capsys.readouterr()
    assert "quick look: valid" in shown.out
    assert "is read-only" in shown.err
    assert dataset.read(prepared["resnet"])[1] is None
