"""Names of hosts, users and paths out of a response, and back in by the proponent's key.

Each secret becomes a token wherever it stands, and the package keeps the sha256 of every file as it
was. Who is given the key can restore the files to the byte and check every hash again; without it
the hashes of what was redacted cannot be checked, and the verifier says so.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import package
from launcher.core import strictjson
from launcher.core.findings import Finding, Severity
from launcher.core.plan import Plan
from launcher.errors import ConfigError, ResponseError
from launcher.runset import RunSet
from launcher.verify import evidence

TOKEN = "REDACTED-{}"  # noqa: S105 - a placeholder, no password
SHORTEST = 4  # a shorter name would hit ordinary words
_COMMON = frozenset({"localhost", "root", "user", "ubuntu", "data", "home", "results", "/data"})
_HOME = re.compile(r"/(?:home|Users|users)/([^/\s\"']+)")
# Not looked into: what was published before, and what is packed.
_PUBLIC = re.compile(rf"^({package.PATCHES}/|{package.MLPERF}/[^/]+/benchmarks/)|\.xlsx$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What each token stands for. The proponent keeps it."""

    tokens: Mapping[str, str]

    def dumps(self) -> str:
        """Return the key file's text."""
        return json.dumps({"tokens": dict(self.tokens)}, indent=2, sort_keys=True) + "\n"


def load(path: Path) -> Key:
    """Read a key file. Raises ConfigError when it is none."""
    try:
        tokens = strictjson.loads(path.read_bytes())["tokens"]
        return Key(tokens={str(token): str(secret) for token, secret in tokens.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read as a redaction key: {error!r}.") from error


def secrets(sets: Iterable[RunSet], also: Iterable[str] = ()) -> Key:
    """Find what names the proponent's machines, people and folders; `also` adds texts.

    Raises ConfigError for a text of `also` that cannot be replaced wherever it stands.
    """
    also = list(also)
    if bad := [text for text in also if not _telling(text)]:
        raise ConfigError(
            f"--redact-also is {bad[0]!r}, which stands inside ordinary words; write a text of at "
            f"least {SHORTEST} characters that does not."
        )
    found = set[str]()
    for runs in sets:
        if runs.plan is not None:
            found |= _of_plan(runs.plan)
        if runs.chain is not None:
            sessions = evidence.events(runs.chain, "session")
            found |= {str(record.payload.get("host", "")) for record in sessions}
    kept = filter(_telling, found.union(also))
    every = sorted({spelling for text in kept for spelling in _spellings(text)})
    return Key(tokens={TOKEN.format(n): text for n, text in enumerate(every, 1)})


def _telling(text: str) -> bool:
    return len(text) >= SHORTEST and text not in _COMMON


def _spellings(text: str) -> set[str]:
    """Return a text as it stands in plain files, in JSON, in logs and in HTML."""
    in_json = (json.dumps(text, ensure_ascii=each)[1:-1] for each in (True, False))
    return {text, *in_json, html.escape(text)}


def _of_plan(plan: Plan) -> set[str]:
    mounts = plan.container.get("mounts")
    sources = [
        str(mount.get("source", ""))
        for mount in (mounts if isinstance(mounts, list) else [])
        if isinstance(mount, Mapping)
    ]
    text = json.dumps([plan.host, plan.container], ensure_ascii=False)
    homes = {match[0] for match in _HOME.finditer(text)}
    users = {match[1] for match in _HOME.finditer(text)}
    return {str(plan.host.get("hostname", "")), *sources, *homes, *users}


def redact(root: Path, key: Key) -> None:
    """Replace every secret below a staged response and note what the files were before."""
    changed = {}
    for name, path in list(package.files(root)):
        if _PUBLIC.search(name):
            continue
        before = path.read_bytes()
        if any(token.encode() in before for token in key.tokens):
            raise ResponseError(f"{name} already holds the text of a token; it cannot be redacted.")
        after = _replaced(before, {secret: token for token, secret in key.tokens.items()})
        if after != before:
            changed[name] = hashlib.sha256(before).hexdigest()
            path.write_bytes(after)
    listing: dict[str, Any] = {"tokens": sorted(key.tokens), "files": changed}
    path = root / package.REDACTION
    path.write_text(json.dumps(listing, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def left(root: Path, key: Key) -> Iterator[Finding]:
    """Name files whose names hold a secret: those are part of the evidence and stay."""
    for name, _ in package.files(root):
        if any(secret in name for secret in key.tokens.values()):
            yield Finding(
                rule="redaction.name",
                where=name,
                message="The name of this file holds a text that was to be redacted; only contents"
                " are. Name the system file otherwise before the runs.",
                severity=Severity.WARNING,
            )


def restore(root: Path, stated: Mapping[str, Any], key: Key) -> list[str]:
    """Put the secrets back; return the files that are not what they were said to be."""
    files = stated.get("files")
    wrong = []
    for name, digest in files.items() if isinstance(files, Mapping) else ():
        path = root / str(name)
        if not path.resolve().is_relative_to(root.resolve()) or not path.is_file():
            wrong.append(f"{name} was redacted and is not there")
            continue
        content = _replaced(path.read_bytes(), key.tokens)
        path.write_bytes(content)
        if hashlib.sha256(content).hexdigest() != digest:
            wrong.append(f"{name} is not what it was before it was redacted")
    return wrong


def _replaced(content: bytes, table: Mapping[str, str]) -> bytes:
    """Replace all keys of a table in one pass, longest first, so that none hits another's value."""
    if not table:
        return content
    known = {old.encode(): new.encode() for old, new in table.items()}
    longest = sorted(known, key=len, reverse=True)
    # a token must not be taken for the beginning of a longer one: REDACTED-1 and REDACTED-12
    pattern = re.compile(b"|".join(re.escape(old) + rb"(?![0-9])" * (old[:9] == b"REDACTED-")
                                   for old in longest))  # fmt: skip
    return pattern.sub(lambda match: known[match[0]], content)
