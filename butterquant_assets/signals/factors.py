"""The factors of the signal line: T M C V O B F I of every coin and hour, and the market's regime.

What belongs here: which raw values make a factor, what stands in for a missing input, and what is flagged. What does
not: the raw values' loops (`factor_kernels`), their scaling (`scaling`), the weights (`weights`).

Source: REFERENCE section 2. What it leaves open is decided here:

- ATR14 and the exponential averages are TA-Lib's, applied to a window of fixed length instead of all history: a value
  would otherwise depend on where the history begins, for ever. The averages see the last 162 hours and begin with the
  mean of the first 12, 26 or (of 161 true ranges) 14 of them. What is older would weigh 3e-5 at most.
- A raw value is missing where any value it is computed from is: nothing is filled or skipped. So a missing hour is
  missing in T and M for the next 167 hours at most, in V for 167, in C for 23, in F for 23, in O only where the hour is
  one of the two compared, and in I for 168. Scores need 168 known values among the previous 720.
- Where taker volume is missing, C and F use the place of the close between low and high instead. The two have scales
  of their own: each is scored against its own past, and the stand-in is used only where the true one has no score.
- A price that did not move at all has raw values of 0 in T and M, and no I.

A value depends on the 888 hours that end with its own (`TAIL_HOURS`) and on nothing else, bit for bit: computing the
last 888 hours gives the newest row of a computation over years. Only I and the regime look at other coins, at those two
that are named.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntFlag

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.panel import HourlyPanel, check_panel
from butterquant_assets.signals.regime import market_regime
from butterquant_assets.signals.scaling import MINIMUM_VALUES, WINDOW_HOURS, robust_score, within_limits

Floats = npt.NDArray[np.float64]

FACTORS = ("T", "M", "C", "V", "O", "B", "F", "I")
# The raw values look back a week, and their scores over the 720 hours before.
RAW_HOURS = 168
TAIL_HOURS = WINDOW_HOURS + RAW_HOURS
# The first score needs the first raw value and 168 of them before it: a signal wants no defect in these hours.
CLEAN_HOURS = RAW_HOURS + MINIMUM_VALUES
_STATE = ("flags", "close", "atr14", "closed_bars", "defect", "funding_8h")
# Order of the rows that the compiled code reads.
_INPUTS = ("high", "low", "close", "volume", "taker_buy_volume", "open_interest", "mark", "index", "funding_8h")
# Taker volume above the volume by more than rounding contradicts it, and counts as missing.
_ROUNDING = 1e-9


class Flag(IntFlag):
    """What is to be known about a row of factors; any of them may stand together."""

    C_PROXY = 1
    F_PROXY = 2
    B_FUNDING_ONLY = 4
    T_MISSING = 8
    M_MISSING = 16
    C_MISSING = 32
    V_MISSING = 64
    O_MISSING = 128
    B_MISSING = 256
    F_MISSING = 512
    I_MISSING = 1024
    REGIME_MISSING = 2048


_STAND_INS = {Flag.C_PROXY: "proxy_C", Flag.F_PROXY: "proxy_F", Flag.B_FUNDING_ONLY: "funding_only_B"}
_MISSING = {name: Flag[f"{name}_MISSING"] for name in FACTORS}


def stand_in_words(flags: int) -> str:
    """What stands in for what in a row, separated by commas; empty where nothing does."""
    return ",".join(word for flag, word in _STAND_INS.items() if flags & flag)


@dataclass(frozen=True)
class FactorPanels:
    """Factors of every hour and coin; shape (h, c) unless said, NaN = missing.

    Attributes
    ----------
    hours, coins
        as in the panel they come from
    values
        by name: T trend, M momentum, C capital flow, V volume, O open interest, B basis, F fund leading, each strictly
        between -100 and 100, positive = bullish; I independence, 0 .. 100
    market_regime
        strictly between -100 and 100, shape (h,)
    atr14
        in units of the price
    flags
        sums of `Flag`, uint16
    closed_bars
        bars among the last 888 hours that have high, low, close and volume and are not defective
    defect
        whether one of the last 336 hours is defective, or lacks its bar though the coin had bars before it (of which
        those within the last 888 hours are known)
    close, funding_8h
        as in the panel; NaN in defective hours
    """

    hours: npt.NDArray[np.datetime64]
    coins: tuple[str, ...]
    values: dict[str, Floats]
    market_regime: Floats
    atr14: Floats
    flags: npt.NDArray[np.uint16]
    closed_bars: npt.NDArray[np.int16]
    defect: npt.NDArray[np.bool_]
    close: Floats
    funding_8h: Floats

    def last(self, hours: int) -> FactorPanels:
        """The same panels for their newest hours."""
        part = slice(max(len(self.hours) - hours, 0), None)
        panels = {name: getattr(self, name)[part] for name in ("hours", "market_regime", *_STATE)}
        return replace(self, values={name: panel[part] for name, panel in self.values.items()}, **panels)

    def frame(self) -> pd.DataFrame:
        """One row per hour and coin, by hour, then in the order of the coins.

        Returns
        -------
        columns hour (naive UTC), coin, T, M, C, V, O, B, F, I, market_regime, flags (words on what stands in for what,
        separated by commas), close, atr14, closed_bars, defect, funding_8h
        """
        count = len(self.coins)
        columns: dict[str, object] = {"hour": np.repeat(self.hours.astype("datetime64[us]"), count)}
        columns["coin"] = np.tile(np.array(self.coins, dtype=object), len(self.hours))
        columns |= {name: self.values[name].ravel() for name in FACTORS}
        columns["market_regime"] = np.repeat(self.market_regime, count)
        stand_ins = self.flags.ravel() & np.uint16(sum(_STAND_INS))
        words = np.array([stand_in_words(flags) for flags in range(sum(_STAND_INS) + 1)], dtype=object)
        columns["flags"] = words[stand_ins]
        columns |= {name: getattr(self, name).ravel() for name in _STATE if name != "flags"}
        return pd.DataFrame(columns).astype({"coin": "str", "flags": "str"})


def compute_factors(panel: HourlyPanel, leader: str = "BTC", second: str = "ETH", threads: int = 2) -> FactorPanels:
    """All factors of all coins and hours of a panel.

    Parameters
    ----------
    panel
        hourly data; give 888 hours before the first one whose factors matter
    leader, second
        names of the coins of the regime; I is measured against the first
    threads
        threads to spread the coins over; they change no bit of the result

    Returns
    -------
    FactorPanels
        for every hour of the panel

    Raises
    ------
    DataError
        if the panel does not pass `check_panel`, does not hold the two coins, or `threads` is below 1.
    """
    check_panel(panel)
    if threads < 1:
        raise DataError(f"{threads} threads cannot do anything; ask for at least 1")
    first, other = panel.column(leader), panel.column(second)
    shape = (len(panel.coins), len(panel.hours))
    found = {name: np.full(shape, np.nan) for name in (*FACTORS, "atr14", "close", "funding_8h")}
    flags, closed = np.zeros(shape, dtype=np.uint16), np.zeros(shape, dtype=np.int16)
    defect, regime = np.zeros(shape, dtype=bool), np.full(shape[1], np.nan)
    if shape[1]:
        leading = _leader_returns(_coin_inputs(panel, first))

        def fill(place: int) -> None:
            inputs = _coin_inputs(panel, place)
            series, flags[place] = _coin_factors(inputs, leading)
            for name in ("close", "funding_8h"):
                series[name] = inputs[_INPUTS.index(name)]
            for name, values in series.items():
                found[name][place] = values
            closed[place], defect[place] = _quality(inputs, panel.defective[:, place])

        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(fill, place) for place in range(shape[0])]:
                done.result()
        regime = market_regime(found["T"][first], found["T"][other])
        flags[:, np.isnan(regime)] |= np.uint16(Flag.REGIME_MISSING)
    panels = {name: np.ascontiguousarray(found.pop(name).T) for name in list(found)}
    return FactorPanels(
        hours=panel.hours,
        coins=panel.coins,
        values={name: panels.pop(name) for name in FACTORS},
        market_regime=regime,
        flags=np.ascontiguousarray(flags.T),
        closed_bars=np.ascontiguousarray(closed.T),
        defect=np.ascontiguousarray(defect.T),
        **panels,
    )


def _coin_inputs(panel: HourlyPanel, place: int) -> Floats:
    """Rows of one coin in the order the compiled code expects, what cannot be believed as NaN."""
    inputs = np.empty((len(_INPUTS), len(panel.hours)))
    for row, name in enumerate(_INPUTS):
        inputs[row] = getattr(panel, name)[:, place]
    inputs[:, panel.defective[:, place]] = np.nan
    volume, taker, interest = (inputs[_INPUTS.index(name)] for name in ("volume", "taker_buy_volume", "open_interest"))
    taker[taker > volume * (1.0 + _ROUNDING)] = np.nan
    interest[interest == 0.0] = np.nan
    return inputs


def _leader_returns(inputs: Floats) -> Floats:
    from butterquant_assets.signals.factor_kernels import CLOSE, hourly_returns

    returns = np.empty(inputs.shape[1])
    hourly_returns(inputs[CLOSE], returns)
    return returns


def _coin_factors(inputs: Floats, leader_returns: Floats) -> tuple[dict[str, Floats], npt.NDArray[np.uint16]]:
    """Factors and ATR of one coin by name, and its flags; each of shape (hours,)."""
    from butterquant_assets.signals import factor_kernels as kernels

    hours = inputs.shape[1]
    raw, atr, alone = np.empty((kernels.RAW_VALUES, hours)), np.empty(hours), np.empty(hours)
    kernels.raw_values(inputs, raw, atr)
    kernels.independence(inputs[kernels.CLOSE], leader_returns, alone)
    capital, capital_proxy = _with_stand_in(raw[kernels.C], raw[kernels.C_PROXY])
    flow, flow_proxy = _with_stand_in(raw[kernels.FLOW], raw[kernels.FLOW_PROXY])
    basis, crowding = robust_score(raw[kernels.BASIS]), robust_score(raw[kernels.CROWDING])
    funding_only = np.isnan(basis) & ~np.isnan(crowding)
    leading = 0.6 * flow + 0.4 * robust_score(raw[kernels.OI_CHANGE]) - robust_score(raw[kernels.RETURN])
    factors = {
        "T": robust_score(raw[kernels.T]),
        "M": robust_score(raw[kernels.M]),
        "C": capital,
        "V": robust_score(raw[kernels.V]),
        "O": robust_score(raw[kernels.O]),
        "B": within_limits(np.where(funding_only, -crowding, -(basis + crowding) / 2.0)),
        "F": within_limits(leading / 2.0),
        "I": alone,
    }
    flags = np.zeros(hours, dtype=np.uint16)
    flags[capital_proxy] |= np.uint16(Flag.C_PROXY)
    flags[flow_proxy & ~np.isnan(factors["F"])] |= np.uint16(Flag.F_PROXY)
    flags[funding_only] |= np.uint16(Flag.B_FUNDING_ONLY)
    for name, flag in _MISSING.items():
        flags[np.isnan(factors[name])] |= np.uint16(flag)
    return factors | {"atr14": atr}, flags


def _with_stand_in(true: Floats, stand_in: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Score of a raw value, or of its stand-in where it has none; and where the stand-in was taken."""
    scores = robust_score(true)
    if not (np.isnan(true) & ~np.isnan(stand_in)).any():
        return scores, np.zeros(len(scores), dtype=bool)
    substitutes = robust_score(stand_in)
    taken = np.isnan(scores) & ~np.isnan(substitutes)
    return np.where(taken, substitutes, scores), taken


def _quality(inputs: Floats, defective: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Closed bars among the last 888 hours, and whether a defect lies in the last 336."""
    complete = np.asarray(~np.isnan(inputs[:4]).any(axis=0), dtype=np.bool_)
    places = np.arange(inputs.shape[1])
    total = np.concatenate(([0], np.cumsum(complete)))
    closed = total[places + 1] - total[np.maximum(places + 1 - TAIL_HOURS, 0)]
    # The newest hour without a bar is a gap only if the coin had one before; else it is not listed yet.
    gap, marked = _latest(~complete), _latest(defective)
    before = np.where(gap >= 0, _latest(complete)[gap], -1)
    listed = (before >= 0) & (before > places - TAIL_HOURS)
    defect = ((gap >= 0) & (gap > places - CLEAN_HOURS) & listed) | ((marked >= 0) & (marked > places - CLEAN_HOURS))
    return closed.astype(np.int16), defect


def _latest(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Place of the newest hour so far of which something is true, -1 before the first."""
    places = np.where(which, np.arange(which.size, dtype=np.int64), -1)
    return np.asarray(np.maximum.accumulate(places), dtype=np.int64)
