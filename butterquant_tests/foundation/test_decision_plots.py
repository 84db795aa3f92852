"""Plots of decisions: valid, small, the same bytes for the same figures, and drawn from the figures given."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import decision_plots
from butterquant_assets.foundation.errors import DataError

GATES = {"expected_roi": 0.1, "expected_roi_document": 0.15}


def calibration() -> pd.DataFrame:
    frame = pd.DataFrame({"population": np.repeat(["all_candidates", "taken"], 5), "quintile": [*range(1, 6)] * 2})
    frame = frame.assign(mean_expected_roi=np.linspace(-0.3, 0.3, 10), mean_roi_net=np.linspace(-0.2, 0.1, 10))
    return frame.assign(low=frame["mean_roi_net"] - 0.1, high=[0.2] * 9 + [np.nan], decisions=120)


def history() -> pd.DataFrame:
    days = pd.bdate_range("2014-01-01", "2018-12-31")
    frame = pd.DataFrame({"day": np.tile(days, 3), "track": np.repeat(["ai", "baseline", "blend"], len(days))})
    noise = np.random.default_rng(0).uniform(0, 1, (2, len(frame)))
    frame = frame.assign(accuracy=noise[0], mean_roi_net_so_far=noise[1] - 0.5, decisions_so_far=7)
    frame.loc[:20, ["accuracy", "mean_roi_net_so_far"]] = np.nan
    return frame


def scan() -> pd.DataFrame:
    frame = pd.DataFrame({"threshold": np.arange(-4, 21) / 40, "rows": np.arange(1000, 0, -40)})
    frame = frame.assign(mean_roi_net=frame["threshold"] / 2, low=-0.1, high=0.3, eligible=frame["rows"] > 200)
    frame.loc[frame.index[-1], ["mean_roi_net", "low", "high"]] = np.nan
    return frame


def expected() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({name: random.normal(0.1, 0.2, 5000) for name in GATES})


DRAWN: dict[str, Callable[[], bytes]] = {
    "expected_against_realised": lambda: decision_plots.expected_against_realised(calibration()),
    "tracks_over_time": lambda: decision_plots.tracks_over_time(history()),
    "threshold_scan": lambda: decision_plots.threshold_scan(scan(), 0.2),
    "expected_roi_distribution": lambda: decision_plots.expected_roi_distribution(expected(), GATES),
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
    assert decision_plots.threshold_scan(scan(), None) != DRAWN["threshold_scan"]()
    assert decision_plots.expected_roi_distribution(expected(), {}) != DRAWN["expected_roi_distribution"]()
    taken = calibration().assign(mean_roi_net=0.3)
    assert decision_plots.expected_against_realised(taken) != DRAWN["expected_against_realised"]()


def test_little_is_drawn_all_the_same() -> None:
    assert decision_plots.expected_against_realised(calibration().iloc[:5])
    assert decision_plots.tracks_over_time(history().iloc[:20])
    assert decision_plots.threshold_scan(scan().iloc[:1].assign(eligible=False), None)
    assert decision_plots.expected_roi_distribution(expected().iloc[:3].assign(expected_roi=np.nan), GATES)
    assert decision_plots.expected_roi_distribution(expected().assign(expected_roi=0.1), GATES)


def test_what_cannot_be_drawn_is_refused() -> None:
    for draw in (
        lambda: decision_plots.expected_against_realised(calibration().iloc[:0]),
        lambda: decision_plots.tracks_over_time(history().iloc[:0]),
        lambda: decision_plots.threshold_scan(scan().iloc[:0], None),
        lambda: decision_plots.expected_roi_distribution(expected().iloc[:0], GATES),
    ):
        with pytest.raises(DataError, match="no rows to draw"):
            draw()
    with pytest.raises(DataError, match="rows of one route"):
        decision_plots.tracks_over_time(pd.concat([history(), history()]))
    with pytest.raises(DataError, match="rows of one route"):
        decision_plots.expected_against_realised(pd.concat([calibration(), calibration()]))
