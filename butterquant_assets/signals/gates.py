"""The four gates of a signal: data, fund leading, market, expected value.

What belongs here: the thresholds in force and the verdict of each gate with its reason. What does not: how thresholds
are chosen (`thresholds`), and what the rejected ones would have earned (`gate_report`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.versions import content_version

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

DATA, FUND, MARKET, EV = "data", "fund", "market", "ev"
GATES = (DATA, FUND, MARKET, EV)
LONG, SHORT = "long", "short"
SIDES = (LONG, SHORT)
ACCEPTED, REJECTED = "accepted", "rejected"
# Share of the score's weight that must be there for the score to count as one of this coin and hour.
MINIMUM_WEIGHT = 0.5

_NAMES = {DATA: "minimum_bars", FUND: "f_directional", MARKET: "independence", EV: "ev_bps"}


@dataclass(frozen=True)
class Thresholds:
    """What the gates ask for. Defaults are the source document's, but for the bars (336 for its 100).

    Parameters
    ----------
    minimum_bars
        fewest closed bars of the coin
    f_directional
        lowest F in the direction of the signal, points
    independence
        below it a signal against the market is rejected, 0 .. 100
    regime
        how far the market must lean the other way to count as adverse, points
    ev_bps
        the expected value must exceed it, bps of the notional
    as_of
        when they were chosen, naive UTC; None for thresholds that come from no data
    """

    minimum_bars: float = 336.0
    f_directional: float = -15.0
    independence: float = 30.0
    regime: float = 30.0
    ev_bps: float = 0.0
    as_of: pd.Timestamp | None = None

    def value(self, gate: str) -> float:
        """Threshold of one of `GATES`."""
        return float(getattr(self, _name(gate)))

    def changed(self, gate: str, value: float) -> Thresholds:
        """The same with another threshold for one of `GATES`."""
        changes: dict[str, Any] = {_name(gate): float(value)}
        return replace(self, **changes)

    def version(self) -> str:
        """Content version; when they were chosen is part of it."""
        return content_version(asdict(self))


def gate_values(signals: pd.DataFrame, regime: float) -> dict[str, Floats]:
    """What each gate compares with its threshold, shape (n,) each, by gate.

    For the market gate it is the independence of signals against the market and infinity for the others, which no
    threshold rejects; NaN where it cannot be known. `regime` is how far the market must lean to count as adverse.
    """
    return {
        DATA: signals["closed_bars"].to_numpy(dtype=np.float64),
        FUND: signals["f_directional"].to_numpy(dtype=np.float64),
        MARKET: _market_value(signals, regime),
        EV: signals["ev_bps"].to_numpy(dtype=np.float64),
    }


def sound(signals: pd.DataFrame) -> Bools:
    """Whether the data gate lets signals pass once they have bars enough, shape (n,)."""
    whole = ~signals["defect"].to_numpy(dtype=np.bool_) & (signals["weight_present"] >= MINIMUM_WEIGHT).to_numpy()
    return np.asarray(whole & (signals["stop_bps"] > 0).to_numpy(), dtype=np.bool_)


def passes(gate: str, values: Floats, threshold: float) -> Bools:
    """Whether values pass: EV must exceed its threshold, the others reach it. Missing values do not pass."""
    kept: Bools = values > threshold if _name(gate) == "ev_bps" else values >= threshold
    return kept


def judge(signals: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Verdict and reason of each gate.

    Parameters
    ----------
    signals
        columns side, closed_bars, defect (bool), weight_present, stop_bps, f_directional, I, market_regime, ev_bps,
        calibrated (bool); NaN is missing
    thresholds
        in force

    Returns
    -------
    DataFrame
        aligned with `signals`: for each gate g of `GATES` ``gate_g`` (bool) and ``gate_g_reason``; ``verdict``, and
        ``reason``, that of the first gate that rejects, empty for an accepted signal

    Notes
    -----
    A gate that cannot judge because its input is missing rejects, and says so; the market gate needs only as much as
    decides it: an independent coin passes in an unknown market, a favourable market passes a coin of unknown
    independence.
    """
    out = pd.DataFrame(index=signals.index)
    makers = {DATA: _data_gate, FUND: _fund_gate, MARKET: _market_gate, EV: _ev_gate}
    first = np.full(len(signals), "", dtype=object)
    accepted = np.ones(len(signals), dtype=np.bool_)
    for gate in GATES:
        kept, reasons = makers[gate](signals, thresholds)
        out[f"gate_{gate}"] = kept
        out[f"gate_{gate}_reason"] = pd.Series(reasons, index=signals.index, dtype="str")
        first = np.where(accepted & ~kept, np.array(reasons, dtype=object), first)
        accepted &= kept
    out["verdict"] = pd.Series(np.where(accepted, ACCEPTED, REJECTED), index=signals.index, dtype="str")
    out["reason"] = pd.Series(first, index=signals.index, dtype="str")
    return out


