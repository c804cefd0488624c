"""A study of several cases: its means, its tables and its page."""

import csv
import io
import json
from html.parser import HTMLParser

import pytest
import SimpleITK as sitk
from masks import ball, labelmap
from SpineSegLib.engine.comparison.pair import compare_pair
from SpineSegLib.engine.comparison.pictures import draw_worst_slices
from SpineSegLib.engine.comparison.report import FILES, write_report
from SpineSegLib.engine.comparison.study import CaseResult, study

SHAPE, SPACING = (16, 40, 40), (1.0, 1.0, 2.0)


def pair(radius, other=10.0):
    mm = SPACING[::-1]
    one, two = (ball(SHAPE, mm, (16.0, 20.0, 20.0), r) for r in (radius, other))
    return compare_pair(labelmap(one, SPACING), labelmap(two, SPACING))


@pytest.fixture(scope="module")
def two_models():
    results = []
    for model, radii in (("one 1", (8.0, 9.0, 11.0, 0.0)), ("two 2", (9.0, 9.5, 10.5, 6.0))):
        results += [CaseResult(f"case {n}", model, pair(radius), seconds=1.0) for n, radius in enumerate(radii)]
    results += [
        CaseResult("case <b>", "one 1", problem="There is no reference for this CT."),
        CaseResult("case <b>", "two 2", problem="There is no reference for this CT."),
        CaseResult("case 9", "one 1", pair(10.0)),
        CaseResult("case 9", "two 2", problem="There is not enough memory for this CT."),
    ]
    return study(results)


