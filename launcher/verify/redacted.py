"""The package as it was received: its manifest, and what a redaction leaves to be checked.

With the key, the files are restored in a folder of their own, and everything is examined as it was
before. Without it, what differs only because bytes were replaced is no longer a difference but a
thing that cannot be told.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import filetree, package, runset
from launcher.errors import LogError
from launcher.package import Layout
from launcher.verify.claims import Claim, Place, Verdict

if TYPE_CHECKING:
    from launcher.redaction import Key

MAX_MANIFEST = 16 << 20
# What hashes of redacted files can make differ.
HASHED = frozenset({"ledger.chain", "plan", "logs"})
Soften = Callable[[Claim], Claim]
Opened = tuple[Layout, list[Claim], Soften]


@contextmanager
def opened(layout: Layout, key: "Key | None") -> Iterator[Opened]:
    """Yield the layout to examine, claims about the package as such, and how to read the rest."""
    if not (layout.root / package.MANIFEST).is_file():
        yield layout, [], _as_it_is
        return
    claims = manifest(layout.root)
    path = layout.root / package.REDACTION
    place = Place(where=package.REDACTION)
    if not path.is_file():
        yield layout, claims, _as_it_is
        return
    try:
        stated = runset.read_json(path)
        stated = stated if isinstance(stated, dict) else {}
    except LogError as error:
        yield layout, [*claims, place.differs("redaction", str(error))], _as_it_is
        return
    if key is None:
        text = (
            "names were redacted: hashes in ledger, plan and logs cannot be checked without the "
            "proponent's key (--redaction-key)"
        )
        yield layout, [*claims, place.cannot_tell("redaction", text)], _softened
        return
    with tempfile.TemporaryDirectory(prefix="launcher-restored-") as scratch:
        restored, problems = _restored(layout.root, Path(scratch), stated, key)
        fine = "with the key, every redacted file is what it was before"
        yield Layout(root=restored), [*claims, *place.judge("redaction", problems, fine)], _as_it_is


def manifest(root: Path) -> list[Claim]:
    """Hold every file against the manifest."""
    place = Place(where=package.MANIFEST)
    with (root / package.MANIFEST).open("rb") as source:
        stated = package.read_manifest(source.read(MAX_MANIFEST).decode("utf-8", "replace"))
    present = {name: path for name, path in package.files(root) if name != package.MANIFEST}
    problems = [f"{name} is listed and missing" for name in sorted(stated.keys() - present.keys())]
    problems += [f"{name} is not listed" for name in sorted(present.keys() - stated.keys())]
    problems += [
        f"{name} was altered: its sha256 is not the listed one"
        for name in sorted(stated.keys() & present.keys())
        if filetree.sha256(present[name]) != stated[name]
    ]
    return place.judge("manifest", problems, f"{len(present)} files have the listed sha256")


def _restored(
    root: Path, scratch: Path, stated: dict[str, Any], key: "Key"
) -> tuple[Path, list[str]]:
    from launcher import redaction  # noqa: PLC0415 - it looks at evidence, which is below this

    copy = scratch / "response"
    shutil.copytree(root, copy)
    return copy, redaction.restore(copy, stated, key)


def _as_it_is(claim: Claim) -> Claim:
    return claim


def _softened(claim: Claim) -> Claim:
    if claim.verdict is not Verdict.DIFFERS or claim.name not in HASHED:
        return claim
    text = f"{claim.message} (redacted: ask for the key)"
    return dataclasses.replace(claim, verdict=Verdict.CANNOT_TELL, message=text)
