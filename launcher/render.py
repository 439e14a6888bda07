"""A system and its settings to the text of hyperparameters.yaml, which every run starts from.

Templates say what a reader sees; this module chooses nothing and writes no file.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jinja2  # noqa: TID251 - this module renders the hyperparameter files

from launcher import paths
from launcher.core import rules
from launcher.core.benchmark import Benchmark
from launcher.core.rules import Freedom, Verdict
from launcher.core.settings import Settings
from launcher.core.system import System, nearest
from launcher.errors import ConfigError


def hyperparameters(
    benchmark: Benchmark,
    system: System,
    settings: Settings,
    *,
    rehearsal: bool,
    implementation: str = "pytorch",
) -> str:
    """Return hyperparameters.yaml for one benchmark on one node.

    Raises ConfigError when the template asks for what is not there.
    """
    name = f"{benchmark.value}.yaml.j2"
    try:
        context = _context(benchmark, system, settings, rehearsal=rehearsal)
        text = environment().get_template(name).render(context, implementation=implementation)
    except jinja2.TemplateError as error:
        place = f"{paths.TEMPLATES / name}"
        raise ConfigError(f"{place}: {error}; restore the template with git.") from error
    _refuse_unknown(system, benchmark, text)
    return text


def environment() -> jinja2.Environment:
    """Return what the templates are rendered in."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML; values pass through tojson
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
    made.filters["tojson"] = json.dumps  # the built-in one escapes for HTML
    made.filters["exact"] = exact
    return made


def exact(value: object) -> str:
    """Return a value as JSON, and a float with all its digits and without an exponent.

    YAML 1.1 takes 5e-5 for a text, and a rounded value is not the one that the plan states.
    """
    if not isinstance(value, float):
        return json.dumps(value)
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"


def _refuse_unknown(system: System, benchmark: Benchmark, text: str) -> None:
    """Name what a system file sets and the template does not take up."""
    choice = system.choices.get(benchmark)
    section = text.partition("\ntraining:\n")[2].partition("\nmodel:\n")[0]
    taken = re.findall(r"^  (\w+):", section, re.MULTILINE)
    for key in choice.training if choice else ():
        if key not in taken:
            where = f"{system.name}.yaml: benchmarks.{benchmark.value}.training"
            raise ConfigError(f"{where}.{key} is not a known key; {nearest(str(key), taken)}.")


def _context(
    benchmark: Benchmark, system: System, settings: Settings, *, rehearsal: bool
) -> Mapping[str, Any]:
    verdicts = rules.verdicts(benchmark, settings.hyperparameters)
    return {
        "benchmark": benchmark,
        "system": system,
        "preset": settings.preset,
        "rehearsal": rehearsal,
        "accelerators": system.accelerators.count,
        "submission": {
            "org": system.submitter,
            "division": system.division,
            "status": system.log_status,
            "platform": system.platform,
        },
        "hyperparameters": settings.hyperparameters,
        "training": settings.training,
        "verdicts": verdicts,
        "notes": {verdict.key: _note(verdict) for verdict in verdicts},
    }


def _note(verdict: Verdict) -> str:
    """Return the comment behind one value."""
    said = verdict.freedom.value
    if verdict.freedom is not Freedom.FREE:
        said += f": {verdict.allowed}"
    return f"{said}. {verdict.note}" if verdict.note else said
