"""Plots of reports: valid, small, the same bytes for the same figures, and drawn from the figures given."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import report_plots
from butterquant_assets.foundation.errors import DataError


def classes() -> pd.DataFrame:
    random = np.random.default_rng(0)
    shares = random.dirichlet([3, 1, 1, 3], size=16)
    frame = pd.DataFrame(shares, columns=[f"share_{k}" for k in range(4)])
    return frame.assign(block=np.repeat(list("abcd"), 4), name="tent")


def means() -> pd.DataFrame:
    random = np.random.default_rng(1)
    value = random.normal(0, 0.2, 16)
    frame = pd.DataFrame({"value": value, "low": value - 0.1, "high": value + 0.1})
    frame.loc[3, ["low", "high"]] = np.nan
    return frame.assign(block=np.repeat(list("abcd"), 4), name="x", series=list("wxyz") * 4)


def shifts() -> pd.DataFrame:
    frame = pd.DataFrame({"name": [f"level {k}" for k in range(8)], "changed_class": np.linspace(0, 0.2, 8)})
    return frame.assign(roi_shift=-0.01, roi_shift_low=-0.02, roi_shift_high=[np.nan] + [0.0] * 7)


def quintiles() -> pd.DataFrame:
    frame = pd.DataFrame({"series": np.repeat(["proxy", "published"], 5), "quintile": list(range(1, 6)) * 2})
    return frame.assign(value=np.linspace(-0.1, 0.2, 10), low=-0.2, high=0.3)


def wings() -> pd.DataFrame:
    frame = pd.DataFrame({"rule": np.repeat(["ours", "document"], 3), "bucket": ["0 .. 25", "25 .. 50", "50 .."] * 2})
    frame = frame.assign(width_over_spot=0.1, width_over_spot_low=0.05, width_over_spot_high=0.2)
    return frame.assign(debit_over_width=0.4, share_0=np.linspace(0.3, 0.5, 6))


def tent() -> tuple[pd.DataFrame, pd.DataFrame]:
    bars = pd.DataFrame({"name": ["all", "no edge"], "tent": [0.4, 0.3], "mark": [0.0, 0.0]})
    distances = pd.DataFrame({"distance": [0.1, 0.9, 1.5], "mean_tent": 0.5, "mean_expiry": 0.2, "mean_mark": 0.1})
    return bars, distances


DRAWN: dict[str, Callable[[], bytes]] = {
    "stacked_classes": lambda: report_plots.stacked_classes(classes(), "Classes"),
    "means_with_intervals": lambda: report_plots.means_with_intervals(means(), "Means", "%"),
    "agreement": lambda: report_plots.agreement(np.eye(3), np.full((4, 4), 1 / 16), ["a", "b", "c"], ("a", "b")),
    "label_sensitivity": lambda: report_plots.label_sensitivity(shifts()),
    "tent_against_mark": lambda: report_plots.tent_against_mark(*tent()),
    "roi_by_quintile": lambda: report_plots.roi_by_quintile(quintiles(), "Edge"),
    "wing_rules": lambda: report_plots.wing_rules(wings()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_small_png_with_the_same_bytes_each_time(name: str) -> None:
    png = DRAWN[name]()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width <= 700
    assert len(png) < 60_000
    assert png == DRAWN[name]()


def test_other_figures_give_another_picture() -> None:
    other = wings().assign(share_0=0.1)
    assert report_plots.wing_rules(other) != report_plots.wing_rules(wings())


def test_what_cannot_be_drawn_is_refused() -> None:
    for draw in (
        lambda: report_plots.stacked_classes(classes().iloc[:0], "Classes"),
        lambda: report_plots.means_with_intervals(means().iloc[:0], "Means", "%"),
        lambda: report_plots.label_sensitivity(shifts().iloc[:0]),
        lambda: report_plots.roi_by_quintile(quintiles().iloc[:0], "Edge"),
        lambda: report_plots.wing_rules(wings().iloc[:0]),
    ):
        with pytest.raises(DataError, match="no rows to draw"):
            draw()
    with pytest.raises(DataError, match=r"shapes \(2, 2\)"):
        report_plots.agreement(np.eye(2), np.eye(4), ["a"], ("a", "b"))
