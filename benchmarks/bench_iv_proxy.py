"""The fitted level: error against published volatility beside the document's rule, and speed beside a plain loop.

The errors need the real files and are left out, with a word, where they are absent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.butterfly import iv_fit, iv_level
from butterquant_assets.market.sources.base import open_source

WINDOWS = 7_000
LOOP_WINDOWS = 70
TARGET_ERROR, TARGET_OTHER_STOCKS = 0.075, 0.09
TARGET_SECONDS = 1.0


def benchmarks() -> list[Result]:
    """Time of 7,000 levels with their percentiles; errors on 2015-2019, in all and on stocks left out of the fit."""
    folder = Path(os.environ.get("BUTTERQUANT_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if (folder / "implied_vol_3m.parquet").is_file():
        return [*_speed(), *_errors(folder)]
    print(f"no real data at {folder}: the errors of the level are not measured", file=sys.stderr)
    return _speed()


def _speed() -> list[Result]:
    random = np.random.default_rng(11)
    closes = 50.0 * np.exp(np.cumsum(0.01 * random.standard_normal((WINDOWS, 505)), axis=1))
    vix = 18.0 * np.exp(0.2 * random.standard_normal((WINDOWS, 505)))
    few, index = closes[:LOOP_WINDOWS], vix[:LOOP_WINDOWS]
    np.testing.assert_allclose(iv_level.level(few, index), _loop(few, index), rtol=1e-9)
    ours = median_seconds(lambda: iv_level.fitted_level(closes, vix))
    level = median_seconds(lambda: iv_level.level(closes, vix))
    loop = median_seconds(lambda: _loop(few, index), repeats=3) * WINDOWS / LOOP_WINDOWS
    return [
        compare("iv_level.level_and_percentile", ours, TARGET_SECONDS, "s / 7,000 windows", 1.0, "lower"),
        compare("iv_level.level", level, loop, "s / 7,000 windows", 10.0, "lower"),
    ]


def _loop(closes: np.ndarray, vix: np.ndarray) -> np.ndarray:
    """The level alone, one window after another, as a reader of the formulas would write it."""
    return np.array(
        [_one(pd.Series(row), np.log(pd.Series(index) / 100)) for row, index in zip(closes, vix, strict=True)]
    )


def _one(price: pd.Series, index: pd.Series) -> float:
    returns, today = np.log(price).diff().dropna(), index.iloc[-1]
    year, recent = np.sqrt(252.0), returns.tail(480)
    terms = {f"realised_{days}": np.log(returns.tail(days).std() * year) - today for days in (20, 60, 120, 250, 480)}
    limit = iv_level.CLIP_DEVIATIONS * recent.abs().median() / iv_level.NORMAL_MEDIAN
    terms["absolute_480"] = np.log(recent.abs().mean() * year / iv_level.NORMAL_MEAN) - today
    terms["clipped_40"] = np.log(np.sqrt((returns.tail(40).clip(-limit, limit) ** 2).mean()) * year) - today
    terms["vix_trend"] = np.average(index.tail(504), weights=0.5 ** (np.arange(503, -1, -1) / 40.0)) - today
    terms["vix_correlation_480"] = recent.corr(index.diff().tail(480))
    terms["drawdown_60"] = np.log(price.iloc[-1] / price.tail(61).max()) / (recent.std() * year)
    terms["rise_180"] = np.log(price.iloc[-1] / price.tail(181).min())
    total = iv_level.LEVEL.intercept + sum(weight * terms[name] for name, weight in iv_level.LEVEL.weights.items())
    return float(np.exp(today + total))


def _errors(folder: Path) -> list[Result]:
    source = open_source("files", data_dir=folder)
    bars, vix, published = (
        source.fetch(name, source.keys_held(name)).rows for name in ("equity_bars", "vix", "published_vols")
    )
    early = open_source("files", data_dir=folder, bars_dataset="djia30_daily")
    early_bars = early.fetch("equity_bars", early.keys_held("equity_bars")).rows
    judged = iv_fit.published_rows(bars, published, vix, iv_fit.JUDGE_SPAN)
    fitting = iv_fit.published_rows(iv_fit.fitting_bars(early_bars, published), published, vix, iv_fit.FIT_SPAN)
    X, X_judge = (np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values())) for rows in (fitting, judged))
    error = float(np.median(np.abs(np.log(iv_level.level(judged.closes, judged.vix) / judged.iv))))
    other = float(np.median(np.concatenate(iv_fit.other_half_errors(X, fitting, X_judge, judged))))
    unit = "median absolute log error"
    return [
        compare("iv_level.error_2015_2019", error, TARGET_ERROR, unit, 1.0, "lower"),
        compare("iv_level.error_other_stocks", other, TARGET_OTHER_STOCKS, unit, 1.0, "lower"),
    ]
