"""What a label would have been under other prices: shifted volatilities, published volatilities, other strikes.

What belongs here: sections of the label report that price the same trades again. Rows of the report come out; words
and pictures are made in `label_report`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, StrikeRule
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.butterfly.remarking import (
    KEYS,
    exit_level_of,
    exit_vols_of,
    remark,
    remark_at_levels,
    shifted,
)
from butterquant_assets.butterfly.report_rows import (
    Estimate,
    ReportRow,
    Texts,
    class_share_rows,
    count_episodes,
    difference_over_episodes,
    estimate_rows,
    group_name,
    mean_over_episodes,
)
from butterquant_assets.butterfly.strikes import Strikes, choose_strikes
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]

SENSITIVITY, PROXY, WING_RULE = "sensitivity", "proxy", "wing_rule"
ALL = "all"
POINT = 0.01
# Points added to (wings, centre), and whether at entry too.
SHIFTS: dict[str, tuple[float, float, bool]] = {
    "level +1 | both ends": (POINT, POINT, True),
    "level -1 | both ends": (-POINT, -POINT, True),
    "level +1 | exit only": (POINT, POINT, False),
    "level -1 | exit only": (-POINT, -POINT, False),
    "convexity +1 | both ends": (POINT, 0.0, True),
    "convexity -1 | both ends": (-POINT, 0.0, True),
    "convexity +1 | exit only": (POINT, 0.0, False),
    "convexity -1 | exit only": (-POINT, 0.0, False),
}
QUINTILES = 5
UNDER_PROXY, UNDER_PUBLISHED, MIXED = "proxy", "published", "sorted by proxy, marked published"
MANUFACTURED = "proxy less published"
SPREAD = "Q5 - Q1"
PRICE_EDGES = (25.0, 50.0, 100.0, 200.0, 500.0)
RULES: tuple[StrikeRule, ...] = ("ours", "document")


def sensitivity_rows(trades: pd.DataFrame, costs: CostConfig) -> list[ReportRow]:
    """How far the labels depend on a point of implied volatility.

    Level: every leg is a volatility point (0.01 per year) dearer or cheaper; convexity: the wings are, the centre
    stays. Strikes and dates stay. Group ``shift | both ends`` or ``shift | exit only``; metrics ``changed_class``
    (share of the trades that still have a price), ``roi_shift`` (mean change of roi_mark, with its interval) and
    ``without_price`` (share of trades that would not have had 0 < debit < width, or a positive volatility).
    """
    entry, exit_ = leg_vols_of(trades), exit_vols_of(trades)
    stored, labels = trades["roi_mark"].to_numpy(np.float64), trades["label_mark"].to_numpy(np.float64)
    episodes = trades["episode"].to_numpy(dtype=object)
    rows: list[ReportRow] = []
    for group, (wings, center, both) in SHIFTS.items():
        moved = shifted(entry, wings, center, wings) if both else entry
        found = remark(trades, moved, shifted(exit_, wings, center, wings), costs).roi
        priced = ~np.isnan(found)
        rows.append(_share(SENSITIVITY, group, "without_price", ~priced, episodes))
        rows.append(_share(SENSITIVITY, group, "changed_class", (label_of(found) != labels)[priced], episodes[priced]))
        rows += estimate_rows(SENSITIVITY, group, "roi_shift", mean_over_episodes(found - stored, episodes))
    return rows


def _share(section: str, group: str, metric: str, true: npt.NDArray[np.bool_], episodes: Texts) -> ReportRow:
    value = float(true.mean()) if true.size else float("nan")
    return ReportRow(section, group, metric, value, int(true.size), count_episodes(episodes))


def published_trades(trades: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Trades under a proxy whose ticker has a published volatility at both ends, with ``entry_iv`` and ``exit_iv``.

    Raises
    ------
    DataError
        if a (session, ticker) is published twice, or a volatility is not positive.
    """
    known = published.loc[published["iv"].notna(), [*KEYS, "iv"]]
    if known.duplicated(KEYS).any():
        row = known[known.duplicated(KEYS)].iloc[0]
        raise DataError(f"{row['ticker']} has two published volatilities on {row['session']:%Y-%m-%d}; keep one tenor")
    bad = known[~(known["iv"] > 0.0)]
    if len(bad):
        row = bad.iloc[0]
        raise DataError(
            f"{row['ticker']} has published volatility {row['iv']} on {row['session']:%Y-%m-%d}; expected more than 0"
        )
    at_exit = known.rename(columns={"session": "evaluation_session", "iv": "exit_iv"})
    found = trades[trades["iv_source"] != "published"].merge(known.rename(columns={"iv": "entry_iv"}), on=KEYS)
    found = found.merge(at_exit, on=["evaluation_session", "ticker"])
    return found.sort_values(KEYS, kind="stable").reset_index(drop=True)


