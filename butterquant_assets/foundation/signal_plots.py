"""Plots of the signal line: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing what the reports found. What does not: computing it. Style, size and encoding are those of
`drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    DASHED,
    MUTED,
    ORANGE,
    PALE_BLUE,
    RED,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)


def calibration_curve(curve: pd.DataFrame) -> bytes:
    """Observed share of targets against the predicted probability, with intervals and counts.

    Parameters
    ----------
    curve
        columns of the contract ``signals/calibration_curve``; empty bins are left out

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if no bin holds a trade.
    """
    filled = curve[curve["trades"] > 0]
    need_rows(filled, "calibration_curve")
    x, y = filled["mean_predicted"].to_numpy(), filled["observed"].to_numpy()
    with styled():
        figure, axes = one_panel(520, 400)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
        spread = [y - filled["low"].to_numpy(), filled["high"].to_numpy() - y]
        axes.errorbar(x, y, yerr=spread, fmt="o", color=BLUE, ecolor=PALE_BLUE, elinewidth=4, label="observed, 95 %")
        for across, up, count in zip(x, filled["high"], filled["trades"], strict=True):
            axes.annotate(f"{count:,}", (across, up), xytext=(0, 4), textcoords="offset points", ha="center", size=8)
        axes.set(title="Does the target come as often as predicted?", xlim=(0, 1), ylim=(0, 1.05))
        axes.set(xlabel="predicted probability of the target", ylabel="observed share")
        legend_below(figure, 1)
        return png_of(figure)


def threshold_scan(scan: pd.DataFrame, gate: str) -> bytes:
    """Mean result of the trades each threshold of a gate keeps, in the period it is chosen on and the next.

    Parameters
    ----------
    scan
        columns of the contract ``signals/threshold_scan``
    gate
        which one

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if no threshold of the gate keeps a trade.
    """
    rows = scan[(scan["gate"] == gate) & (scan["trades"] > 0)]
    need_rows(rows, f"threshold_scan of the {gate} gate")
    in_force = float(scan.loc[(scan["gate"] == gate) & scan["in_force"], "threshold"].to_numpy()[0])
    with styled():
        figure, axes = one_panel(520, 360)
        axes.axhline(0.0, color=MUTED, linewidth=0.9)
        for period, colour in (("chosen_on", BLUE), ("confirmed_on", ORANGE)):
            part = rows[rows["period"] == period]
            axes.plot(part["threshold"], part["mean_pnl_bps"], "o-", color=colour, label=period.replace("_", " "))
        axes.axvline(in_force, color=MUTED, linestyle=DASHED, label="in force")
        axes.set(title=f"Thresholds of the {gate} gate", xlabel="threshold", ylabel="mean result of the kept, bps")
        legend_below(figure, 3)
        return png_of(figure)


def gate_results(report: pd.DataFrame) -> bytes:
    """Mean result of what each gate rejected, of all rejected and of the accepted, with intervals and counts.

    Parameters
    ----------
    report
        columns of the contract ``signals/gate_report``; gates that rejected nothing that was executed are left out

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if nothing was executed.
    """
    rows = report[report["executed"] > 0]
    need_rows(rows, "gate_results")
    names = [f"{gate} ({count:,})" for gate, count in zip(rows["gate"], rows["executed"], strict=True)]
    mean = rows["mean_pnl_bps"].to_numpy()
    low, high = (rows[name].fillna(rows["mean_pnl_bps"]).to_numpy() for name in ("low_bps", "high_bps"))
    colours = [BLUE if gate == "accepted" else RED for gate in rows["gate"]]
    with styled():
        figure, axes = one_panel(520, 90 + 40 * len(rows))
        axes.axvline(0.0, color=MUTED, linewidth=0.9)
        for place, (x, left, right, colour) in enumerate(zip(mean, low, high, colours, strict=True)):
            spread = [[x - left], [right - x]]
            axes.errorbar(x, place, xerr=spread, fmt="o", color=colour, ecolor="#c9c9c9", elinewidth=4)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(title="What rejected and accepted signals earned", xlabel="mean result, bps (95 % over weeks)")
        axes.grid(axis="y", visible=False)
        return png_of(figure)


def monthly_results(performance: pd.DataFrame) -> bytes:
    """Observed and predicted win rate by month of entry, every executed signal, and the mean result beneath.

    Parameters
    ----------
    performance
        columns of the contract ``signals/signal_performance``

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if no month has an ended trade.
    """
    rows = performance[(performance["track"] == "all") & (performance["trades"] > 0)]
    need_rows(rows, "monthly_results")
    months = rows["month"].dt.strftime("%Y-%m").tolist()
    places = range(len(months))
    with styled():
        figure, axes = one_panel(700, 320)
        axes.plot(places, rows["win_rate"], "o-", color=BLUE, label="observed")
        axes.plot(places, rows["predicted_win_rate"], "o--", color=ORANGE, label="predicted")
        step = max(1, len(months) // 12)
        axes.set_xticks(list(places)[::step], months[::step])
        axes.set(title="Targets reached, by month of entry", ylabel="share of ended trades")
        axes.set_ylim(bottom=0)
        legend_below(figure, 2)
        return png_of(figure)


def learned_plots(newest: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Plots of one round that have something to show, by name.

    Parameters
    ----------
    newest
        frames of the newest round by the names of their contracts; none before the first
    """
    drawn: dict[str, bytes] = {}
    if not newest:
        return drawn
    if (newest["calibration_curve"]["trades"] > 0).any():
        drawn["reliability"] = calibration_curve(newest["calibration_curve"])
    scan = newest["threshold_scan"]
    if ((scan["gate"] == "fund") & (scan["trades"] > 0)).any():
        drawn["thresholds of the fund gate"] = threshold_scan(scan, "fund")
    if (newest["gate_report"]["executed"] > 0).any():
        drawn["rejected and accepted"] = gate_results(newest["gate_report"])
    performance = newest["signal_performance"]
    if ((performance["track"] == "all") & (performance["trades"] > 0)).any():
        drawn["targets by month"] = monthly_results(performance)
    return drawn