@pytest.fixture(scope="module")
def written(two_models, tmp_path_factory):
    """The folder of their report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, "Evaluation", "a <data set>", two_models, {"dataset": "test"})
    return folder


def test_means_and_pooled_values(two_models):
    one, two = two_models.models
    pairs = [result.comparison for result in one.compared]
    assert len(pairs) == 5
    dice = one.over_cases["dice"]
    assert (dice.count, dice.undefined) == (5, 0)
    assert dice.minimum == 0  # the empty prediction really is wrong
    assert dice.mean == pytest.approx(sum(p.metrics["dice"] for p in pairs) / 5)
    assert (one.over_cases["hausdorff_mm"].count, one.over_cases["hausdorff_mm"].undefined) == (4, 1)
    assert one.over_cases["precision"].undefined == 1
    tp, fp, fn = (sum(p.metrics[k] for p in pairs) for k in ("true_positives", "false_positives", "false_negatives"))
    assert one.pooled["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    slices = [s for p in pairs for s in p.slices]
    assert one.over_slices["dice"].mean == pytest.approx(sum(s.dice for s in slices) / len(slices))
    assert one.areas["pixels"].count == len(slices)
    assert one.volume.count == 5
    assert len(two.compared) == 4


def test_models_on_the_same_cases(two_models):
    difference = two_models.differences["two 2"]["dice"]
    assert difference.count == 4  # case 9 has no result of the second model
    values = [[r.comparison.metrics["dice"] for r in model.compared][:4] for model in two_models.models]
    assert difference.mean == pytest.approx(sum(b - a for a, b in zip(*values, strict=True)) / 4)
    assert two_models.differences["two 2"]["hausdorff_mm"].count == 3


def test_models_are_paired_by_case_and_not_by_place():
    dice = {radius: pair(radius) for radius in (8.0, 9.0, 11.0)}
    one = [CaseResult(f"case {n}", "one 1", dice[radius]) for n, radius in enumerate((8.0, 9.0, 11.0))]
    two = [CaseResult(f"case {n}", "two 2", dice[radius]) for n, radius in ((2, 8.0), (0, 9.0), (1, 11.0))]
    found = study([*one, *two]).differences["two 2"]["dice"]
    first, second, third = (each.metrics["dice"] for each in dice.values())
    assert found.median == pytest.approx(sorted([second - first, third - second, first - third])[1])


def test_problems_are_told_once(two_models):
    assert dict(two_models.problems) == {
        "case <b>": "There is no reference for this CT.",
        "case 9, two 2": "There is not enough memory for this CT.",
    }


class Page(HTMLParser):
    """Collects what a page refers to, and that its elements are closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.tags, self.ids = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data", "action")]
        self.ids += [v for k, v in attributes if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_self_contained(written):
    assert sorted(p.name for p in written.iterdir()) == sorted(FILES)
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert all(r.startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,")) for r in page.references)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(http" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    used = {r[1:] for r in page.references if r.startswith("#")}
    assert used <= set(page.ids)
    assert page.tags.count("svg") >= 4  # box plots, areas, volumes, slices
    assert "case &lt;b&gt;" in text
    assert ">nan" not in text
    assert "There is no reference for this CT." in text


def test_tables(written):
    cases = list(csv.DictReader(io.StringIO((written / "cases.csv").read_text(encoding="utf-8"))))
    assert [row["case"] for row in cases if row["model"] == "one 1"] == [
        "case 0", "case 1", "case 2", "case 3", "case <b>", "case 9",
    ]  # fmt: skip
    empty = next(row for row in cases if row["case"] == "case 3" and row["model"] == "one 1")
    assert float(empty["dice"]) == 0
    assert empty["hausdorff_mm"] == empty["precision"] == ""
    assert "the prediction is empty" in empty["notes"]
    failed = next(row for row in cases if row["case"] == "case <b>")
    assert failed["dice"] == ""
    assert failed["problem"] == "There is no reference for this CT."
    slices = list(csv.DictReader(io.StringIO((written / "slices.csv").read_text(encoding="utf-8"))))
    first = [row for row in slices if row["case"] == "case 0" and row["model"] == "one 1"]
    expected = pair(8.0)
    assert [int(row["index"]) for row in first] == [s.index for s in expected.slices]
    ranked = sorted((row for row in first if row["rank"]), key=lambda row: int(row["rank"]))
    assert [int(row["index"]) for row in ranked] == [s.index for s in expected.worst_slices()]
    summary = list(csv.DictReader(io.StringIO((written / "summary.csv").read_text(encoding="utf-8"))))
    assert {row["over"] for row in summary} == {"cases", "slices", "pooled voxels"}
    values = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert values["dataset"] == "test"
    assert [m["compared"] for m in values["models"]] == [5, 4]
    assert {"bias", "lower", "upper"} <= set(values["models"][0]["bland_altman"])
    assert values["paired_differences"]["two 2"]["dice"]["count"] == 4


def test_names_are_no_formulas(tmp_path):
    results = [CaseResult("=HYPERLINK(1)", "one 1", pair(9.0))]
    write_report(tmp_path, "Evaluation", "", study(results), {})
    assert "\n'=HYPERLINK(1)," in (tmp_path / "cases.csv").read_text(encoding="utf-8")


def test_nothing_could_be_compared(tmp_path):
    outcome = study([CaseResult("case 1", "one 1", problem="There is no reference for this CT.")])
    text = write_report(tmp_path, "Evaluation", "", outcome, {}).read_text(encoding="utf-8")
    assert "There is no reference for this CT." in text
    assert outcome.models[0].over_cases["dice"].mean is None


def test_single_pair_has_its_own_page(tmp_path):
    comparison = pair(9.0)
    text = write_report(tmp_path, "Compared", "", study([CaseResult("case", "prediction", comparison)]), {}).read_text()
    assert f"{comparison.metrics['dice']:.4f}" in text
    assert "Models compared" not in text


def test_pictures():
    mm = SPACING[::-1]
    masks = [labelmap(ball(SHAPE, mm, (16.0, 20.0, 20.0), r), SPACING) for r in (9.0, 10.0)]
    image = sitk.Cast(masks[1], sitk.sitkInt16) * 600 - 100
    comparison = compare_pair(*masks)
    for ct in (image, None):
        assert draw_worst_slices(ct, *masks, comparison).startswith(b"\xff\xd8")
    assert draw_worst_slices(image, masks[0], masks[0], compare_pair(masks[0], masks[0])) is None
