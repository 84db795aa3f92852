"""Plots of models and studies: valid, small, the same bytes for the same figures, and drawn from the figures given."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import model_plots, study_plots
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.learning import report_cases as cases

SPACE = ["rate", "depth", "hidden"]
DRAWN: dict[str, tuple[Callable[[pd.DataFrame], bytes], Callable[[], pd.DataFrame], str]] = {
    "class_reliability": (
        lambda frame: model_plots.class_reliability(frame, cases.CLASS_NAMES),
        cases.reliability,
        "observed",
    ),
    "fold_losses": (model_plots.fold_losses, cases.folds, "model"),
    "importance": (model_plots.importance, cases.importance, "increase"),
    "ensemble_weights": (model_plots.ensemble_weights, cases.weights, "weight"),
    "calibration_methods": (model_plots.calibration_methods, cases.methods, "ece"),
    "expected_roi": (model_plots.expected_roi, cases.expected_roi, "realised"),
    "study_history": (study_plots.study_history, cases.trials, "value"),
    "study_slices": (lambda frame: study_plots.study_slices(frame, SPACE, ["rate"]), cases.trials, "rate"),
}


@functools.lru_cache
def drawn(name: str) -> bytes:
    draw, make, _ = DRAWN[name]
    return draw(make())


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_small_png_with_the_same_bytes_each_time(name: str) -> None:
    draw, make, _ = DRAWN[name]
    png = drawn(name)
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width <= 700
    assert len(png) < 60_000
    assert png == draw(make())


@pytest.mark.parametrize("name", DRAWN)
def test_other_figures_give_another_picture_and_the_frame_is_left_alone(name: str) -> None:
    draw, make, column = DRAWN[name]
    frame = make()
    frame[column] *= np.linspace(1.2, 0.7, len(frame))
    before = frame.copy()
    assert draw(frame) != drawn(name)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_to_draw_is_refused(name: str) -> None:
    draw, make, _ = DRAWN[name]
    with pytest.raises(DataError, match=r"no rows to draw|no complete trial"):
        draw(make().iloc[:0])


@pytest.mark.parametrize("name", DRAWN)
def test_a_single_row_can_be_drawn(name: str) -> None:
    draw, make, _ = DRAWN[name]
    assert Image.open(io.BytesIO(draw(make().iloc[4:5]))).format == "PNG"


def test_the_order_of_features_does_not_matter_to_their_importance() -> None:
    assert model_plots.importance(cases.importance().iloc[::-1]) == drawn("importance")


def test_many_folds_and_vintages_stay_small_and_keep_their_width() -> None:
    for png in (model_plots.fold_losses(cases.folds(60)), model_plots.ensemble_weights(cases.weights(60))):
        assert Image.open(io.BytesIO(png)).width == 700


def test_empty_bins_are_left_out_of_the_reliability() -> None:
    table = cases.reliability()
    assert (table["count"] == 0).any()
    full = table[table["count"] > 0]
    assert model_plots.class_reliability(full, cases.CLASS_NAMES) == drawn("class_reliability")


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"classes \[3\], but 3 class names"):
        model_plots.class_reliability(cases.reliability(), cases.CLASS_NAMES[:3])


@pytest.mark.parametrize("names", [[], [f"p{k}" for k in range(13)]])
def test_too_few_or_too_many_parameters_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match="draws 1 to 12"):
        study_plots.study_slices(cases.trials(), names)


def test_a_study_that_lacks_a_spread_or_has_wild_values_is_drawn() -> None:
    flat = cases.trials().assign(value=1.0)
    wild = cases.trials()
    wild.loc[2, "value"] = 1e9
    for frame in (flat, wild):
        assert study_plots.study_history(frame)
        assert study_plots.study_slices(frame, SPACE, ["rate"])
