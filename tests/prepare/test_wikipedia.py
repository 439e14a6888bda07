"""Wikipedia's parts become packed rows, or are refused with the reason."""

import hashlib

import numpy as np
import pytest

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError, HostError
from launcher.prepare import articles, dump, records, rows, scripts, sources, wikipedia
from launcher.prepare.work import Crew


def options(source, root, **more):
    return wikipedia.Options(source=source, crew=Crew(root=root), rehearsal=True, **more)


def test_records_become_rows_that_hold_every_sequence(pristine_records, prepared):
    data = prepared["bert"]
    manifest, _ = dataset.read(data)
    train, evaluation = manifest.splits
    read = [
        np.concatenate(list(records.read(path, records.Sizes())))
        for path in sorted(pristine_records.glob("part-*"))
    ]
    assert train.samples == sum(map(len, read))
    assert train.content == rows.content(np.concatenate(read))
    assert (evaluation.samples, len(evaluation.files)) == (20, 1)
    store = rows.packing().RowStore(data / "train")
    assert store.count_sequences() == train.samples
    vocabulary = (pristine_records / "vocab.txt").read_bytes()
    assert (data / "vocab.txt").read_bytes() == vocabulary


def test_statistics_add_up(prepared):
    manifest, _ = dataset.read(prepared["bert"])
    known = manifest.statistics["train"]
    packed = rows.packing().RowStore(prepared["bert"] / "train")
    everything = packed.take(range(len(packed)))
    assert known["rows"] == len(packed)
    assert sum(known["lengths"]) == manifest.splits[0].samples
    assert sum(n * count for n, count in enumerate(known["lengths"])) == everything["lengths"].sum()
    assert known["masked"] == everything["masked"].sum()


def test_a_real_set_has_500_parts(wikipedia_records, tmp_path):
    with pytest.raises(ConfigError, match=r"has 2 parts, 500 belong \(part-00002-of-00500"):
        wikipedia.prepare(
            wikipedia.Options(source=wikipedia_records, crew=Crew(root=tmp_path / "data"))
        )


def test_a_flipped_byte_in_a_part_is_named(wikipedia_records, tmp_path):
    victim = wikipedia_records / "part-00001-of-00500"
    content = bytearray(victim.read_bytes())
    content[5000] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ConfigError, match=r"part-00001-of-00500: the record at byte .* checksum"):
        wikipedia.prepare(options(wikipedia_records, tmp_path / "data"))


