import pytest

from launcher import workbook, xlsx
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.errors import ConfigError
from launcher.paths import ROOT

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"
SECONDS = {Benchmark.BERT: 312.699, Benchmark.RESNET: 721.60566}
TEST = workbook.Column(nodes=1, seconds=SECONDS, tasks=8, threads=12)
TEXTS = {"compiler": "gcc 13.2", "description": "What was changed,\nand why."}


@pytest.fixture(scope="module")
def template():
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    return TEMPLATE.read_bytes()


def tab(**changes):
    return workbook.Tab(**({"test": TEST, "proposed": None, "texts": TEXTS} | changes))


def test_seconds_nodes_tasks_and_threads_land_in_the_test_column(template):
    filled, _ = workbook.fill(template, tab())
    found = {name: cell.value for name, cell in workbook.times(filled).items()}
    assert found == {"C7": 1, "C8": 312.699, "C9": 721.606, "C10": 8, "C11": 12, "D7": 4}


def test_texts_land_in_their_cells(template):
    filled, _ = workbook.fill(template, tab())
    cells = xlsx.cells(filled, workbook.SHEET)
    assert cells["C15"].value == "gcc 13.2"
    assert cells["B23"].value == "What was changed,\nand why."


def test_the_proposed_column_is_left_alone_and_its_four_nodes_are_pointed_out(template):
    filled, findings = workbook.fill(template, tab())
    cells = workbook.times(filled)
    assert cells["D7"].value == 4
    assert "D8" not in cells
    [finding] = findings
    assert (finding.where, finding.severity) == ("MLPerf!D7", Severity.WARNING)


def test_an_explicit_projection_fills_the_proposed_column(template):
    proposed = workbook.Column(nodes=1, seconds={Benchmark.BERT: 300.0, Benchmark.RESNET: 700.0})
    filled, findings = workbook.fill(template, tab(proposed=proposed))
    cells = workbook.times(filled)
    assert [cells[name].value for name in ("D7", "D8", "D9")] == [1, 300, 700]
    assert findings == ()


def test_a_text_the_proponent_typed_is_kept(template):
    typed = xlsx.write(template, workbook.SHEET, {"C15": "icc 2024"})
    filled, findings = workbook.fill(typed, tab())
    assert xlsx.cells(filled, workbook.SHEET)["C15"].value == "icc 2024"
    assert "workbook.kept" in {finding.rule for finding in findings}


def test_filling_twice_changes_nothing(template):
    once, _ = workbook.fill(template, tab())
    twice, findings = workbook.fill(once, tab())
    assert xlsx.cells(once, workbook.SHEET) == xlsx.cells(twice, workbook.SHEET)
    assert [finding.rule for finding in findings] == ["workbook.proposed"]


@pytest.mark.parametrize("benchmark", Benchmark)
def test_minutes_in_a_seconds_cell_are_refused_with_the_seconds_they_would_be(template, benchmark):
    minutes = workbook.Column(nodes=1, seconds={benchmark: 12.5})
    with pytest.raises(ConfigError, match=r"reads like minutes.*750"):
        workbook.fill(template, tab(test=minutes))


def test_projected_minutes_are_refused_even_where_they_are_many(template):
    slow = workbook.Column(nodes=1, seconds={Benchmark.BERT: 4817.0})
    proposed = workbook.Column(nodes=1, seconds={Benchmark.BERT: 80.3})
    with pytest.raises(ConfigError, match=r"write seconds \(4818\?\)"):
        workbook.fill(template, tab(test=slow, proposed=proposed))


def test_another_layout_is_refused_by_cell(template):
    moved = xlsx.write(template, workbook.SHEET, {"B8": "ResNet Benchmark (seconds)"})
    with pytest.raises(ConfigError, match="cell B8 says 'ResNet"):
        workbook.fill(moved, tab())


def test_a_workbook_in_minutes_is_refused(template):
    other = xlsx.write(template, workbook.SHEET, {"B8": "BERT Benchmark (minutes)"})
    with pytest.raises(ConfigError, match="minutes"):
        workbook.times(other)


def test_a_text_where_the_proposed_nodes_go_is_pointed_out_as_it_stands(template):
    worded = xlsx.write(template, workbook.SHEET, {"D7": "four"})
    _, findings = workbook.fill(worded, tab())
    assert "The template proposes 'four' nodes" in findings[0].message
