"""A Wikipedia dump -> text parts and eval.txt, by the reference's own chain, then packed rows.

WikiExtractor is not part of the reference: the user gives its WikiExtractor.py. Its output depends
on the day it runs (it expands {CURRENTDAY} and the like), so no two sites get the same text: the
published parts are the way to comparable data, and the manifest says when this way was taken.
"""

import dataclasses
import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset import Manifest
from launcher.errors import ConfigError
from launcher.prepare import scripts, wikipedia, work
from launcher.prepare.scripts import Scripts
from launcher.prepare.work import Crew, Receipt, Unit

PUBLISHED_MD5 = {  # dataset.md of the reference
    "enwiki-20200101-pages-articles-multistream.xml.bz2": "00d47075e0f583fb7c0791fac1c57cb3",
    "enwiki-20200101-pages-articles-multistream.xml": "1021bd606cba24ffc4b93239f5a09c02",
}
ARTICLES = 10_000  # held out for evaluation
BLOCK_MB = "26.92"  # of raw text in a part; makes 500 parts of the 2020-01-01 dump
TEXT_PER_DUMP_BYTE = {".bz2": 5.0, ".xml": 1.2}  # four generations of text beside the dump
PATTERN = "text/*/wiki_??"


def find(source: Path) -> Path | None:
    """Return the dump, or the folder of extracted text, of a source that has no parts yet."""
    if any(source.glob("part-?????-of-?????")):
        return None
    dumps = sorted((*source.glob("*wiki*.xml"), *source.glob("*wiki*.xml.bz2")))
    if dumps:
        return dumps[0]
    return source / "text" if any(source.glob(PATTERN)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """WikiExtractor, which the user gets; its regular expressions need Python 3.10 or older."""

    program: Path | None
    python: str | None


def prepare(options: wikipedia.Options, extractor: Extractor) -> Manifest:
    """Run the whole chain beside the data directory, pack its text, then remove the text.

    Raises ConfigError on a source or tool that does not fit, HostError when a script fails.
    """
    source = find(options.source)
    if source is None:
        raise ConfigError(f"{options.source}: holds no dump and no extracted text; add one.")
    place = work.text_place(options.crew.root)
    crew = dataclasses.replace(options.crew, root=place)
    if options.image is not None:
        raise ConfigError(
            "--image: a dump goes through scripts that run on the host; "
            "give --tensorflow-python and --tree instead."
        )
    vocabulary = wikipedia.find_vocabulary(options, text=True)
    chain = Chain(scripts=wikipedia.patched(options), place=place, rehearsal=options.rehearsal)
    with work.claimed(place, {"dump": str(source.absolute())}):
        _provide_text(source, extractor, chain, crew)
        folders = sorted(path for path in (place / "text").iterdir() if path.is_dir())
        units = [
            Unit(name=folder.name, bytes=sum(p.stat().st_size for p in folder.glob("wiki_??")))
            for folder in folders
        ]
        work.run("clean", units, functools.partial(clean, chain), crew)
        gathering = [Unit(name="gather", bytes=sum(unit.bytes for unit in units))]
        work.run("split and gather", gathering, functools.partial(gather, chain), crew)
        manifest = wikipedia.prepare(
            dataclasses.replace(
                options, source=place / "results", vocabulary=vocabulary, extracted=True
            )
        )
    shutil.rmtree(place)
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What the steps share: the scripts, and the folder that holds `text/` and `results/`."""

    scripts: Scripts
    place: Path
    rehearsal: bool


def _provide_text(source: Path, extractor: Extractor, chain: Chain, crew: Crew) -> None:
    """Make `text/` from a dump, or from links to text that was extracted before."""
    if source.is_dir():
        for path in source.glob(PATTERN.removeprefix("text/")):
            link = crew.root / "text" / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path.absolute())
        return
    program = extractor.program
    if program is None or not program.is_file() or extractor.python is None:
        raise ConfigError(
            f"--wikiextractor {program}: a dump is extracted by WikiExtractor.py of "
            "attardi/wikiextractor, commit 3162bb6c; name it, and a Python 3.6 to 3.10 with "
            "--wikiextractor-python."
        )
    size = source.stat().st_size
    work.require_space(crew.root, int(size * TEXT_PER_DUMP_BYTE[source.suffix]), "extracted text")
    if (expected := PUBLISHED_MD5.get(source.name)) and not chain.rehearsal:
        download = Unit(name="md5/dump", bytes=size, arguments=(source, expected))
        work.run("check downloads", [download], work.verify_download, crew)
    command = (extractor.python, str(program.absolute()), "-q", str(source.absolute()))
    unit = Unit(name="extract", bytes=size, arguments=command)
    work.run("extract", [unit], functools.partial(extract, chain), crew)


def extract(chain: Chain, unit: Unit, staging: Path) -> Receipt:
    """Run WikiExtractor; its folder gets its name when it is complete."""
    scripts.start((*unit.arguments, "-o", str(staging / "text")))
    shutil.rmtree(chain.place / "text", ignore_errors=True)
    (staging / "text").rename(chain.place / "text")
    return Receipt()


def clean(chain: Chain, unit: Unit, _staging: Path) -> Receipt:
    """Turn the raw text of one folder, wiki_nn, into one sentence a line, wiki_nn.3."""
    folder = chain.place / "text" / unit.name
    data = f"--data={folder}/wiki_??"
    run, one = chain.scripts.run, "--nworker=1"
    run("cleanup_file.py", data, "--output_suffix=.1", one)
    for path in sorted(folder.glob("wiki_??")):
        cleaner = str(chain.scripts.folder / "clean.sh")
        scripts.start(("bash", cleaner, f"{path}.1", f"{path}.2"))
    learn = ("--train_segmenter",) if chain.rehearsal else ()
    suffixes = ("--input_suffix=.2", "--output_suffix=.3")
    run("do_sentence_segmentation.py", data, *suffixes, one, *learn)
    return Receipt()


def gather(chain: Chain, _unit: Unit, staging: Path) -> Receipt:
    """Hold out the eval articles and put the others into parts."""
    results, data = staging / "results", f"--data={chain.place}/{PATTERN}"
    results.mkdir()
    chain.scripts.run(
        "seperate_test_set.py",
        data,
        "--input_suffix=.3",
        "--output_suffix=.4",
        f"--num_test_articles={_held_out(chain)}",
        f"--test_output={results}/eval",
    )
    output = f"--out_dir={results}"
    chain.scripts.run("do_gather.py", data, "--input_suffix=.4", f"--block_size={BLOCK_MB}", output)
    shutil.rmtree(chain.place / "results", ignore_errors=True)
    results.rename(chain.place / "results")
    return Receipt()


def _held_out(chain: Chain) -> int:
    if not chain.rehearsal:
        return ARTICLES
    paths = chain.place.glob(PATTERN)
    articles = sum(path.read_text(encoding="utf-8").count("<doc ") for path in paths)
    return max(1, min(ARTICLES, articles // 10))
