"""The MLPerf tab of the RFP's workbook: what it says, and what we write into it.

`Tab` <-> bytes of Benchmark_Results.xlsx. Times are in seconds here and nowhere else: the tab asks
for seconds while the score counts minutes, so every time passes a unit guard on its way in. It
never touches another sheet, and never guesses the Proposed column.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from launcher import xlsx
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding, Severity
from launcher.errors import ConfigError

SHEET = "MLPerf"
# What must stand beside the cells before we write into them: another layout is another template.
LABELS = {
    "B7": "Number of nodes",
    "B8": "BERT Benchmark (seconds)",
    "B9": "ResNet Benchmark (seconds)",
    "B10": "Number of MPI tasks",
    "B11": "Number of OMP threads/task",
}
TIME_ROW = {Benchmark.BERT: 8, Benchmark.RESNET: 9}
TEXT_CELL = {
    "compiler": "C15",
    "mpi": "C16",
    "libraries": "C17",
    "compiler_flags": "C18",
    "library_flags": "C20",
    "description": "B23",
}
# No single node published in any round is within a factor of three of these (v5.0: BERT 200 s on
# 8 B200; v4.0: ResNet 722 s on 8 H200). A smaller number is minutes, or a mistake.
SHORTEST_S = {Benchmark.BERT: 60.0, Benchmark.RESNET: 180.0}
PER_MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the tab: Test (measured) or Proposed (projected)."""

    nodes: int
    seconds: Mapping[Benchmark, float]
    tasks: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """Everything that goes into the MLPerf tab."""

    test: Column
    proposed: Column | None
    texts: Mapping[str, str]  # keys of TEXT_CELL


def fill(template: bytes, tab: Tab) -> tuple[bytes, tuple[Finding, ...]]:
    """Write the tab into the template and say what a reader should know.

    Numbers are always written. A text that the proponent typed into the template is kept.
    Raises ConfigError when the layout is not the RFP's or a time is not in seconds.
    """
    present = xlsx.cells(template, SHEET)
    _require_layout(present)
    findings = []
    values: dict[str, str | float] = _column("C", tab.test)
    if tab.proposed is not None:
        _require_same_unit(tab.test, tab.proposed)
        values |= _column("D", tab.proposed)
    else:
        findings.extend(_proposed_nodes(present, tab.test))
    for name, text in tab.texts.items():
        cell = TEXT_CELL[name]
        if cell in present and present[cell].value != text:
            findings.append(_kept(cell))
        elif text:
            values[cell] = text
    return xlsx.write(template, SHEET, values), tuple(findings)


def times(workbook: bytes) -> dict[str, xlsx.Cell]:
    """Return the cells of a filled tab that state numbers: nodes, seconds, tasks and threads.

    Raises ConfigError when there is no such tab or its labels are not the RFP's.
    """
    present = xlsx.cells(workbook, SHEET)
    _require_layout(present)
    wanted = [f"{column}{row}" for column in "CD" for row in range(7, 12)]
    return {name: present[name] for name in wanted if name in present}


def require_seconds(benchmark: Benchmark, value: float, where: str) -> None:
    """Refuse a time that can only be minutes."""
    if value < SHORTEST_S[benchmark]:
        raise ConfigError(
            f"{where} is {value:g}, which no node reaches in seconds and which reads like minutes; "
            f"the tab takes seconds, so {value * PER_MINUTE:g}?"
        )


def _column(letter: str, column: Column) -> dict[str, str | float]:
    values: dict[str, str | float] = {f"{letter}7": column.nodes}
    for benchmark, seconds in column.seconds.items():
        cell = f"{letter}{TIME_ROW[benchmark]}"
        require_seconds(benchmark, seconds, f"cell {cell} ({benchmark.value})")
        values[cell] = round(seconds, 3)
    if column.tasks is not None:
        values[f"{letter}10"] = column.tasks
    if column.threads is not None:
        values[f"{letter}11"] = column.threads
    return values


def _require_layout(present: Mapping[str, xlsx.Cell]) -> None:
    for cell, label in LABELS.items():
        found = present[cell].value if cell in present else None
        if str(found).strip() != label:
            raise ConfigError(
                f"sheet {SHEET!r}, cell {cell} says {found!r} where the RFP's template says "
                f"{label!r}; take the template as it was published."
            )


def _require_same_unit(test: Column, proposed: Column) -> None:
    """Refuse a projection sixty times faster than the measurement: it is in minutes."""
    for benchmark, measured in test.seconds.items():
        value = proposed.seconds.get(benchmark)
        if value is not None and value * proposed.nodes < measured / 20:
            raise ConfigError(
                f"proposed.{benchmark.value}_seconds is {value:g} on {proposed.nodes} node(s) where"
                f" {measured:g} s were measured on one; write seconds ({value * PER_MINUTE:g}?)."
            )


def _proposed_nodes(present: Mapping[str, xlsx.Cell], test: Column) -> list[Finding]:
    nodes = present["D7"].value if "D7" in present else None
    shown = f"{nodes:g}" if isinstance(nodes, float) else repr(nodes)
    if nodes is None or nodes == test.nodes:
        return []
    return [
        Finding(
            rule="workbook.proposed",
            where=f"{SHEET}!D7",
            message=f"The template proposes {shown} nodes, the RFP's text and the runs are of "
            f"{test.nodes}; the cell is left as it is. Decide, and say so in a `proposed:` block "
            "of the system file.",
            severity=Severity.WARNING,
        )
    ]


def _kept(cell: str) -> Finding:
    return Finding(
        rule="workbook.kept",
        where=f"{SHEET}!{cell}",
        message="The template already holds a text here; it was kept. Empty the cell to have it "
        "written.",
        severity=Severity.NOTE,
    )