def _name(gate: str) -> str:
    if gate not in _NAMES:
        raise ConfigError(f"{gate!r} is no gate; use one of {', '.join(GATES)}")
    return _NAMES[gate]


def _columns(signals: pd.DataFrame, *names: str) -> list[list[Any]]:
    return [signals[name].tolist() for name in names]


def _data_gate(signals: pd.DataFrame, thresholds: Thresholds) -> tuple[Bools, list[str]]:
    kept, reasons = np.zeros(len(signals), dtype=np.bool_), []
    columns = _columns(signals, "closed_bars", "defect", "weight_present", "stop_bps")
    for row, (bars, defect, weight, stop) in enumerate(zip(*columns, strict=True)):
        if not bars >= thresholds.minimum_bars:
            reasons.append(f"{bars:.0f} closed bars, {thresholds.minimum_bars:.0f} are needed")
        elif defect:
            reasons.append("a data defect in the window")
        elif weight < MINIMUM_WEIGHT:
            reasons.append(f"only {weight:.2f} of the score's weight has a factor")
        elif not stop > 0:
            reasons.append("no ATR, so no stop and no target")
        else:
            kept[row] = True
            reasons.append(f"{bars:.0f} closed bars without defect")
    return kept, reasons


def _fund_gate(signals: pd.DataFrame, thresholds: Thresholds) -> tuple[Bools, list[str]]:
    values, limit = signals["f_directional"].to_numpy(dtype=np.float64), thresholds.f_directional
    kept = passes(FUND, values, limit)
    words = ("<", ">=")
    reasons = [
        f"F_directional {value:.1f} {words[good]} {limit:g}" if value == value else "F is missing"
        for value, good in zip(values.tolist(), kept.tolist(), strict=True)
    ]
    return kept, reasons


def _market_value(signals: pd.DataFrame, regime: float) -> Floats:
    against = _against(signals)
    independence = signals["I"].to_numpy(dtype=np.float64)
    # A market that is not known to be favourable is judged as an adverse one.
    return np.where(against <= regime, np.inf, independence)


def _against(signals: pd.DataFrame) -> Floats:
    """How far the market leans against the signal, points."""
    lean = signals["market_regime"].to_numpy(dtype=np.float64)
    against: Floats = np.where(signals["side"].to_numpy(dtype=object) == LONG, -lean, lean)
    return against


def _market_gate(signals: pd.DataFrame, thresholds: Thresholds) -> tuple[Bools, list[str]]:
    limit, regime = thresholds.independence, thresholds.regime
    values = _market_value(signals, regime)
    kept = passes(MARKET, values, limit)
    reasons = []
    independence = signals["I"].to_numpy(dtype=np.float64).tolist()
    for own, against, good in zip(independence, _against(signals).tolist(), kept.tolist(), strict=True):
        if good:
            reasons.append("the market is not adverse" if against <= regime else f"I {own:.1f} >= {limit:g}")
            continue
        market = f"the market leans {against:.1f} against it" if against == against else "the market is not known"
        reasons.append(f"I {own:.1f} < {limit:g} and {market}" if own == own else f"I is missing and {market}")
    return kept, reasons


def _ev_gate(signals: pd.DataFrame, thresholds: Thresholds) -> tuple[Bools, list[str]]:
    values, limit = signals["ev_bps"].to_numpy(dtype=np.float64), thresholds.ev_bps
    kept = passes(EV, values, limit)
    words = ("<=", ">")
    reasons = []
    for value, good, calibrated in zip(values.tolist(), kept.tolist(), signals["calibrated"].tolist(), strict=True):
        if value != value:
            reasons.append("EV is missing: no stop, no cost or no funding rate")
        else:
            basis = "" if calibrated else ", not calibrated: paper only"
            reasons.append(f"EV {value:.1f} bps {words[good]} {limit:g}{basis}")
    return kept, reasons
