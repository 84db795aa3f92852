"""What came of the decisions: each track's realised returns, beside what was expected and beside the baseline.

What belongs here: joining decisions to outcomes that were known by a day, figures with intervals, and one sentence.
What does not: making decisions (`decisions`), and what is learned from them (`feedback`). No decision is dropped
silently: one that is still open, or whose outcome is missing, is counted under its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.block_bootstrap import (
    BLOCK_MONTHS,
    BlockInterval,
    difference_over_months,
    mean_over_months,
    month_numbers,
)
from butterquant_assets.butterfly.decisions import AI, BASELINE, CHALLENGER, CHAMPION, ROUTES, TRACKS
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.evidence import DRAWS

Floats = npt.NDArray[np.float64]

KEYS = ("session", "ticker")
ALL = "all"  # every route
CANDIDATES = "all_candidates"  # a track that takes every candidate
KNOWN, OPEN, NO_OUTCOME = "known", "open", "no_outcome_row"
STILL_OPEN = "after_data_end"  # the labels' word for an evaluation the data does not reach yet
WINDOW_DAYS = 30
QUINTILES = 5
LOST = -1.0
# As many blocks as a verdict on episodes asks for, see `evaluation.MINIMUM_EPISODES`.
MINIMUM_MONTHS = 6 * BLOCK_MONTHS

PERFORMANCE_TYPES = {
    "track": "str",
    "route": "str",
    "metric": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "decisions": "int64",
    "months": "int64",
}
CALIBRATION_TYPES = {
    "population": "str",
    "route": "str",
    "quintile": "int64",
    "mean_expected_roi": "float64",
    "mean_roi_net": "float64",
    "low": "float64",
    "high": "float64",
    "decisions": "int64",
    "months": "int64",
}
HISTORY_TYPES = {
    "day": "datetime64[us]",
    "track": "str",
    "route": "str",
    "accuracy": "float64",
    "mean_roi_net": "float64",
    "decisions": "int64",
    "mean_roi_net_so_far": "float64",
    "decisions_so_far": "int64",
}


@dataclass(frozen=True)
class DecisionPerformance:
    """How decisions fared.

    Parameters
    ----------
    table
        columns of `PERFORMANCE_TYPES`: one figure a row, with its 95 % interval over blocks of months where it is a
        mean
    calibration
        columns of `CALIBRATION_TYPES`: realised beside expected ROI by quintile of the expected one
    history
        columns of `HISTORY_TYPES`: accuracy of the last 30 calendar days, and means so far, by evaluation day
    facts
        counts, the uplift and the verdict as plain values
    verdict
        one sentence
    """

    table: pd.DataFrame
    calibration: pd.DataFrame
    history: pd.DataFrame
    facts: dict[str, Any]
    verdict: str


def with_outcomes(
    decisions: pd.DataFrame, outcomes: pd.DataFrame, *, as_of: str | pd.Timestamp | None = None
) -> pd.DataFrame:
    """Decisions entered by a day, joined to the outcomes known by it.

    Parameters
    ----------
    decisions
        columns session, ticker and any others, repeats of (session, ticker) allowed (one a track)
    outcomes
        columns session, ticker, evaluation_session, roi_mark, roi_net, label_mark, missing_reason, one row per
        (session, ticker)
    as_of
        the day: later decisions are left out, outcomes evaluated later are not looked at; None: all of both count

    Returns
    -------
    DataFrame
        the decisions with evaluation_session, roi_mark, roi_net, label_mark, and ``outcome``: ``known``, ``open``,
        ``no_outcome_row``, or the reason why there is none. The ROIs are NaN unless it is ``known``.

    Raises
    ------
    DataError
        if an outcome is repeated, or claims to be known without a roi_net.
    """
    day = pd.Timestamp.max if as_of is None else pd.Timestamp(as_of)
    columns = ["evaluation_session", "roi_mark", "roi_net", "label_mark", "missing_reason"]
    if outcomes.duplicated(list(KEYS)).any():
        raise DataError(
            f"{outcomes.duplicated(list(KEYS)).sum()} outcomes are repeated; give one per session and ticker"
        )
    entered = decisions[decisions["session"] <= day]
    joined = entered.merge(outcomes[[*KEYS, *columns]], on=list(KEYS), how="left")
    absent = joined["evaluation_session"].isna()
    still_open = (joined["evaluation_session"] > day) | (joined["missing_reason"] == STILL_OPEN)
    reason = joined["missing_reason"].astype(object).to_numpy()
    word = np.select([absent, still_open, reason == ""], [NO_OUTCOME, OPEN, KNOWN], default="")
    joined["outcome"] = pd.Series(np.where(word == "", reason, word), index=joined.index, dtype="str")
    known = joined["outcome"] == KNOWN
    if joined.loc[known, "roi_net"].isna().any():
        first = joined[known & joined["roi_net"].isna()].iloc[0]
        raise DataError(
            f"the outcome of {first['ticker']} on {first['session']:%Y-%m-%d} gives neither roi_net nor a "
            "missing_reason; rebuild the labels"
        )
    joined.loc[~known, ["roi_mark", "roi_net", "label_mark"]] = np.nan
    return joined.drop(columns="missing_reason")


def judge_decisions(
    decisions: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    as_of: str | pd.Timestamp,
    seed: int,
    draws: int = DRAWS,
    block_months: int = BLOCK_MONTHS,
    vols_are_proxy: bool = False,
) -> DecisionPerformance:
    """Judge every track, by route, by what was known on a day.

    Parameters
    ----------
    decisions
        columns of `decisions.DECISION_TYPES`, all candidates, taken or not
    outcomes
        as for `with_outcomes`
    as_of
        the day
    seed, draws, block_months
        of the block bootstrap over calendar months of entry
    vols_are_proxy
        whether option prices rest on realised volatility, which manufactures edge; then a claim says so

    Returns
    -------
    DecisionPerformance
        Tracks are those of the decisions, and ``all_candidates``, which takes everything; routes ``all``, and
        ``champion`` and ``challenger`` where a challenger decided. Metrics: ``taken``, ``known``, ``open`` and
        ``missing_*`` are counts; ``hit_rate`` (roi_net > 0), ``mean_roi_net``, ``mean_roi_mark``,
        ``mean_expected_roi``, ``mean_expected_roi_document``, ``realised_minus_expected`` are means over known
        outcomes; ``mean_roi_net_missing_lost`` counts each decision without outcome, unless it is open, as a total
        loss; ``uplift_over_*`` are differences of mean roi_net to another track or route.

    Raises
    ------
    DataError
        as `with_outcomes`.
    """
    joined = with_outcomes(decisions, outcomes, as_of=as_of).assign(
        month=lambda frame: month_numbers(frame["session"].to_numpy())
    )
    routes = (ALL, *ROUTES) if (joined["route"] == CHALLENGER).any() else (ALL,)
    groups = {(track, name): _group(joined, track, name) for track in (*TRACKS, CANDIDATES) for name in routes}
    settings = {"seed": seed, "draws": draws, "block": block_months}
    rows = [row for key, group in groups.items() for row in _figures(key, group, settings)]
    rows += _uplifts(groups, routes, settings)
    table = pd.DataFrame(rows, columns=list(PERFORMANCE_TYPES)).astype(PERFORMANCE_TYPES)
    table = table.sort_values(["track", "route", "metric"], kind="stable").reset_index(drop=True)
    verdict = _verdict(table, groups[AI, ALL], vols_are_proxy)
    facts = _facts(table, joined, as_of) | {"verdict": verdict}
    return DecisionPerformance(table, _calibration(groups, routes, settings), _history(groups), facts, verdict)


def _group(joined: pd.DataFrame, track: str, route: str) -> pd.DataFrame:
    """Decisions taken in one track and route."""
    mask = joined["track"] == AI if track == CANDIDATES else (joined["track"] == track) & joined["selected"]
    return joined[mask if route == ALL else mask & (joined["route"] == route)]


def _figures(key: tuple[str, str], group: pd.DataFrame, settings: dict[str, int]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table about one track and route."""
    known = group[group["outcome"] == KNOWN]
    counts = {"taken": len(group), KNOWN: len(known), OPEN: int((group["outcome"] == OPEN).sum())}
    lost = group["outcome"][~group["outcome"].isin([KNOWN, OPEN])]
    counts |= {f"missing_{reason}": int(count) for reason, count in lost.value_counts().sort_index().items()}
    months = int(group["month"].nunique())
    for name, count in counts.items():
        yield (*key, name, float(count), np.nan, np.nan, len(group), months)
    net = known["roi_net"].to_numpy(dtype=np.float64)
    expected = known["expected_roi"].to_numpy(dtype=np.float64)
    means = {
        "hit_rate": np.where(net > 0, 1.0, 0.0),
        "mean_roi_net": net,
        "mean_roi_mark": known["roi_mark"].to_numpy(dtype=np.float64),
        "mean_expected_roi": expected,
        "mean_expected_roi_document": known["expected_roi_document"].to_numpy(dtype=np.float64),
        "realised_minus_expected": net - expected,
    }
    for name, values in means.items():
        yield _row(key, name, mean_over_months(values, known["month"].to_numpy(), **settings))
    closed = group[group["outcome"] != OPEN]
    worst = closed["roi_net"].fillna(LOST).to_numpy(dtype=np.float64)
    yield _row(key, "mean_roi_net_missing_lost", mean_over_months(worst, closed["month"].to_numpy(), **settings))