def proxy_rows(trades: pd.DataFrame, config: AnalysisConfig, costs: CostConfig) -> list[ReportRow]:
    """Mean roi_mark by quintile of vol_mispricing under the proxy and under published volatility, same trades.

    Published volatility replaces the at-the-money level at both ends; strikes, dates and smile stay, and
    vol_mispricing is computed again from it. Trades without 0 < debit < width under it are left out of all groups.

    Parameters
    ----------
    trades
        from `published_trades`, at least five
    config
        its smile

    Returns
    -------
    rows
        Group ``kind | Q1`` .. ``Q5``, ``kind | all`` and ``kind | Q5 - Q1``, kind being ``proxy``, ``published`` or
        ``sorted by proxy, marked published``. Metric ``mean_roi_mark`` with its interval, for quintiles
        ``mean_mispricing`` too; ``changed_class`` under ``published | all``: trades whose class differs from the
        proxy's; ``proxy less published | Q5 - Q1``: the spread of the difference between the two marks of one trade, by
        the proxy's quintiles, which is what choosing by the proxy manufactures. Equal values of vol_mispricing go to
        quintiles in the order of (session, ticker).
    """
    entry, exit_ = (trades[name].to_numpy(np.float64) for name in ("entry_iv", "exit_iv"))
    roi = remark_at_levels(trades, entry, exit_, config.smile, costs).roi
    priced = ~np.isnan(roi)
    trades, roi, entry = trades[priced], roi[priced], entry[priced]
    if len(trades) < QUINTILES:
        return []
    episodes = trades["episode"].to_numpy(dtype=object)
    ours, stored = (trades[name].to_numpy(np.float64) for name in ("vol_mispricing", "roi_mark"))
    theirs = (entry - trades["predicted_vol"].to_numpy(np.float64)) / entry
    rows = _quintile_rows(UNDER_PROXY, ours, stored, episodes)
    rows += _quintile_rows(UNDER_PUBLISHED, theirs, roi, episodes)
    rows += _quintile_rows(MIXED, ours, roi, episodes)
    manufactured = _spread(_quintiles(ours), stored - roi, episodes)
    rows += estimate_rows(PROXY, group_name(MANUFACTURED, SPREAD), "mean_roi_mark", manufactured)
    changed = label_of(roi) != trades["label_mark"].to_numpy(np.float64)
    return [*rows, _share(PROXY, group_name(UNDER_PUBLISHED, ALL), "changed_class", changed, episodes)]


def _quintile_rows(kind: str, mispricing: Floats, roi: Floats, episodes: Texts) -> list[ReportRow]:
    quintile = _quintiles(mispricing)
    rows = estimate_rows(PROXY, group_name(kind, ALL), "mean_roi_mark", mean_over_episodes(roi, episodes))
    for number in range(QUINTILES):
        at, group = quintile == number, group_name(kind, f"Q{number + 1}")
        found = mean_over_episodes(roi[at], episodes[at])
        rows += estimate_rows(PROXY, group, "mean_roi_mark", found)
        mean = float(mispricing[at].mean())
        rows.append(ReportRow(PROXY, group, "mean_mispricing", mean, found.n, found.episodes))
    spread = _spread(quintile, roi, episodes)
    return rows + estimate_rows(PROXY, group_name(kind, SPREAD), "mean_roi_mark", spread)


