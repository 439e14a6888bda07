"""dataset.json: sealed, complete, and compared with what lies on disk."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.dataset import ContentDigest, Form, Manifest, Split
from launcher.errors import ConfigError


def make(root, *, rehearsal=True):
    files = []
    for name in ("train/a", "train/b", "eval/a"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 3)
        files.append(dataset.describe(root, path, samples=2))
    (root / "vocab.txt").write_text("[PAD]\n")
    manifest = Manifest(
        benchmark=Benchmark.BERT,
        form=Form.ROWS,
        rehearsal=rehearsal,
        source={"input": "a test"},
        splits=(
            Split(name="train", samples=4, content="0" * 64, files=tuple(files[:2])),
            Split(name="eval", samples=2, content="1" * 64, files=(files[2],)),
        ),
        files=(dataset.describe(root, root / "vocab.txt"),),
    )
    dataset.write(root, manifest)
    return manifest


@given(
    st.lists(st.binary(max_size=8), max_size=6).flatmap(
        lambda samples: st.tuples(st.just(samples), st.permutations(samples))
    ),
    st.integers(0, 6),
)
def test_the_content_digest_ignores_order_and_grouping(pair, cut):
    samples, shuffled = pair
    one, first, second = ContentDigest(), ContentDigest(), ContentDigest()
    for sample in samples:
        one.add(sample)
    for sample in shuffled[:cut]:
        first.add(sample)
    for sample in shuffled[cut:]:
        second.add(sample)
    first.merge(second.hex())
    assert first.hex() == one.hex()


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.data())
def test_the_content_digest_sees_a_lost_and_a_doubled_sample(samples, data):
    index = data.draw(st.integers(0, len(samples) - 1))
    digests = []
    for chosen in (samples, samples[:index] + samples[index + 1 :], [*samples, samples[index]]):
        digest = ContentDigest()
        for sample in chosen:
            digest.add(sample)
        digests.append(digest.hex())
    assert len(set(digests)) == 3


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    manifest = make(tmp_path)
    assert dataset.read(tmp_path) == (manifest, None)
    dataset.write(tmp_path, manifest, {"level": "full"})
    again, verification = dataset.read(tmp_path)
    assert again == manifest
    assert verification["level"] == "full"
    assert dataset.quick(tmp_path, manifest) == []


def test_one_flipped_bit_anywhere_in_the_manifest_is_seen(tmp_path):
    manifest = make(tmp_path)
    dataset.write(tmp_path, manifest, {"level": "full"})
    path = tmp_path / dataset.NAME
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(ConfigError, match=r"dataset\.json"):
            dataset.read(tmp_path)


def test_missing_altered_and_foreign_files_are_named(tmp_path):
    manifest = make(tmp_path)
    (tmp_path / "train" / "a").unlink()
    (tmp_path / "train" / "b").write_bytes(b"short")
    (tmp_path / "eval" / "z").write_bytes(b"")
    (tmp_path / "README").write_bytes(b"no run reads this")
    findings = {finding.where: finding.message for finding in dataset.quick(tmp_path, manifest)}
    assert "is missing" in findings[str(tmp_path / "train" / "a")]
    assert "has 5 bytes, the manifest says 21" in findings[str(tmp_path / "train" / "b")]
    assert "not in the manifest" in findings[str(tmp_path / "eval" / "z")]
    assert len(findings) == 3
    with pytest.raises(ConfigError, match=r"2 more\)"):
        dataset.attest(tmp_path, Benchmark.BERT, rehearsal=True)


def test_a_real_set_must_have_the_samples_that_the_rules_name(tmp_path):
    manifest = make(tmp_path, rehearsal=False)
    messages = [finding.message for finding in dataset.quick(tmp_path, manifest)]
    assert messages == [
        "eval has 2 samples where 10,000 belong; prepare it from the complete source"
    ]


def test_a_split_whose_files_do_not_add_up_is_seen(tmp_path):
    manifest = make(tmp_path)
    train, evaluation = manifest.splits
    changed = dataclasses.replace(
        manifest, splits=(dataclasses.replace(train, samples=5), evaluation)
    )
    assert len(dataset.quick(tmp_path, changed)) == 1


def test_a_directory_without_manifest_names_the_command(tmp_path):
    with pytest.raises(ConfigError, match="run `launcher prepare`"):
        dataset.attest(tmp_path, Benchmark.BERT, rehearsal=False)


@pytest.mark.parametrize("text", ["[]", "{}", '{"manifest": {"schema": 1}}', "{"])
def test_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        dataset.loads(text)
