import io
import zipfile
from pathlib import Path

import openpyxl
import pytest

from launcher import xlsx
from launcher.errors import ConfigError
from launcher.paths import ROOT

TEMPLATE = ROOT.parent / "shared/rfp/Benchmark_Results.xlsx"


@pytest.fixture(scope="module")
def template():
    if not TEMPLATE.is_file():
        pytest.skip(f"the RFP's workbook is not at {TEMPLATE}")
    return TEMPLATE.read_bytes()


@pytest.fixture
def small():
    """A workbook that some other program wrote."""
    book = openpyxl.Workbook()
    book.active.title = "One"
    book.active["A1"] = "label"
    book.active["B1"] = 3
    book.active["C1"] = "=B1*2"
    book.create_sheet("Two")["A1"] = "untouched"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def parts(workbook):
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(workbook, **changed):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (parts(workbook) | changed).items():
            archive.writestr(name, content)
    return out.getvalue()


def test_values_come_back_with_their_kind_and_formula(small):
    found = xlsx.cells(small, "One")
    assert found["A1"].value == "label"
    assert found["B1"].value == 3.0
    assert found["C1"].formula == "B1*2"


def test_a_written_cell_reads_back_and_its_neighbours_stay(small):
    changed = xlsx.write(small, "One", {"A1": "a <tag> & two\nlines", "B1": 312.5})
    found = xlsx.cells(changed, "One")
    assert (found["A1"].value, found["B1"].value) == ("a <tag> & two\nlines", 312.5)
    assert found["C1"].formula == "B1*2"


def test_another_program_reads_what_was_written(template):
    changed = xlsx.write(template, "MLPerf", {"C8": 312.5, "B23": "why <b>\nand how"})
    sheet = openpyxl.load_workbook(io.BytesIO(changed))["MLPerf"]
    assert (sheet["C8"].value, sheet["B23"].value) == (312.5, "why <b>\nand how")


def test_only_the_sheet_that_is_written_changes(template):
    before, after = parts(template), parts(xlsx.write(template, "MLPerf", {"C8": 1.5}))
    assert list(before) == list(after)
    assert [name for name in before if before[name] != after[name]] == ["xl/worksheets/sheet7.xml"]


def test_every_byte_of_the_sheet_outside_the_cell_stays(template):
    name = "xl/worksheets/sheet7.xml"
    before, after = parts(template)[name], parts(xlsx.write(template, "MLPerf", {"C8": 1.5}))[name]
    assert after == before.replace(b'<c r="C8" s="13"/>', b'<c r="C8" s="13"><v>1.5</v></c>')


def test_the_same_input_gives_the_same_bytes(template):
    assert xlsx.write(template, "MLPerf", {"C8": 1.5}) == xlsx.write(
        template, "MLPerf", {"C8": 1.5}
    )


def test_a_cell_can_be_written_again(template):
    twice = xlsx.write(xlsx.write(template, "MLPerf", {"B23": "a"}), "MLPerf", {"B23": "b"})
    assert xlsx.cells(twice, "MLPerf")["B23"].value == "b"


def test_control_characters_do_not_break_the_file(small):
    changed = xlsx.write(small, "One", {"A1": "bell\x07 and \x00 null"})
    assert xlsx.cells(changed, "One")["A1"].value == "bell and  null"


def test_a_missing_sheet_is_named_with_those_that_are_there(small):
    with pytest.raises(ConfigError, match=r"no sheet 'MLPerf', only One, Two"):
        xlsx.cells(small, "MLPerf")


def test_a_missing_cell_is_named(small):
    with pytest.raises(ConfigError, match="no cell Z99"):
        xlsx.write(small, "One", {"Z99": 1})


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04 not really", b"\x00" * 1000])
def test_bytes_that_are_no_workbook_are_refused(junk):
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        xlsx.cells(junk, "MLPerf")


def test_a_zip_without_a_workbook_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ConfigError, match=r"no part 'xl/workbook\.xml'"):
        xlsx.cells(out.getvalue(), "One")


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_never_expanded(small, encoding):
    bomb = rezip(small, **{"xl/workbook.xml": ENTITIES.encode(encoding)})
    with pytest.raises(ConfigError, match=r"document type|not XML"):
        xlsx.cells(bomb, "One")


def test_a_workbook_that_unpacks_to_too_much_is_refused(small, monkeypatch):
    monkeypatch.setattr(xlsx, "MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match="unpacks to more"):
        xlsx.cells(small, "One")


def test_a_truncated_workbook_is_refused(small):
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        xlsx.cells(small[: len(small) // 2], "One")


def test_nothing_is_written_beside_the_workbook(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    xlsx.write(small, "One", {"A1": 1})
    assert list(Path().iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_part_or_a_cell_that_stands_twice_is_refused(small):
    with zipfile.ZipFile(io.BytesIO(small)) as source:
        parts = {info.filename: source.read(info) for info in source.infolist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in [*parts.items(), *parts.items()]:
            target.writestr(name, content)
    with pytest.raises(ConfigError, match="a part twice"):
        xlsx.cells(out.getvalue(), "One")
    sheet = xlsx.write(small, "One", {"A1": 1})
    with zipfile.ZipFile(io.BytesIO(sheet)) as source:
        name = next(each for each in source.namelist() if "sheet1" in each)
        xml = source.read(name)
    again = xml.replace(b"</row>", b'<c r="A1"><v>2</v></c></row>', 1)
    with pytest.raises(ConfigError, match="holds cell A1 twice"):
        xlsx.cells(rezip(small, **{name: again}), "One")


def test_a_workbook_of_more_bytes_than_any_is_not_looked_into(small, monkeypatch):
    monkeypatch.setattr(xlsx, "MAX_PACKED", 100)
    with pytest.raises(ConfigError, match="is larger than"):
        xlsx.cells(small, "One")


def test_text_that_xml_cannot_hold_is_left_out(small):
    filled = xlsx.write(small, "One", {"A1": "a\ud800b\ufffec\x0bd"})
    assert xlsx.cells(filled, "One")["A1"].value == "abcd"
