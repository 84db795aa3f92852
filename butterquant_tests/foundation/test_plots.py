"""Plots: valid, small, the same bytes for the same data, and drawn from the data given."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import plots
from butterquant_assets.foundation.drawing import CLASS_NAMES
from butterquant_assets.foundation.errors import DataError


def days(years: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sessions = pd.bdate_range("1999-01-04", periods=252 * years)
    vix = np.exp(np.log(18) + np.cumsum(random.normal(0, 0.05, len(sessions))) * 0.3)
    stratum = np.where(vix < 15, "low", np.where(vix > 25, "high", "normal"))
    taken = random.random(len(sessions)) < 0.02
    return pd.DataFrame({"session": sessions, "vix_close": vix, "stratum": stratum, "taken": taken})


def trades(n: int = 2000) -> pd.DataFrame:
    random = np.random.default_rng(1)
    roi = np.maximum(random.normal(0, 1, (n, 4)), -1)
    frame = pd.DataFrame(roi, columns=["roi_tent", "roi_expiry", "roi_mark", "roi_net"])
    return frame.assign(**{f"label_{c[4:]}": np.digitize(frame[c], [-0.1, 0.05, 0.15]).astype(float) for c in frame})


def forecasts(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.dirichlet([2, 0.4, 0.3, 2], size=n), random.integers(0, 4, n)


def history(epochs: int = 40) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {"epoch": epoch, "train_loss": 1.2 / epoch**0.2, "validation_loss": 1 + (epoch - 12) ** 2 / 2e3}
    )


DRAWN: dict[str, Callable[[], bytes]] = {
    "strata_over_20_years": lambda: plots.strata_over_time(days(20)),
    "strata_over_one_year": lambda: plots.strata_over_time(days(1)),
    "label_distribution": lambda: plots.label_distribution(trades()),
    "roi_by_definition": lambda: plots.roi_by_definition(trades()),
    "confusion_matrix": lambda: plots.confusion_matrix(np.arange(16).reshape(4, 4) ** 3, CLASS_NAMES),
    "empty_class": lambda: plots.confusion_matrix([[3, 0], [0, 0]], ["a", "b"]),
    "training_curves": lambda: plots.training_curves(history()),
    "one_epoch": lambda: plots.training_curves(history(1)),
    "reliability": lambda: plots.reliability(*forecasts()),
    "certain_forecasts": lambda: plots.reliability(np.eye(4)[[0, 1, 2]], [0, 1, 3]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_small_png_with_the_same_bytes_each_time(name: str) -> None:
    png = DRAWN[name]()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width <= 700
    assert len(png) < 60_000
    assert png == DRAWN[name]()
    assert not image.info.keys() & {"Software", "Creation Time", "date"}


def test_other_data_gives_another_picture() -> None:
    assert plots.roi_by_definition(trades()) != plots.roi_by_definition(trades() + 0.5)


def test_a_users_own_style_changes_nothing() -> None:
    import matplotlib as mpl

    plain = plots.training_curves(history())
    with mpl.rc_context({"axes.facecolor": "black", "lines.linewidth": 9, "font.size": 30}):
        assert plots.training_curves(history()) == plain


def test_a_missing_label_is_left_out_not_counted_as_a_class() -> None:
    frame = trades()
    with_gaps = pd.concat([frame, pd.DataFrame({c: [np.nan] * 500 for c in frame})], ignore_index=True)
    assert plots.label_distribution(with_gaps) == plots.label_distribution(frame)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(DataError, match="no rows to draw"):
        plots.strata_over_time(days(1).iloc[:0])
    with pytest.raises(DataError, match="no label_"):
        plots.label_distribution(pd.DataFrame({"x": [1]}))
    with pytest.raises(DataError, match="label_mark has no label"):
        plots.label_distribution(pd.DataFrame({"label_mark": [np.nan]}))
    with pytest.raises(DataError, match=r"shape \(2, 2\)"):
        plots.confusion_matrix(np.eye(2), ["a"])
