"""A service of compose.yaml to a ContainerSpec.

It is handed the variables; it never reads the environment and starts nothing. It knows the keys
that this project uses, and refuses every other one: a setting that is silently ignored would make
the container another than the one its file describes.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml  # noqa: TID251 - this module owns the format of compose.yaml

from launcher.engine.base import ContainerSpec, Mount
from launcher.errors import ConfigError

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<form>:?[-?])(?P<rest>[^}]*))?\})"
)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TOP = {"name", "services"}
_SERVICE = {
    "build", "cap_add", "command", "environment", "gpus", "image", "init", "ipc", "labels",
    "logging", "network_mode", "shm_size", "stop_grace_period", "ulimits", "user", "volumes",
    "working_dir",
}  # fmt: skip
_REQUIRED = ("command", "image", "network_mode", "shm_size", "working_dir")


def load(path: Path, service: str, variables: Mapping[str, str]) -> ContainerSpec:
    """Read one service, with its `${VARIABLE:-default}`s filled from `variables`.

    The result's name is the service's. Raises ConfigError naming file and key.
    """
    document = _parse(path)
    _only(document, _TOP, path, "")
    services = document.get("services")
    if not isinstance(services, dict):
        raise ConfigError(f"{path}: services must be a mapping.")
    if service not in services:
        known = ", ".join(sorted(map(str, services)))
        raise ConfigError(f"{path}: there is no service {service!r}; it has {known}.")
    where = f"services.{service}"
    filled = _fill(services[service], variables, lambda problem: _wrong(path, where, problem))
    if not isinstance(filled, dict):
        raise ConfigError(f"{path}: {where} must be a mapping.")
    mapping: dict[str, Any] = filled
    _only(mapping, _SERVICE, path, f"{where}.")
    if missing := [key for key in _REQUIRED if key not in mapping]:
        raise ConfigError(f"{path}: {where}.{missing[0]} is missing; add it.")
    try:
        return _spec(service, mapping, path.resolve().parent)
    except _Refused as problem:
        raise _wrong(path, where, str(problem)) from None


class _Refused(ValueError):  # noqa: N818 - says what is wrong with one key; load adds the place
    pass


def _wrong(path: Path, where: str, problem: str) -> ConfigError:
    return ConfigError(f"{path}: {where}.{problem}")


def _parse(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must be a mapping with `services`.")
    return document


def _only(mapping: Mapping[str, Any], known: set[str], path: Path, prefix: str) -> None:
    for key in mapping:
        if key not in known and not str(key).startswith("x-"):
            allowed = ", ".join(sorted(known))
            raise ConfigError(
                f"{path}: {prefix}{key} is not a key this launcher honours; remove it, or use one "
                f"of {allowed}."
            )


def _fill(
    value: object, variables: Mapping[str, str], wrong: Callable[[str], ConfigError]
) -> object:
    """Replace variables in every string of a tree, as compose does."""
    if isinstance(value, dict):
        return {key: _fill(entry, variables, wrong) for key, entry in value.items()}
    if isinstance(value, list):
        return [_fill(entry, variables, wrong) for entry in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        given = variables.get(match["name"])
        form, rest = match["form"] or "", match["rest"] or ""
        if given is not None and (given or ":" not in form):
            return given
        if form.endswith("-"):
            return rest
        raise wrong(f"{match['name']} is not set{': ' + rest if rest else ''}.")

    return _VARIABLE.sub(replace, value)


def _spec(service: str, values: Mapping[str, Any], root: Path) -> ContainerSpec:
    logging = _mapping(values.get("logging"), "logging", {"driver", "options"})
    return ContainerSpec(
        image=str(values["image"]),
        name=service,
        command=_words(values["command"], "command"),
        working_dir=str(values["working_dir"]),
        mounts=tuple(_mount(entry, root) for entry in _list(values.get("volumes"), "volumes")),
        labels=_strings(values.get("labels"), "labels"),
        environment=_strings(values.get("environment"), "environment"),
        all_gpus=_gpus(values.get("gpus")),
        network=str(values["network_mode"]),
        init=_flag(values, "init"),
        ipc=str(values.get("ipc", "private")),
        shm_bytes=size_bytes(values["shm_size"], "shm_size"),
        ulimits={
            name: _limit(name, entry)
            for name, entry in _mapping(values.get("ulimits"), "ulimits").items()
        },
        cap_add=tuple(map(str, _list(values.get("cap_add"), "cap_add"))),
        user=str(values["user"]) if values.get("user") else None,
        stop_grace_s=_seconds(values.get("stop_grace_period", "10s")),
        log_driver=str(logging.get("driver", "json-file")),
        log_options=_strings(logging.get("options"), "logging.options"),
    )


def _mapping(value: object, key: str, known: set[str] | None = None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Refused(f"{key} must be a mapping, not {value!r}.")
    if known is not None and (unknown := sorted(value.keys() - known)):
        raise _Refused(f"{key}.{unknown[0]} is not a key this launcher honours; remove it.")
    return value


def _strings(value: object, key: str) -> dict[str, str]:
    return {str(name): str(entry) for name, entry in _mapping(value, key).items()}


def _words(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Refused(f"{key} must be a list of words, not {value!r}.")
    return tuple(str(word) for word in value)


def _list(value: object, key: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise _Refused(f"{key} must be a list, not {value!r}.")
    return value or []


def _flag(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise _Refused(f"{key} is {value!r}; write true or false.")
    return value


def _gpus(value: object) -> bool:
    if value is None:
        return False
    if value == "all":
        return True
    raise _Refused(f"gpus is {value!r}; use `all` or leave it out.")


def _mount(entry: object, root: Path) -> Mount:
    known = {"type", "source", "target", "read_only"}
    values = _mapping(entry, "volumes", known)
    if values.get("type") != "bind" or not {"source", "target"} <= values.keys():
        raise _Refused(f"volumes: {entry!r} must have type bind, a source and a target.")
    source = root / Path(str(values["source"])).expanduser()
    return Mount(source=source, target=str(values["target"]), read_only=_flag(values, "read_only"))


def _limit(name: str, value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = _mapping(value, f"ulimits.{name}", {"soft", "hard"})
    try:
        return int(values["soft"]), int(values["hard"])
    except (KeyError, TypeError, ValueError):
        raise _Refused(f"ulimits.{name} must be a number, or soft and hard.") from None


def size_bytes(value: object, key: str) -> int:
    """Return bytes for `64gb`, `512m` or a number (units are powers of 1024, as Docker's)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", str(value).strip().lower())
    if match is None:
        raise _Refused(f"{key} is {value!r}; write a size such as 64gb.")
    return int(float(match[1]) * _UNITS[match[2]])


def _seconds(value: object) -> float:
    match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", str(value).strip())
    if match is None or not match[0]:
        raise _Refused(f"stop_grace_period is {value!r}; write a time such as 30s.")
    return 60 * int(match[1] or 0) + float(match[2] or 0)
