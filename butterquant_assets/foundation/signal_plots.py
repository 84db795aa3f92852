"""Plots of the signal line: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing what the reports found. What does not: computing it. Style, size and encoding are those of
`plots`.
"""

from __future__ import annotations

import pandas as pd

from butterquant_assets.foundation.plots import BLUE, MUTED, ORANGE, _figure, _legend_below, _need_rows, _png, _style


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
    _need_rows(filled, "calibration_curve")
    x, y = filled["mean_predicted"].to_numpy(), filled["observed"].to_numpy()
    with _style():
        figure, axes = _figure(520, 400)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        spread = [y - filled["low"].to_numpy(), filled["high"].to_numpy() - y]
        axes.errorbar(x, y, yerr=spread, fmt="o", color=BLUE, ecolor="#a9c4dc", elinewidth=4, label="observed, 95 %")
        for across, up, count in zip(x, filled["high"], filled["trades"], strict=True):
            axes.annotate(f"{count:,}", (across, up), xytext=(0, 4), textcoords="offset points", ha="center", size=8)
        axes.set(title="Does the target come as often as predicted?", xlim=(0, 1), ylim=(0, 1.05))
        axes.set(xlabel="predicted probability of the target", ylabel="observed share")
        _legend_below(figure, 1)
        return _png(figure)


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
    _need_rows(rows, f"threshold_scan of the {gate} gate")
    in_force = float(scan.loc[(scan["gate"] == gate) & scan["in_force"], "threshold"].to_numpy()[0])
    with _style():
        figure, axes = _figure(520, 360)
        axes.axhline(0.0, color=MUTED, linewidth=0.9)
        for period, colour in (("chosen_on", BLUE), ("confirmed_on", ORANGE)):
            part = rows[rows["period"] == period]
            axes.plot(part["threshold"], part["mean_pnl_bps"], "o-", color=colour, label=period.replace("_", " "))
        axes.axvline(in_force, color=MUTED, linestyle=(0, (4, 3)), label="in force")
        axes.set(title=f"Thresholds of the {gate} gate", xlabel="threshold", ylabel="mean result of the kept, bps")
        _legend_below(figure, 3)
        return _png(figure)