def _quintiles(values: Floats) -> npt.NDArray[np.int64]:
    """Quintile 0 .. 4 of each value by rank, equal values in their order."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(rank * QUINTILES // len(rank), dtype=np.int64)


def _spread(quintile: npt.NDArray[np.int64], roi: Floats, episodes: Texts) -> Estimate:
    """Highest quintile minus lowest."""
    extreme = (quintile == 0) | (quintile == QUINTILES - 1)
    return difference_over_episodes(roi[extreme], quintile[extreme] > 0, episodes[extreme])


def wing_rule_rows(trades: pd.DataFrame, config: AnalysisConfig, costs: CostConfig) -> list[ReportRow]:
    """Our strikes and the document's for the same forecasts, by price of the underlying.

    Both are chosen and priced again from the analyses, at the stored at-the-money levels of both ends. The rows are
    trades with an analysis under the configured rule.

    Group ``rule | price bucket`` and ``rule | all``; metrics over the trades that can be priced: medians
    ``width_over_spot`` and ``debit_over_width``, with ``width_over_spot_low`` and ``_high`` (5th and 95th
    percentile), ``share_0`` .. ``share_3`` of the mark, ``mean_roi_mark`` and ``mean_roi_net`` with their intervals;
    and ``rejected``, the share that cannot (lower strike not positive, or no 0 < debit < width).
    """
    spot = trades["spot"].to_numpy(np.float64)
    buckets = np.digitize(spot, PRICE_EDGES)
    episodes = trades["episode"].to_numpy(dtype=object)
    entry, exit_ = trades["current_iv"].to_numpy(np.float64), exit_level_of(trades, config.smile)
    rows: list[ReportRow] = []
    for rule in RULES:
        chosen = strikes_under(trades, rule)
        found = remark_at_levels(trades, entry, exit_, config.smile, costs, chosen)
        figures = pd.DataFrame(
            {
                "width_over_spot": chosen.width / spot,
                "debit_over_width": found.debit / chosen.width,
                "roi_mark": found.roi,
                "roi_net": found.roi_net,
            }
        )
        for group, at in [(ALL, buckets >= 0)] + [(bucket_name(k), buckets == k) for k in np.unique(buckets)]:
            rows += _rule_rows(group_name(rule, group), figures[at], episodes[at])
    return rows


def _rule_rows(group: str, figures: pd.DataFrame, episodes: Texts) -> list[ReportRow]:
    priced = figures["roi_mark"].notna().to_numpy()
    rows = [_share(WING_RULE, group, "rejected", ~priced, episodes)]
    figures, episodes = figures[priced], episodes[priced]
    if figures.empty:
        return rows
    width = figures["width_over_spot"]
    metrics = {
        "width_over_spot": float(width.median()),
        "width_over_spot_low": float(width.quantile(0.05)),
        "width_over_spot_high": float(width.quantile(0.95)),
        "debit_over_width": float(figures["debit_over_width"].median()),
    }
    clusters = count_episodes(episodes)
    rows += [ReportRow(WING_RULE, group, name, value, len(figures), clusters) for name, value in metrics.items()]
    rows += class_share_rows(WING_RULE, group, label_of(figures["roi_mark"]), episodes)
    for kind in ("roi_mark", "roi_net"):
        found = mean_over_episodes(figures[kind].to_numpy(np.float64), episodes)
        rows += estimate_rows(WING_RULE, group, f"mean_{kind}", found)
    return rows


def bucket_name(bucket: int) -> str:
    """Prices of a bucket in USD, as text that sorts by price: ``025 .. 050``."""
    if bucket == 0:
        return f"000 .. {PRICE_EDGES[0]:03.0f}"
    if bucket == len(PRICE_EDGES):
        return f"{PRICE_EDGES[-1]:03.0f} .."
    return f"{PRICE_EDGES[bucket - 1]:03.0f} .. {PRICE_EDGES[bucket]:03.0f}"


def strikes_under(trades: pd.DataFrame, rule: StrikeRule) -> Strikes:
    """Strikes of the same forecasts under a rule; NaN where the lower one is not positive."""
    names = ("spot", "forecast_price", "predicted_vol")
    spot, forecast, vol = (trades[name].to_numpy(np.float64) for name in names)
    band, period = (trades[name].to_numpy(np.float64) for name in ("band_pct", "dominant_period"))
    found = choose_strikes(spot, forecast, vol, trades["dte"].to_numpy(np.int64), band, period, rule)
    usable = found.lower > 0.0
    legs = (found.lower, found.center, found.upper, found.width)
    return Strikes(*(np.where(usable, leg, np.nan) for leg in legs))
