"""What the four definitions of ROI say about the same trades: levels, classes, agreement, and the tent's own edge.

What belongs here: sections of the label report that need no other price than those stored, and the market without
edge. Rows of the report come out; words and pictures are made in `label_report`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.remarking import no_edge_returns
from butterquant_assets.butterfly.report_rows import (
    ReportRow,
    class_share_rows,
    count_episodes,
    estimate_rows,
    group_name,
    mean_over_episodes,
)
from butterquant_assets.butterfly.sampling import STRATA

Floats = npt.NDArray[np.float64]

ALL = "all"
DEFINITIONS, AGREEMENT, TENT, DISTANCE = "definitions", "agreement", "tent", "tent_by_distance"
# |S' - K| / W: inside the wings up to 1.
DISTANCE_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)


def strata_of(trades: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All trades, then those of each stratum that has any."""
    yield ALL, trades
    for stratum in STRATA:
        part = trades[trades["stratum"] == stratum]
        if len(part):
            yield stratum, part


def definition_rows(trades: pd.DataFrame) -> list[ReportRow]:
    """Class shares and mean ROI by stratum and definition.

    Group ``stratum | definition``; metrics ``share_0`` .. ``share_3``, ``mean_roi`` with its interval.
    """
    rows: list[ReportRow] = []
    for stratum, part in strata_of(trades):
        episodes = part["episode"].to_numpy(dtype=object)
        for kind in ROI_KINDS:
            group = group_name(stratum, kind)
            rows += class_share_rows(DEFINITIONS, group, part[f"label_{kind}"].to_numpy(np.float64), episodes)
            found = mean_over_episodes(part[f"roi_{kind}"].to_numpy(np.float64), episodes)
            rows += estimate_rows(DEFINITIONS, group, "mean_roi", found)
    return rows


def agreement_rows(trades: pd.DataFrame) -> list[ReportRow]:
    """How far two definitions give the same class.

    Group ``definition | definition``; metrics ``same_class`` and ``class_i_j``, the share of all trades that the first
    puts into class i and the second into class j.
    """
    count, episodes = len(trades), count_episodes(trades["episode"].to_numpy(dtype=object))
    rows: list[ReportRow] = []
    for first, second in combinations(ROI_KINDS, 2):
        one, other = (trades[f"label_{kind}"].to_numpy(np.int64) for kind in (first, second))
        shares = np.bincount(4 * one + other, minlength=16) / count
        metrics = {"same_class": float((one == other).mean())}
        metrics |= {f"class_{i}_{j}": float(shares[4 * i + j]) for i in range(4) for j in range(4)}
        group = group_name(first, second)
        rows += [ReportRow(AGREEMENT, group, metric, value, count, episodes) for metric, value in metrics.items()]
    return rows


def tent_rows(trades: pd.DataFrame) -> list[ReportRow]:
    """The tent against the mark on the same trades, as measured and in a market without edge.

    Group: stratum. Metrics, each with its interval: ``measured_tent``, ``measured_mark`` and their difference
    ``measured_excess``; ``no_edge_tent``, ``no_edge_mark``, ``no_edge_excess``, expected where the underlying is
    lognormal at the entry volatility and every leg is priced at it; ``no_edge_smile_tent``, ``no_edge_smile_mark``,
    the same lognormal while debit and mark keep their smile, as the labels do.
    """
    fair, smiling = no_edge_returns(trades), no_edge_returns(trades, smile=True)
    columns = {
        "measured_tent": trades["roi_tent"].to_numpy(np.float64),
        "measured_mark": trades["roi_mark"].to_numpy(np.float64),
        "measured_excess": (trades["roi_tent"] - trades["roi_mark"]).to_numpy(np.float64),
        "no_edge_tent": fair.tent,
        "no_edge_mark": fair.mark,
        "no_edge_excess": fair.tent - fair.mark,
        "no_edge_smile_tent": smiling.tent,
        "no_edge_smile_mark": smiling.mark,
    }
    rows: list[ReportRow] = []
    for stratum, part in strata_of(trades):
        at, episodes = part.index.to_numpy(), part["episode"].to_numpy(dtype=object)
        for metric, values in columns.items():
            rows += estimate_rows(TENT, stratum, metric, mean_over_episodes(values[at], episodes))
    return rows


def distance_rows(trades: pd.DataFrame) -> list[ReportRow]:
    """Mean ROI of three definitions by how far from the centre the trade ended, in widths.

    Group: the interval of |S' - K| / W; metrics ``distance`` (its mean), ``mean_tent``, ``mean_expiry``,
    ``mean_mark``. This is where the tent goes wrong: it pays the payoff of expiry as if the debit came back besides.
    """
    distance = (np.abs(trades["exit_spot"] - trades["center_strike"]) / trades["width"]).to_numpy(np.float64)
    bins = np.digitize(distance, DISTANCE_EDGES) - 1
    rows: list[ReportRow] = []
    for number, low in enumerate(DISTANCE_EDGES):
        part = trades[bins == number]
        if part.empty:
            continue
        last = number == len(DISTANCE_EDGES) - 1
        group = f">= {low:.2f}" if last else f"{low:.2f} .. {DISTANCE_EDGES[number + 1]:.2f}"
        metrics = {"distance": float(distance[bins == number].mean())}
        metrics |= {f"mean_{kind}": float(part[f"roi_{kind}"].mean()) for kind in ("tent", "expiry", "mark")}
        episodes = count_episodes(part["episode"].to_numpy(dtype=object))
        rows += [ReportRow(DISTANCE, group, metric, value, len(part), episodes) for metric, value in metrics.items()]
    return rows
