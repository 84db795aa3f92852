"""Rows of a report: one figure each, with the number of trades and of independent episodes it rests on.

What belongs here: the long form of a report's table, and estimates in the form it stores. What does not: what is
reported, and how intervals over episodes are computed (`learning.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.learning.evidence import DRAWS, draw_episodes, episode_interval, expanded_interval

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

SEPARATOR = " | "
SEED = 7
ROW_TYPES: dict[str, str] = {
    "section": "str",
    "group": "str",
    "metric": "str",
    "value": "float64",
    "n": "int64",
    "episodes": "int64",
}
"""Columns of a report in stored order with their types."""


class ReportRow(NamedTuple):
    """One figure: which section and group it belongs to, its name and value, and what it rests on."""

    section: str
    group: str
    metric: str
    value: float
    n: int
    episodes: int


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, with its 95 % interval over episodes.

    Attributes
    ----------
    value
        NaN without trades
    low, high
        NaN where fewer than two episodes leave the interval undefined
    n, episodes
        trades and episodes behind it
    """

    value: float
    low: float
    high: float
    n: int
    episodes: int


def group_name(*parts: str) -> str:
    """The parts of a group as one text; `wide` takes it apart again."""
    return SEPARATOR.join(parts)


def estimate_rows(section: str, group: str, metric: str, found: Estimate) -> list[ReportRow]:
    """The three rows of an estimate: ``metric``, ``metric_low`` and ``metric_high``."""
    values = {metric: found.value, f"{metric}_low": found.low, f"{metric}_high": found.high}
    return [ReportRow(section, group, name, value, found.n, found.episodes) for name, value in values.items()]


def class_share_rows(section: str, group: str, classes: Floats, episodes: Texts) -> list[ReportRow]:
    """Share of each class 0 .. 3 among trades with a class (NaN: none): metrics ``share_0`` .. ``share_3``."""
    known = classes[~np.isnan(classes)]
    count, clusters = len(known), count_episodes(episodes[~np.isnan(classes)])
    return [
        ReportRow(section, group, f"share_{k}", float((known == k).mean()) if count else float("nan"), count, clusters)
        for k in range(4)
    ]


def as_table(rows: Iterable[ReportRow]) -> pd.DataFrame:
    """The report in stored form: columns of `ROW_TYPES`, sorted by (section, group, metric)."""
    table = pd.DataFrame(list(rows), columns=list(ROW_TYPES)).astype(ROW_TYPES)
    return table.sort_values(["section", "group", "metric"], kind="stable").reset_index(drop=True)


def wide(table: pd.DataFrame, section: str, parts: Sequence[str]) -> pd.DataFrame:
    """One section with a row per group: the parts of the group, its metrics, and the largest n and episodes.

    Parameters
    ----------
    table
        from `as_table`
    section
        which one
    parts
        names for the parts of the group, in order

    Returns
    -------
    DataFrame, sorted by group
    """
    rows = table[table["section"] == section]
    counts = rows.groupby("group")[["n", "episodes"]].max()
    values = rows.pivot_table(index="group", columns="metric", values="value", aggfunc="first", dropna=False)
    found = values.join(counts).reset_index()
    names: list[Any] = [text.split(SEPARATOR) for text in found["group"]]
    return pd.concat([pd.DataFrame(names, columns=list(parts)), found.drop(columns="group")], axis=1)


def count_episodes(episodes: Texts) -> int:
    """Number of different episodes."""
    return int(pd.Series(episodes, dtype=object).nunique())


def mean_over_episodes(values: Floats, episodes: Texts, draws: int = DRAWS, seed: int = SEED) -> Estimate:
    """Mean over trades with its interval over episodes.

    Parameters
    ----------
    values
        one a trade, shape (n,); NaN is left out
    episodes
        episode of each trade, shape (n,)
    draws, seed
        of the bootstrap

    Returns
    -------
    Estimate

    Notes
    -----
    See `learning.evidence.episode_interval`. Episodes are drawn in the order of their names, so the interval does not
    depend on the order of the trades.
    """
    known = ~np.isnan(values)
    values, episodes = values[known], episodes[known]
    by_name = np.argsort(pd.Categorical(episodes).codes, kind="stable")
    found = episode_interval(values[by_name], episodes[by_name], seed=seed, draws=draws)
    value = float(values.mean()) if len(values) else float("nan")
    return Estimate(value, _shown(found.low), _shown(found.high), len(values), found.episodes)


def difference_over_episodes(
    values: Floats, upper: npt.NDArray[np.bool_], episodes: Texts, draws: int = DRAWS, seed: int = SEED
) -> Estimate:
    """Mean of the trades in `upper` minus that of the others, with its interval over episodes.

    Parameters
    ----------
    values
        one a trade, shape (n,); NaN is left out
    upper
        which trades count positively, shape (n,)
    episodes
        episode of each trade, shape (n,)
    draws, seed
        of the bootstrap; draws of episodes that hold trades of one side only are left out

    Returns
    -------
    Estimate
        NaN where one side has no trades
    """
    known = ~np.isnan(values)
    values, upper, episodes = values[known], upper[known], episodes[known]
    n, clusters = len(values), count_episodes(episodes)
    if upper.all() or not upper.any():
        return Estimate(float("nan"), float("nan"), float("nan"), n, clusters)
    names = pd.Categorical(episodes)
    sides = [_by_episode(values[side], names[side]) for side in (upper, ~upper)]
    picks = draw_episodes(clusters, seed=seed, draws=draws)
    low, high = expanded_interval(_mean(*sides[0], picks) - _mean(*sides[1], picks), clusters)
    value = float(values[upper].mean() - values[~upper].mean())
    return Estimate(value, _shown(low), _shown(high), n, clusters)


def _by_episode(values: Floats, names: pd.Categorical) -> tuple[Floats, Floats]:
    """Sum and count of each category, also of those without a value."""
    size = len(names.categories)
    sums = np.bincount(names.codes, weights=values, minlength=size).astype(np.float64)
    return sums, np.bincount(names.codes, minlength=size).astype(np.float64)


def _mean(sums: Floats, counts: Floats, picks: npt.NDArray[np.int64]) -> Floats:
    total, count = sums[picks].sum(axis=1), counts[picks].sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(picks), np.nan), where=count > 0))


def _shown(bound: float) -> float:
    """A bound as a report shows it: missing where a single episode leaves it undefined."""
    return bound if np.isfinite(bound) else float("nan")
