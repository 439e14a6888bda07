"""Claims: what a response states, what its evidence comes to, and whether the two agree."""

import enum
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

LARGEST = 1e15  # what no float holds cannot be compared
MAX_PROBLEMS = 100  # of one kind in one place; a forger cannot drown the rest


class Verdict(enum.Enum):
    """What the evidence says about a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"  # the evidence for it is not in the package


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of a response, held against what was recomputed."""

    name: str  # e.g. "ledger.chain" or "workbook.C8"
    where: str  # a file of the package
    verdict: Verdict
    message: str  # one sentence: what was stated, what was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Makes claims about one file or folder of the package."""

    where: str

    def agrees(self, name: str, message: str) -> Claim:
        """State that claim and evidence are the same."""
        return Claim(name=name, where=self.where, verdict=Verdict.AGREES, message=message)

    def differs(self, name: str, message: str) -> Claim:
        """State that they are not."""
        return Claim(name=name, where=self.where, verdict=Verdict.DIFFERS, message=message)

    def cannot_tell(self, name: str, message: str) -> Claim:
        """State that there is nothing to compare with."""
        return Claim(name=name, where=self.where, verdict=Verdict.CANNOT_TELL, message=message)

    def judge(self, name: str, problems: Iterable[str], fine: str) -> list[Claim]:
        """Turn a list of problems into one claim each, or into one that all is well."""
        listed = list(itertools.islice(problems, MAX_PROBLEMS + 1))
        if len(listed) > MAX_PROBLEMS:
            listed[-1] = f"and more than {MAX_PROBLEMS} in all"
        return [self.differs(name, problem) for problem in listed] or [self.agrees(name, fine)]


def same(stated: object, found: float, tolerance: float = 1e-6) -> bool:
    """Compare a stated number, which may be anything, with a recomputed one."""
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        return False
    if abs(stated) > LARGEST:
        return False
    return math.isclose(stated, found, rel_tol=tolerance, abs_tol=tolerance)