def test_a_token_outside_the_vocabulary_is_refused(wikipedia_records, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n")
    with pytest.raises(ConfigError, match="input_ids is not below 3"):
        wikipedia.prepare(options(wikipedia_records, tmp_path / "data", vocabulary=vocabulary))


def test_text_and_records_together_are_not_guessed_at(wikipedia_records, tmp_path):
    (wikipedia_records / "part-00003-of-00500").write_text("A sentence.\n")
    with pytest.raises(ConfigError, match="holds both text and record parts"):
        wikipedia.prepare(options(wikipedia_records, tmp_path / "data"))


def test_a_missing_eval_set_is_named(wikipedia_records, tmp_path):
    (wikipedia_records / "eval_10k").unlink()
    with pytest.raises(ConfigError, match=r"has 0 files eval_10k\*"):
        wikipedia.prepare(options(wikipedia_records, tmp_path / "data"))


@pytest.fixture
def text(tmp_path):
    root = tmp_path / "text"
    root.mkdir()
    (root / "part-00000-of-00500").write_text("One.\nTwo.\n\nThree.\n")
    found = ["First article.\nGoes on.", "\nSecond, with a leading line break.", "", "Last.\n"]
    (root / "eval.txt").write_text("".join(f"{article}\n\n" for article in found))
    hashes = [
        hashlib.md5(article.rstrip().encode(), usedforsecurity=False).hexdigest()
        for article in found
    ]
    (root / "eval.md5").write_text("".join(f"{each}\n" for each in hashes))
    (root / "vocab.txt").write_text("[PAD]\n")
    return root


def test_eval_articles_are_proved_one_by_one(text):
    assert articles.verify_articles(text / "eval.txt", text / "eval.md5") == 4


def test_an_altered_eval_article_is_named(text):
    altered = (text / "eval.txt").read_text().replace("Second,", "2nd,")
    (text / "eval.txt").write_text(altered)
    with pytest.raises(ConfigError, match=r"article 2 of 4 \('2nd, with a leading"):
        articles.verify_articles(text / "eval.txt", text / "eval.md5")
    (text / "eval.txt").write_text((text / "eval.txt").read_text().replace("2nd,", "Second,") + "x")
    with pytest.raises(ConfigError, match="goes on behind article 4"):
        articles.verify_articles(text / "eval.txt", text / "eval.md5")


def test_text_needs_the_patched_tree_and_a_tensorflow(text, tmp_path):
    with pytest.raises(ConfigError, match="run `make tree TASK=bert`"):
        wikipedia.prepare(options(text, tmp_path / "data"))
    (tmp_path / "tree" / scripts.FOLDER).mkdir(parents=True)
    with pytest.raises(ConfigError, match="--tensorflow-python"):
        wikipedia.prepare(options(text, tmp_path / "data", tree=tmp_path / "tree"))


def test_a_script_that_fails_is_quoted(tmp_path):
    (tmp_path / "pick_eval_samples.py").write_text("raise SystemExit('no such record')")
    failing = scripts.Scripts(folder=tmp_path, python="python3")
    with pytest.raises(
        HostError, match=r"pick_eval_samples\.py: ended with code 1: no such record"
    ):
        failing.pick_eval_samples(tmp_path, tmp_path, 1)
    with pytest.raises(HostError, match="cannot be started"):
        scripts.start(("/no/such/python",))


def test_a_dump_is_told_from_its_text(tmp_path):
    assert dump.find(tmp_path) is None
    (tmp_path / "text" / "AA").mkdir(parents=True)
    (tmp_path / "text" / "AA" / "wiki_00").write_text("<doc>")
    assert dump.find(tmp_path) == tmp_path / "text"
    (tmp_path / "enwiki-20200101-pages-articles-multistream.xml.bz2").write_bytes(b"BZh9")
    assert dump.find(tmp_path).name.endswith(".bz2")
    (tmp_path / "part-00000-of-00500").write_text("A sentence.")
    assert dump.find(tmp_path) is None


def test_a_complete_set_is_left_alone_and_a_foreign_directory_is_refused(
    wikipedia_records, prepared
):
    data = prepared["bert"]
    request = sources.Request(source=wikipedia_records, crew=Crew(root=data), rehearsal=True)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert sources.prepare(Benchmark.BERT, request) == dataset.read(data)[0]
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    with pytest.raises(ConfigError, match="holds bert data"):
        sources.prepare(Benchmark.RESNET, request)
    (data / dataset.NAME).unlink()
    with pytest.raises(ConfigError, match="is not empty and was not begun here"):
        sources.prepare(Benchmark.BERT, request)


def test_a_dump_without_its_extractor_is_refused_before_anything_is_read(text, tmp_path):
    (tmp_path / "tree" / scripts.FOLDER).mkdir(parents=True)
    (text / "part-00000-of-00500").unlink()
    (text / "enwiki-20200101-pages-articles-multistream.xml.bz2").write_bytes(b"BZh9")
    given = options(
        text, tmp_path / "data", tree=tmp_path / "tree", tensorflow_python="python-tensorflow"
    )
    with pytest.raises(ConfigError, match=r"WikiExtractor\.py of .* commit 3162bb6c"):
        dump.prepare(given, dump.Extractor(program=None, python=None))
    assert not (tmp_path / "data").exists()


def test_extracted_text_is_linked_and_left_as_it_is(tmp_path):
    raw = tmp_path / "source" / "text" / "AA" / "wiki_00"
    raw.parent.mkdir(parents=True)
    raw.write_text("<doc>")
    chain = dump.Chain(
        scripts=scripts.Scripts(folder=tmp_path, python="python3"), place=tmp_path, rehearsal=True
    )
    extractor = dump.Extractor(program=None, python=None)
    crew = Crew(root=tmp_path / "place")
    for _ in range(2):  # a second start finds the links
        dump._provide_text(raw.parent.parent, extractor, chain, crew)
    assert (tmp_path / "place" / "text" / "AA" / "wiki_00").resolve() == raw
