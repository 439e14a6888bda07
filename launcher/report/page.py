"""One page that explains an answer: facts and charts to HTML, Markdown or JSON.

The page is one file: no script, no font, no picture from elsewhere, and a policy in its head that
forbids any. The same answer gives the same bytes.
"""

import json
from typing import Any

from launcher import __version__, pages
from launcher.answer import Answer
from launcher.report import model, pictures
from launcher.report.form import Format


def render(answer: Answer, form: Format) -> str:
    """Return the report as text."""
    facts = model.of(answer)
    match form:
        case Format.JSON:
            return json.dumps(facts, indent=2, sort_keys=True) + "\n"
        case Format.MARKDOWN:
            return _page("report.md.j2", facts)
        case Format.HTML:
            return _page("report.html.j2", facts, charts=pictures.draw(answer, facts))


def _page(template: str, facts: dict[str, Any], **more: Any) -> str:  # noqa: ANN401 - charts
    return pages.render(template, **facts, version=__version__, **more)
