import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from pocketcxr import roles
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.costs import Costs, Latency
from pocketcxr.evaluation.scoring import score
from pocketcxr.report.evaluate import evaluate_models
from pocketcxr.report.evaluation_charts import _precision, _roc, curves_of_models
from pocketcxr.report.plots import Axis, Series, interval_chart, line_chart
from pocketcxr.report.training_curves import read_curves, training_charts


class Reader(HTMLParser):
    """What a browser would see: tags in balance, attributes, text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "line", "circle", "rect", "path", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(make_dataset, make_oracle, tmp_path):
    dataset = make_dataset("covid-3class", 240)
    runs = tmp_path / "run"
    runs.mkdir()
    (runs / "metrics.csv").write_text("step,loss\n1,0.9\n2,0.5\n3,0.4\n")
    (runs / "epochs.csv").write_text("epoch,auroc\n1,0.7\n2,0.8\n")
    oracles = {
        roles.TEACHER: make_oracle(dataset, 2.5, 1),
        "odd <script>alert(1)</script>\u202e\x1b[31m": make_oracle(dataset, 1.0, 2),
        roles.DISTILLED: make_oracle(dataset, 2.0, 3),
    }
    evaluation = evaluate_models(
        [score(name, oracle, dataset, dataset.positions("calibration")) for name, oracle in oracles.items()],
        [score(name, oracle, dataset, dataset.positions("test"), keep_saliency=5) for name, oracle in oracles.items()],
        dataset,
        config=EvaluationConfig(bootstrap=50),
        costs={roles.TEACHER: Costs(43_600_000, 23_600_000_000, 174_000_000, Latency(640, 600, 700, 30), 9 * 10**8)},
        out=tmp_path,
        title="Trial & error",
        notes=["These are drawings."],
        curves={roles.DISTILLED: runs, roles.TEACHER: tmp_path / "missing"},
        command="pocketcxr distill --task covid-3class",
        settings={"student": {"epochs": 3}},
    )
    reader = Reader()
    reader.source = evaluation.report.read_text(encoding="utf-8")
    reader.feed(reader.source)
    reader.close()
    reader.evaluation = evaluation
    return reader


def test_page_is_well_formed_and_asks_nobody_for_anything(page):
    assert page.open == []
    assert not re.search(r"https?:", re.sub(r"data:[^\"]+", "", page.source))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_names_are_escaped_and_not_run(page):
    assert "odd <script>alert(1)</script>" in page.text
    assert "Trial & error" in page.text
    assert r"</script>\u202e\x1b[31m" in page.text
    assert all(one.isprintable() or one in "\n\xa0" for one in page.source)
    record = (page.evaluation.report.parent / "evaluation.json").read_text(encoding="utf-8")
    assert all(one.isprintable() or one == "\n" for one in record)


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def test_page_forbids_itself_scripts_and_everything_from_elsewhere(page):
    policies = [attributes for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes]
    assert policies == [{"http-equiv": "Content-Security-Policy", "content": POLICY}]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_browser_shows_all_of_the_page_under_its_policy_and_runs_nothing_else(page, tmp_path):
    """Its styles, charts and pictures are allowed; a script that got into it would not run."""

    def shown(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path}",
        ]
        command = ["chromium", *options, "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "Content Security Policy" in line]

    document, violations = shown("plain.html", page.source)
    assert violations == []
    assert document.count("<img") == page.source.count("<img") > 0
    body = "<script>document.title = 'it ran'</script><img src='https://example.invalid/a.png'></body>"
    document, violations = shown("changed.html", page.source.replace("</body>", body))
    assert "it ran" not in document.partition("<body>")[0]
    assert len(violations) == 2


def test_the_first_screen_is_the_summary_and_details_are_folded(page):
    first, rest = page.source.partition("<main>")[::2]
    assert page.evaluation.headline in first
    for one in page.evaluation.key_figures:
        assert one.value in first
    assert rest.count("<details>") > 6
    assert "<details open" not in page.source
    assert rest.index("<details>") < rest.index('aria-label="Figures of all models"') < rest.index("</details>")


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_printing_opens_what_is_folded(page, tmp_path):
    def pages(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        printed = tmp_path / f"{name}.pdf"
        command = ["chromium", *options, f"--print-to-pdf={printed}", (tmp_path / name).as_uri()]
        subprocess.run(command, capture_output=True, timeout=240, check=True)
        return len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))

    printed = pages("folded.html", page.source)
    assert printed == pages("open.html", page.source.replace("<details>", "<details open>"))
    assert printed > pages("kept.html", page.source.replace("::details-content", "::no-such-part"))


def test_page_can_be_used_by_those_who_do_not_see_it(page):
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 1 + 4 + 2  # overview; ROC, precision-recall, reliability, classes; two training charts
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in charts)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    targets = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert targets <= {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}


def test_page_says_what_a_reader_must_know(page):
    words = " ".join(page.text.split())
    for expected in (
        page.evaluation.headline,
        "These are drawings.",
        "not a medical device",
        "pocketcxr distill --task covid-3class",
        "feedc0de",
        "640 ms",
        "not measured",
        "Most confident errors of the distilled student",
    ):
        assert expected in words, expected
    assert "secret" not in page.source


def test_errors_in_the_gallery_are_the_most_confident_ones(page):
    shown = page.evaluation.primary
    wrong = shown.probabilities.max(axis=1)[shown.predicted != shown.predictions.labels]
    _, _, gallery = page.text.partition("Most confident errors")
    first = re.search(r"predicted \w+\s*\(([\d.]+) %\)", gallery)
    assert float(first[1]) == pytest.approx(100 * wrong.max(), abs=0.06)


def points_of(svg):
    root = ET.fromstring(svg)
    (line,) = [element for element in root.iter() if element.tag == "polyline"]
    return [tuple(float(number) for number in pair.split(",")) for pair in line.get("points").split()]


def test_chart_puts_points_where_they_belong():
    svg = line_chart(
        [Series("a < b", [(0, 0), (0.5, 1), (1, float("nan"))], 0)],
        Axis("x", 0, 1),
        Axis("y", 0, 1),
        title="T",
        description="D & E",
    )
    (x0, y0), (x1, y1) = points_of(svg)  # the point that is not a number is left out
    assert (x0, y0) == (52, 314)  # lower left corner of the frame
    assert (x1, y1) == (52 + (408 - 52) / 2, 12)
    texts = [element.text for element in ET.fromstring(svg).iter() if element.tag == "text"]
    assert "a < b" in texts
    assert {"0", "0.2", "0.4", "0.6", "0.8", "1"} <= set(texts)


def test_chart_without_points_says_so():
    svg = line_chart([Series("m", [], 0)], Axis("x"), Axis("y"), title="T", description="D")
    assert "m: not measurable" in svg
    ET.fromstring(svg)


def test_flat_lines_and_long_ones_are_drawn():
    flat = line_chart([Series("m", [(1, 0.5), (2, 0.5)], 0)], Axis("x"), Axis("y"), title="T", description="D")
    assert len(points_of(flat)) == 2
    long = [(i, i % 7) for i in range(5000)]
    found = points_of(line_chart([Series("m", long, 0)], Axis("x"), Axis("y"), title="T", description="D"))
    assert len(found) <= 300
    assert found[-1][0] == 408  # the last point is kept


def test_interval_chart_shows_models_without_an_interval():
    svg = interval_chart([("a", 0.9, 0.85, 0.95), ("b", 0.8, None, None)], title="T", axis="AUROC")
    root = ET.fromstring(svg)
    assert len([element for element in root.iter() if "line s" in element.get("class", "")]) == 1
    assert "0.800" in [element.text for element in root.iter()]


def test_curves_of_models_are_well_formed_charts(page):
    charts = curves_of_models(page.evaluation.models, page.evaluation.task)
    assert [chart.title for chart in charts] == ["ROC curve", "Precision and recall", "Reliability"]
    for chart in charts:
        ET.fromstring(chart.svg)


@pytest.mark.parametrize("decimals", [1, 9])
def test_curves_pass_through_the_points_of_scikit_learn(decimals):
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    scores = rng.normal(truth).round(decimals)
    alarms, hits, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert np.array(_roc(truth, scores)) == pytest.approx(np.stack([alarms, hits], axis=1))
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert np.array(_precision(truth, scores)) == pytest.approx(np.stack([recall, precision], axis=1)[-2::-1])


def test_curves_are_read_whatever_a_run_wrote(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,loss,note,calibration_auroc\n1,1,0.9,warm,\n2,1,0.7,,0.6\n3,2,nan,,\n4,2,0.5,,0.8\n"
    )
    read = read_curves(tmp_path)
    assert read["loss"] == ("epoch", [(1, pytest.approx(0.8)), (2, 0.5)])
    assert read["calibration_auroc"].points == [(1, 0.6), (2, 0.8)]
    assert "note" not in read


def test_runs_without_usable_metrics_leave_no_chart(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    assert read_curves(tmp_path) == {}
    assert training_charts({"a": tmp_path, "b": tmp_path / "none"}) == []
