"""eval.txt -> proof that it is, article by article, the one whose md5s the reference carries.

`seperate_test_set.py` wrote each held-out article, a blank line, and the md5 of the article without
what is blank at its end. So the file can be checked offline from the reference's repository alone.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import ConfigError

GAP = "\n\n"  # the script splits and joins at it; an article may still begin with one line break


def verify_articles(text: Path, expected: Path) -> int:
    """Compare every article with its published md5 and return how many there are.

    Raises ConfigError naming the first article that differs.
    """
    hashes = expected.read_text(encoding="ascii").split()
    content = text.read_bytes().decode()
    at = 0
    for number, published in enumerate(hashes, start=1):
        end = next((e for e in _ends(content, at) if _md5(content[at:e]) == published), None)
        if end is None:
            beginning = " ".join(content[at : at + 200].split())[:60]
            raise ConfigError(
                f"{text}: article {number} of {len(hashes)} ({beginning!r}) is not the published "
                "one; download eval.txt again."
            )
        at = end + len(GAP)
    if content[at:].strip():
        raise ConfigError(f"{text}: goes on behind article {len(hashes)}; download it again.")
    return len(hashes)


def _ends(content: str, at: int) -> Iterator[int]:
    """Yield where the article at `at` may end: at its gap, or one line break into it."""
    end = content.find(GAP, at)
    if end >= 0:
        yield end
        if content.startswith(GAP, end + 1):
            yield end + 1


def _md5(article: str) -> str:
    return hashlib.md5(article.rstrip().encode(), usedforsecurity=False).hexdigest()
