"""Git, started so that nothing of the user's configuration can change what comes out.

Arguments to bytes of output. It never reads hooks, identities, attributes or aliases of the host;
only fetching sees the user's own configuration, because proxies and credentials live there.
"""

import os
import subprocess  # noqa: TID251 - git is started here and nowhere else
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import ConfigError, HostError

# Commits made here are the same on every machine: whoever makes them, whenever.
_WHO = "GP2BM launcher"
_MAIL = "launcher@localhost"
_WHEN = "2024-04-05T16:46:58+00:00"  # the pinned commit's own date

_STERILE = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": _WHO,
    "GIT_AUTHOR_EMAIL": _MAIL,
    "GIT_AUTHOR_DATE": _WHEN,
    "GIT_COMMITTER_NAME": _WHO,
    "GIT_COMMITTER_EMAIL": _MAIL,
    "GIT_COMMITTER_DATE": _WHEN,
    "LC_ALL": "C",
    "TZ": "UTC",
}
_SETTINGS = (
    *("-c", "core.autocrlf=false"),
    *("-c", "core.attributesFile=" + os.devnull),
    *("-c", "core.hooksPath=" + os.devnull),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "gc.auto=0"),
)


class GitError(Exception):
    """Git said no; the message is its own."""


def git(folder: Path, *arguments: str, fetches: bool = False) -> bytes:
    """Run git in a folder and return its stdout.

    Raises GitError with git's message, HostError where git is not installed.
    """
    environment = _environment(folder, fetches=fetches)
    command = ["git", *_SETTINGS, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise HostError("git is not on PATH; install it (package git).") from error
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}")
    return done.stdout


def text(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return its stdout as text without the last line's end."""
    return git(folder, *arguments).decode(errors="surrogateescape").rstrip("\n")


def is_repository(folder: Path) -> bool:
    """Say whether a folder is a clone, with or without a work tree."""
    return (folder / ".git").exists() or (
        (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    )


def initialise(folder: Path) -> None:
    """Make an empty repository whose branch is main."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--template=")
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")


def fetch_sparsely(url: str, commit: str, folder: Path, below: tuple[str, ...]) -> None:
    """Fetch one commit of a URL, and of its files only those below some paths.

    Raises ConfigError with git's last line where the URL does not answer or lacks the commit.
    """
    if not is_repository(folder):
        initialise(folder)
    try:
        for key, value in (
            ("remote.origin.url", url),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialclonefilter", "blob:none"),
        ):
            git(folder, "config", key, value)
        git(folder, "sparse-checkout", "set", "--cone", *below, fetches=True)
        fetch = ("fetch", "--quiet", "--depth=1", "--filter=blob:none", "--no-tags")
        git(folder, *fetch, "origin", commit, fetches=True)
        git(folder, "checkout", "--quiet", "--force", "--detach", commit, fetches=True)
    except GitError as error:
        said = str(error).splitlines()[-1]
        raise ConfigError(
            f"--reference {url}: {said}; give a clone or a git archive with --reference PATH."
        ) from error


def _environment(folder: Path, *, fetches: bool) -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    if fetches:
        ours = {key: value for key, value in _STERILE.items() if "CONFIG" not in key}
        allowed = {k: v for k, v in os.environ.items() if k.startswith("GIT_S")}  # GIT_SSH, GIT_SSL
        return kept | allowed | ours
    # The user named this clone; that it belongs to somebody else must not stop a read.
    trust = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": str(folder.resolve()),
    }
    return kept | _STERILE | trust
