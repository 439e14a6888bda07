"""Findings: what a check has to say. Checks append findings; they never raise and never print."""

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """How much a finding weighs."""

    ERROR = "error"  # the result, or the response, is not valid
    WARNING = "warning"  # valid, but a reader will ask
    NOTE = "note"  # context, incl. what could not be checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about one place, with the rule it rests on and what to do."""

    rule: str  # short id, e.g. "seed.unique" or "compliance"
    where: str  # file, file:line or key
    message: str
    severity: Severity = Severity.ERROR


def valid(findings: "list[Finding] | tuple[Finding, ...]") -> bool:
    """Say whether no finding is an error."""
    return not any(finding.severity is Severity.ERROR for finding in findings)