def _uplifts(
    groups: dict[tuple[str, str], pd.DataFrame], routes: tuple[str, ...], settings: dict[str, int]
) -> list[tuple[Any, ...]]:
    """Differences of mean roi_net: to the baseline, to taking everything, and of the challenger to the champion."""
    pairs = [((track, name), (BASELINE, name)) for name in routes for track in TRACKS if track != BASELINE]
    pairs += [((track, name), (CANDIDATES, name)) for name in routes for track in TRACKS]
    if CHALLENGER in routes:
        pairs += [((track, CHALLENGER), (track, CHAMPION)) for track in (*TRACKS, CANDIDATES)]
    rows = []
    for ours, theirs in pairs:
        sides = [groups[key][groups[key]["outcome"] == KNOWN] for key in (ours, theirs)]
        values = [(side["roi_net"].to_numpy(dtype=np.float64), side["month"].to_numpy()) for side in sides]
        name = f"uplift_over_{theirs[1] if ours[0] == theirs[0] else theirs[0]}"
        rows.append(_row(ours, name, difference_over_months(*values[0], *values[1], **settings)))
    return rows


def _row(key: tuple[str, str], metric: str, found: BlockInterval) -> tuple[Any, ...]:
    low, high = (bound if np.isfinite(bound) else np.nan for bound in (found.low, found.high))
    return (*key, metric, found.value, low, high, found.rows, found.months)


