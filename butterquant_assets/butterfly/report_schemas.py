"""Contracts of the line's reports: long tables of figures with what each rests on."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule

REPORT_KEYS = ("section", "group", "metric")
LABEL_SECTIONS = ("definitions", "agreement", "sensitivity", "tent", "tent_by_distance", "proxy", "wing_rule")


def _whole(frame: pd.DataFrame) -> pd.Series:
    return (frame["episodes"] <= frame["n"]) & ((frame["episodes"] > 0) == (frame["n"] > 0))


def _intervals_hold(frame: pd.DataFrame) -> pd.Series:
    """No lower bound above its upper one."""
    bounds = frame.set_index(list(REPORT_KEYS))["value"]
    names = bounds.index.get_level_values("metric").str
    low, high = bounds[names.endswith("_low")], bounds[names.endswith("_high")]
    low = low.rename(lambda name: name.removesuffix("_low"), level="metric")
    high = high.rename(lambda name: name.removesuffix("_high"), level="metric")
    gap = high.reindex(low.index) - low
    wrong = {(*key[:2], f"{key[2]}_low") for key in gap[gap < 0.0].index}
    keys = zip(frame["section"], frame["group"], frame["metric"], strict=True)
    return pd.Series([key not in wrong for key in keys], index=frame.index, dtype=bool)


IV_PROXY_REPORT = Contract(
    "butterfly/iv_proxy_report",
    pa.DataFrameSchema(
        {
            "comparison": pa.Column("str", description="what is compared"),
            "model": pa.Column("str", description="the level or the smile that is judged"),
            "metric": pa.Column("str", description="the figure"),
            "group": pa.Column("str", description="which rows: a year, a ticker, a wing width, or all"),
            "value": pa.Column("float64", nullable=True, description="its value; errors as fractions"),
            "n": pa.Column("int64", pa.Check.ge(0), description="rows behind it", metadata={"unit": "rows"}),
        },
        strict=True,
    ),
    ("comparison", "model", "metric", "group"),
    time=None,
)

LABEL_REPORT = Contract(
    "butterfly/label_report",
    pa.DataFrameSchema(
        {
            "section": pa.Column("str", pa.Check.isin(list(LABEL_SECTIONS)), description="what is asked"),
            "group": pa.Column("str", description="which trades, and under which definition, shift or rule"),
            "metric": pa.Column(
                "str",
                description="the figure; *_low and *_high bound its 95 % interval over episodes, for width_over_spot "
                "they are its 5th and 95th percentile",
            ),
            "value": pa.Column(
                "float64",
                pa.Check.in_range(-1e6, 1e6),
                nullable=True,
                description="returns and shares as fractions; missing where there is nothing to measure, or a single "
                "episode that has no interval",
                metadata={"unit": "ratio"},
            ),
            "n": pa.Column("int64", pa.Check.ge(0), description="trades behind it", metadata={"unit": "trades"}),
            "episodes": pa.Column(
                "int64",
                pa.Check.ge(0),
                description="independent episodes of the VIX behind it",
                metadata={"unit": "episodes"},
            ),
        },
        strict=True,
        ordered=True,
    ),
    REPORT_KEYS,
    time=None,
    rules=(
        Rule("episodes_fit_trades", "no more episodes than trades, and none only without trades", _whole),
        Rule("intervals_hold", "no lower bound lies above its upper bound", _intervals_hold),
    ),
)
