"""How a report may be spelt."""

import enum


class Format(enum.Enum):
    """How a report is spelt."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"