def _calibration(
    groups: dict[tuple[str, str], pd.DataFrame], routes: tuple[str, ...], settings: dict[str, int]
) -> pd.DataFrame:
    """Expected and realised ROI by quintile of the expected one, of all candidates and of those the AI track took."""
    rows = []
    for track, population in ((CANDIDATES, CANDIDATES), (AI, "taken")):
        for name in routes:
            group = groups[track, name]
            known = group[(group["outcome"] == KNOWN) & group["expected_roi"].notna()]
            if len(known) < QUINTILES:
                continue
            place = known["expected_roi"].rank(method="first").to_numpy() - 1.0
            for number, part in known.groupby((place * QUINTILES // len(known)).astype(np.int64)):
                net, months = part["roi_net"].to_numpy(dtype=np.float64), part["month"].to_numpy()
                found = _row((population, name), "", mean_over_months(net, months, **settings))
                expected = float(part["expected_roi"].mean())
                rows.append((population, name, int(str(number)) + 1, expected, *found[3:]))
    table = pd.DataFrame(rows, columns=list(CALIBRATION_TYPES)).astype(CALIBRATION_TYPES)
    return table.sort_values(["population", "route", "quintile"], kind="stable").reset_index(drop=True)


def _history(groups: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Accuracy of the last 30 calendar days and means so far, on each day on which an outcome became known."""
    known = {key: group[group["outcome"] == KNOWN] for key, group in groups.items() if key[0] != CANDIDATES}
    days = np.unique(np.concatenate([rows["evaluation_session"].to_numpy() for rows in known.values()]))
    parts = [_history_of(rows, days).assign(track=key[0], route=key[1]) for key, rows in known.items()]
    table = pd.concat(parts, ignore_index=True)[list(HISTORY_TYPES)].astype(HISTORY_TYPES)
    return table.sort_values(["day", "track", "route"], kind="stable").reset_index(drop=True)


def _history_of(rows: pd.DataFrame, days: npt.NDArray[Any]) -> pd.DataFrame:
    order = rows["evaluation_session"].argsort(kind="stable").to_numpy()
    evaluated = rows["evaluation_session"].to_numpy()[order]
    net = rows["roi_net"].to_numpy(dtype=np.float64)[order]
    sums = {"hits": np.cumsum(np.append(0.0, net > 0)), "net": np.cumsum(np.append(0.0, net))}
    # Half-open: an outcome of exactly 30 days ago has left the window.
    first = np.searchsorted(evaluated, days - np.timedelta64(WINDOW_DAYS, "D"), side="right")
    last = np.searchsorted(evaluated, days, side="right")
    window = last - first
    return pd.DataFrame(
        {
            "day": days,
            "accuracy": _ratio(sums["hits"][last] - sums["hits"][first], window),
            "mean_roi_net": _ratio(sums["net"][last] - sums["net"][first], window),
            "decisions": window,
            "mean_roi_net_so_far": _ratio(sums["net"][last], last),
            "decisions_so_far": last,
        }
    )


def _ratio(total: Floats, count: npt.NDArray[np.int64]) -> Floats:
    ratio: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return ratio


def _figure_of(table: pd.DataFrame, track: str, metric: str) -> dict[str, Any]:
    """One figure over all routes; the table holds it for every track."""
    rows = table[(table["track"] == track) & (table["route"] == ALL) & (table["metric"] == metric)]
    return {str(name): value for name, value in rows.iloc[0].items()}


def _verdict(table: pd.DataFrame, taken: pd.DataFrame, vols_are_proxy: bool) -> str:
    """Whether the AI track beats the baseline track, in one sentence with what it rests on."""
    ours, theirs = (_figure_of(table, track, "mean_roi_net") for track in (AI, BASELINE))
    uplift = _figure_of(table, AI, "uplift_over_baseline")
    waiting = _waiting(taken)
    for name, side in (("AI", ours), ("baseline", theirs)):
        if not side["decisions"]:
            return f"The {name} track has no decision with a known outcome, so no uplift can be measured{waiting}."
    interval = "" if np.isnan(uplift["low"]) else f" [{100 * uplift['low']:+.1f}, {100 * uplift['high']:+.1f}]"
    facts = (
        f"AI {100 * ours['value']:+.1f} % per trade ({ours['decisions']:,} trades) vs baseline "
        f"{100 * theirs['value']:+.1f} % ({theirs['decisions']:,}), uplift {100 * uplift['value']:+.1f} points"
        f"{interval} over {uplift['months']} {'month' if uplift['months'] == 1 else 'months'}"
    )
    return f"{facts}: {_conclusion(uplift, ours, vols_are_proxy)}{waiting}."


def _conclusion(uplift: dict[str, Any], ours: dict[str, Any], vols_are_proxy: bool) -> str:
    if uplift["months"] < MINIMUM_MONTHS:
        return f"fewer than {MINIMUM_MONTHS} months cannot show an uplift, so none is claimed"
    if uplift["high"] < 0:
        return "the AI track is worse than the baseline"
    if not uplift["low"] > 0:
        return "no uplift is shown"
    claim = "the AI track beats the baseline"
    if not ours["low"] > 0:
        claim += ", but is not shown to earn anything after costs"
    if vols_are_proxy:
        claim += ", under volatilities that are a proxy, which can manufacture edge: to be confirmed by published ones"
    return claim


def _waiting(taken: pd.DataFrame) -> str:
    """Decisions of the AI track that are not judged, in words; empty if there are none."""
    counts = taken["outcome"].value_counts().drop(KNOWN, errors="ignore").sort_index()
    listed = ", ".join(f"{count:,} {str(word).replace('_', ' ')}" for word, count in counts.items())
    return f" (AI decisions not judged: {listed})" if listed else ""


def _facts(table: pd.DataFrame, joined: pd.DataFrame, as_of: str | pd.Timestamp) -> dict[str, Any]:
    everything = table[table["route"] == ALL]
    facts: dict[str, Any] = {
        "as_of": f"{pd.Timestamp(as_of):%Y-%m-%d}",
        "candidates": int((joined["track"] == AI).sum()),
        "not_decided": {
            track: int(((joined["track"] == track) & (joined["status"] == "not_decided")).sum()) for track in TRACKS
        },
    }
    for track in TRACKS:
        rows = everything[everything["track"] == track]
        named = dict(zip(rows["metric"], rows["value"], strict=True))
        facts[track] = {name: None if np.isnan(value) else round(float(value), 6) for name, value in named.items()}
    return facts
