"""The report: verdict first, self-contained, escaped, the figures given, the same bytes for the same figures."""

from __future__ import annotations

import base64
import functools
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning import report_html
from butterquant_assets.learning.report import ModelReport, render_report
from butterquant_tests.learning import report_cases as cases

VOID = {"meta", "img", "br"}
OPTIONAL = {
    "folds": "Fold by fold",
    "weights": "Ensemble",
    "calibration": "Calibration",
    "confusion": "Confusion matrix",
    "importance": "Importance of features",
    "study": "Hyper-parameters",
}


class Page(HTMLParser):
    """What a page holds: tags in order, headings, tables as texts, pictures; it insists on balanced tags."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        inside = set(self.open)
        if inside & {"td", "th"}:
            separator = " " if self.tables[-1][-1][-1] else ""
            self.tables[-1][-1][-1] += separator + data
        elif "h2" in inside:
            self.headings[-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def table(self, first_heading: str) -> list[list[str]]:
        (found,) = [table for table in self.tables if table[0][0] == first_heading]
        return found


def bare_report(**values: Any) -> ModelReport:
    """Scores alone, and what is given: most sections, and with them most of the drawing, are left out."""
    needed: dict[str, Any] = {"title": "t", "purpose": "p", "verdict": ["v"], "class_names": cases.CLASS_NAMES}
    return ModelReport(**(needed | {"scores": cases.scores(), "scored_on": "some rows"} | values))


def bare(**values: Any) -> Page:
    return Page(render_report(bare_report(**values)))


@functools.lru_cache
def content() -> bytes:
    return render_report(cases.full_report())


@functools.lru_cache
def page() -> Page:
    return Page(content())


def test_the_same_figures_give_the_same_bytes_and_few_of_them() -> None:
    assert render_report(cases.full_report()) == content()
    assert len(content()) < 2_000_000


def test_nothing_is_fetched_and_nothing_runs() -> None:
    found = page()
    assert {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base", "form"} == set()
    for _, attrs in found.tags:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert re.match(r"data:image/png;base64,|#s\d+$", attrs.get(name) or "#s1")
    assert not any(address in content() for address in (b"http:", b"https:", b"url("))
    policy = found.attributes("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert str(policy["content"]).startswith("default-src 'none'")


def test_the_verdict_comes_before_everything_but_the_title() -> None:
    found = bare(title="The title", verdict=["First sentence.", "Second sentence."])
    visible = [text.strip() for text in found.texts if text.strip()]
    start = visible.index("The title", 1)  # the first is the title in the head
    assert visible[start + 1 : start + 3] == ["First sentence.", "Second sentence."]


def test_every_section_is_there_in_order_and_the_contents_lead_to_it() -> None:
    found = page()
    assert found.headings == [
        "Key figures",
        "Fold by fold",
        "Decisions",
        "Calibration",
        "Confusion matrix",
        "Importance of features",
        "Ensemble",
        "Hyper-parameters",
        "Data and splits",
        "Configuration and seeds",
        "Limits",
    ]
    targets = {attrs["id"] for attrs in found.attributes("h2")}
    assert [f"#{attrs['id']}" for attrs in found.attributes("h2")] == [a["href"] for a in found.attributes("a")]
    assert len(targets) == len(found.headings)


@pytest.mark.parametrize("field", OPTIONAL)
def test_a_section_is_there_when_its_data_are_and_only_then(field: str) -> None:
    assert bare(**{field: getattr(cases.full_report(), field)}).headings == ["Key figures", OPTIONAL[field]]


def test_a_report_of_scores_alone_has_one_section() -> None:
    assert bare().headings == ["Key figures"]


def test_an_empty_table_counts_as_absent() -> None:
    full = cases.full_report()
    tables = ("folds", "weights", "importance", "study", "decisions", "expected_roi", "splits")
    empty = {name: getattr(full, name).iloc[:0] for name in tables}
    assert bare(**empty).headings == ["Key figures"]


def test_the_key_figures_are_those_given_beside_every_baseline() -> None:
    scores = cases.scores()
    table = page().table("Predictor")
    assert [heading.split()[0] for heading in table[0][1:]] == ["Log-loss", "Brier", "Accuracy", "Macro", "ECE"]
    assert [row[0] for row in table[1:]] == [name.replace("_", " ") for name in dict.fromkeys(scores["predictor"])]
    metrics = (("log_loss", 1, 4), ("brier", 1, 4), ("accuracy", 100, 1), ("macro_f1", 100, 1), ("ece", 100, 1))
    for row, predictor in zip(table[1:], dict.fromkeys(scores["predictor"]), strict=True):
        for cell, (metric, factor, decimals) in zip(row[1:], metrics, strict=True):
            mine = scores[(scores["predictor"] == predictor) & (scores["metric"] == metric)]
            given = factor * mine[["value", "low", "high"]].to_numpy(float)[0]
            shown = [float(text) for text in re.findall(r"\d+\.\d+", cell)]
            assert shown == pytest.approx(given[np.isfinite(given)], abs=0.51 * 10**-decimals)


def test_the_row_of_the_model_stands_out() -> None:
    whole = content().decode()
    key_figures = whole[whole.index("Key figures</h2>") : whole.index("Fold by fold</h2>")]
    assert key_figures.count('class="marked"') == 1
    assert '<tr class="marked"><th scope="row">model</th>' in key_figures


def test_folds_show_the_gain_with_its_sign_and_interval() -> None:
    folds = cases.folds()
    table = page().table("Test rows from")
    for row, given in zip(table[1:], folds.to_dict("records"), strict=True):
        assert row[:4] == [given["boundary"].strftime("%Y-%m"), f"{given['train_rows']:,}", "610", "4"]
        expected = f"{given['difference']:+.4f}"
        if np.isfinite(given["low"]):
            expected += f" {given['low']:+.4f} .. {given['high']:+.4f}"
        assert row[-1] == expected


@pytest.mark.parametrize(("ece", "words"), [(0.026, "is not shown"), (0.0261, "is shown")])
def test_calibration_is_judged_by_the_percentile_under_perfect_calibration(ece: float, words: str) -> None:
    findings = cases.calibration()
    changed = type(findings)(**{**vars(findings), "ece": ece})
    (sentence,) = [text for text in bare(calibration=changed).texts if "so miscalibration" in text]
    assert words in sentence


def test_methods_that_could_not_be_compared_are_tabled_and_not_drawn() -> None:
    findings = cases.calibration()
    unknown = cases.methods().assign(log_loss=np.nan, ece=np.nan)
    found = bare(calibration=type(findings)(**{**vars(findings), "methods": unknown}))
    assert len(found.attributes("img")) == 1
    assert found.table("Method")[1] == ["none", "n/a", "0.0000", "0.0000", "n/a"]


def test_pictures_are_inside_and_described() -> None:
    pictures = page().attributes("img")
    assert len(pictures) == 9
    for attrs in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(str(attrs["src"]).split(",", 1)[1])))
        assert (str(image.width), str(image.height)) == (attrs["width"], attrs["height"])
        assert len(str(attrs["alt"])) > 15


def test_tables_can_be_read_aloud() -> None:
    found = page()
    assert len(found.attributes("caption")) == len(found.tables)
    assert all(attrs.get("scope") in ("row", "col") for attrs in found.attributes("th"))
    assert all(len(row) == len(table[0]) for table in found.tables for row in table)
    assert found.attributes("html")[0]["lang"] == "en"


HOSTILE = "</td><script>alert('x')</script>&\"<b>"


def test_text_from_outside_is_escaped_wherever_it_appears() -> None:
    names = {"predictor": {"geometry": HOSTILE}}
    findings = cases.calibration()
    changed = {
        "title": HOSTILE,
        "purpose": HOSTILE,
        "verdict": [HOSTILE],
        "class_names": (HOSTILE, "b", "c", "d"),
        "scores": cases.scores().replace(names),
        "scored_on": HOSTILE,
        "version": HOSTILE,
        "weights": cases.weights().replace({"member": {"mlp": HOSTILE}}),
        "calibration": type(findings)(**{**vars(findings), "reason": HOSTILE, "method": HOSTILE}),
        "decisions": cases.decisions().assign(rule=HOSTILE),
        "importance": cases.importance().assign(feature=HOSTILE),
        "study": cases.trials().assign(hidden=HOSTILE).rename(columns={"depth": HOSTILE}),
        "splits": cases.splits().assign(part=HOSTILE),
        "data": {HOSTILE: HOSTILE},
        "configuration": {HOSTILE: {"a": [HOSTILE]}},
        "seeds": {HOSTILE: 1},
        "limits": [HOSTILE],
    }
    found = Page(render_report(cases.full_report(**changed)))
    assert not found.attributes("script")
    assert not found.attributes("b")
    assert sum(text.count("alert('x')") for text in found.texts) > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": cases.scores().drop(columns="low")}, "table scores of the report lacks low"),
        ({"folds": cases.folds().drop(columns=["geometry", "high"])}, "table folds of the report lacks geometry, high"),
        ({"model": "champion"}, "'champion' is not among the predictors"),
        ({"verdict": []}, "no verdict"),
        ({"verdict": ["  "]}, "no verdict"),
        ({"scores": pd.concat([cases.scores(), cases.scores()])}, "two values of one metric"),
        ({"limits": ["x" * 2_000_000]}, "more than 2,000,000"),
    ],
)
def test_an_incomplete_report_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        render_report(bare_report(**changes))


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1.23456, "nats", "1.2346"),
        (0.00004, "gain", "0.0000"),
        (-0.00004, "gain", "0.0000"),
        (-0.0123, "gain", "-0.0123"),
        (0.4567, "percent", "45.7 %"),
        (-0.4567, "signed_percent", "-45.7 %"),
        (1234567.0, "count", "1,234,567"),
        (0.000123456, "number", "0.0001235"),
        (np.int64(3), "count", "3"),
        (None, "nats", "n/a"),
        (float("nan"), "count", "n/a"),
        (float("inf"), "percent", "n/a"),
    ],
)
def test_numbers_have_one_form_each(value: Any, form: Any, text: str) -> None:
    assert report_html.number(value, form) == text


@pytest.mark.parametrize(
    ("low", "high", "form", "text"),
    [
        (-0.1, 0.25, "signed_percent", "-10.0 .. +25.0 %"),
        (0.5, 0.75, "nats", "0.5000 .. 0.7500"),
        (float("-inf"), 1.0, "gain", ""),
        (0.1, None, "gain", ""),
    ],
)
def test_an_interval_is_written_once_with_its_unit_or_not_at_all(low: Any, high: Any, form: Any, text: str) -> None:
    assert report_html.interval(low, high, form) == text
