import itertools
import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from launcher import answer
from launcher.check import Checked
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding
from launcher.official import Convergence, Opinion
from launcher.paths import ROOT
from launcher.report import charts, page
from launcher.report.charts import Series
from launcher.report.form import Format
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results"
MAX_BYTES = 3 << 20


def referee(sets):
    factors = {Benchmark.RESNET: 1.0042232, Benchmark.BERT: 1.0}
    return [checked(runs, factors[runs.benchmark]) for runs in sets]


def checked(runs, factor):
    convergence = Convergence(passed=True, factor=factor, message="RCP Interpolation")
    opinion = Opinion(findings=(), compliant=(True,) * len(runs.runs), convergence=convergence)
    finding = Finding(rule="seed.unique", where="run_3", message="was used twice")
    return Checked(runs=runs, opinion=opinion, verdicts=(), findings=(finding,))


class Outline(HTMLParser):
    """What a browser and a screen reader would meet."""

    def __init__(self, text):
        super().__init__()
        self.tags = Counter()
        self.ids = Counter()
        self.links = []
        self.headings = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags[tag] += 1
        self.ids.update([found["id"]] if "id" in found else [])
        self.links += [
            found[key] for key in ("href", "src", "xlink:href", "action") if key in found
        ]
        if tag in {"h1", "h2", "h3"}:
            self.headings.append(tag)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("results") / "node"
    recorded.write(root / "resnet", Benchmark.RESNET, failed=(2,))
    recorded.write(root / "bert", Benchmark.BERT)
    return answer.load([root], referee)


@pytest.fixture(scope="module")
def html(found):
    return page.render(found, Format.HTML)


def test_the_page_of_fifteen_runs_stays_small(html):
    assert len(html.encode()) < MAX_BYTES


def test_the_page_refers_to_nothing_but_itself(html):
    outline = Outline(html)
    assert [link for link in outline.links if not link.startswith(("#", "data:,"))] == []
    assert outline.tags["script"] == 0
    assert "default-src 'none'" in html
    assert "@import" not in html


def test_every_id_is_there_once_and_every_inner_link_leads_somewhere(html):
    outline = Outline(html)
    assert [name for name, count in outline.ids.items() if count > 1 and "-" not in name] == []
    missing = {link[1:] for link in outline.links if link.startswith("#")} - outline.ids.keys()
    assert missing == set()


def test_headings_never_skip_a_level(html):
    levels = [int(tag[1]) for tag in Outline(html).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_both_scores_and_their_arithmetic_are_shown(found, html):
    for score in (found.scores.raw, found.scores.normalised):
        assert score.arithmetic in html


def test_every_chart_of_both_benchmarks_is_drawn(html):
    outline = Outline(html)
    assert outline.tags["svg"] == outline.tags["figure"] == 13


def test_the_accuracy_chart_holds_every_evaluation():
    curve = Series(label="run 0", kind="scored", x=(0.0, 1.0, 2.0), y=(0.1, 0.5, 0.76))
    svg = charts.accuracy([curve], 0.759, "top-1 accuracy")
    height = float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg)[1])
    drawn = re.search(r'd="(M [^"]+)" clip-path="[^"]*" style="[^"]*var\(--accent\)', svg)[1]
    rows = [float(point.split()[1]) for point in re.split("[ML] ", drawn) if point]
    assert len(rows) == len(curve.y)
    assert all(0 < row < height for row in rows)


def test_the_page_judges_the_size_of_the_data_set_as_check_does(found):
    resnet = json.loads(page.render(found, Format.JSON))["benchmarks"][0]
    judged = {row["key"]: row["ok"] for row in resnet["hyperparameters"]}
    assert (judged["train_samples"], judged["eval_samples"]) == (True, True)


def test_a_run_that_did_not_converge_is_shown_as_such(found):
    facts = json.loads(page.render(found, Format.JSON))
    kinds = [run["kind"] for run in facts["benchmarks"][0]["runs"]]
    assert kinds.count("failed") == 1
    assert kinds.count("dropped") == 1  # the failed one is the slowest
    assert kinds.count("scored") == 3


def test_the_same_answer_gives_the_same_page(found, html):
    assert page.render(found, Format.HTML) == html


def test_a_rehearsal_is_watermarked_in_every_format(tmp_path):
    recorded.write(tmp_path / "REHEARSAL-x" / "resnet", Benchmark.RESNET, rehearsal=True)
    found = answer.load([tmp_path], answer.unasked)
    for form in Format:
        assert "REHEARSAL - NOT A RESULT" in page.render(found, form)


def test_a_real_result_carries_no_watermark(html):
    assert "REHEARSAL" not in html


def test_a_strangers_markup_stays_text(tmp_path):
    folder = recorded.write(tmp_path / "node" / "resnet", Benchmark.RESNET)
    path = folder / "plan.json"
    plan = json.loads(path.read_text())
    plan["system"]["submitter"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(plan))
    text = page.render(answer.load([tmp_path], answer.unasked), Format.HTML)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_findings_are_shown_with_their_weight(html):
    assert "seed.unique" in html.replace("<wbr>", "")
    assert "bert/run_3" in html.replace("<wbr>", "")
    assert 'class="tag bad">error' in html


def test_json_holds_what_the_page_shows(found):
    facts = json.loads(page.render(found, Format.JSON))
    assert facts["score"]["raw"]["value"] == pytest.approx(found.scores.raw.value)
    assert [each["name"] for each in facts["benchmarks"]] == ["resnet", "bert"]
    assert facts["benchmarks"][1]["hyperparameters"][0]["freedom"]


def test_markdown_has_a_row_for_every_run(found):
    text = page.render(found, Format.MARKDOWN)
    assert sum(line.startswith("| ") and "| scored |" in line for line in text.splitlines()) == 11


def test_published_results_make_a_page_too():
    folder = PUBLISHED / "v4.0/NVIDIA"
    if not folder.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    text = page.render(answer.load([folder], referee), Format.HTML)
    assert "2.3343" in text
    assert "These logs came without a system description" in text
