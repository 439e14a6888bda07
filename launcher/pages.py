"""Templates to text: the one place that starts jinja2 for reports and read-me files.

HTML is escaped by default; a value that is missing is an error and never an empty hole.
"""

from functools import cache
from typing import Any

import jinja2  # noqa: TID251 - report and response share this one environment

from launcher.paths import TEMPLATES


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(("html", "html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Fill a file of templates/."""
    text = _environment().get_template(template).render(**values)
    return text.encode(errors="backslashreplace").decode()  # JSON may hold what UTF-8 cannot
