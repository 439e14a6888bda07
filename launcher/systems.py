"""Files in systems/ to Systems. It reads YAML; launcher.core.system says what may stand in it."""

import re
from pathlib import Path
from typing import Any

import yaml  # noqa: TID251 - this module owns the format of systems/*.yaml

from launcher.core import settings as core_settings
from launcher.core import system
from launcher.core.benchmark import Benchmark
from launcher.core.settings import Settings
from launcher.core.system import System
from launcher.errors import ConfigError
from launcher.paths import SYSTEMS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_BYTES = 1 << 20


def load(path: Path) -> System:
    """Read one system file. Raises ConfigError naming file, key, value and what is allowed."""
    if not _NAME.fullmatch(path.stem):
        raise ConfigError(
            f"{path}: the file's name becomes a folder's, so it may hold only letters, digits,"
            " '.', '_' and '-'; rename it."
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    return loads(data, path)


def loads(data: bytes, path: Path) -> System:
    """Read a system from the bytes of a file."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than 1 MiB; this is not a system file.")
    try:
        return system.parse(path.stem, yaml.load(data, Loader=_Loader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: is not valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid YAML.") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


def settings(path: Path, system: System, benchmark: Benchmark, *, rehearsal: bool) -> Settings:
    """Return what the runs of one benchmark share. Raises ConfigError naming file and key."""
    try:
        return core_settings.resolve(system, benchmark, rehearsal=rehearsal)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


def default() -> Path | None:
    """Return the one system file that is neither an example nor the rehearsal's; None for none.

    Raises ConfigError where there are several.
    """
    own = [
        path
        for path in sorted(SYSTEMS.glob("*.yaml"))
        if not path.stem.startswith("example") and path.stem != "rehearsal"
    ]
    if len(own) > 1:
        names = ", ".join(path.name for path in own)
        raise ConfigError(f"{SYSTEMS}: holds several systems ({names}); choose one with --system.")
    return own[0] if own else None


class _Loader(yaml.SafeLoader):
    """YAML without its traps: no aliases (bombs), no key twice, and 5e-5 is a number."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed; write the value again")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}  # a date stays the text it is
# YAML 1.1 takes 5e-5, which has no point, for a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"),
    list("-+.0123456789"),
)
