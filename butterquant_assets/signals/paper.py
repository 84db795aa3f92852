"""Paper execution: what a signal would have earned on the bars that followed it.

What belongs here: fills, barriers, time-out and funding. What does not: which signals are accepted (`gates`), which
coin is busy (`tracks`), and what is learned from the results. Every signal is executed, the rejected ones too:
thresholds and calibration learn from all of them.

The rules: a taker enters at the open of the bar after the signal's, and pays half the spread, slippage and the fee, as
at the end. Barriers lie around that open. Where one bar touches both, the stop came first; a bar that opens beyond the
stop fills at its open, one that opens beyond the target at the target. A trade not ended by its time-out ends at the
close of its last bar, or at the next open where that bar has no price; where no price comes within a day, at the last
close there was. Funding is paid at each settlement of [entry, end], at the realised rate on the mark price; one
stamped a moment after a full hour is known by its stamp and belongs to that hour. An open
trade is marked as if it ended at the last close. What became of a trade that has ended depends on nothing later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.gates import LONG
from butterquant_assets.signals.schemas import PAPER_TRADES, SIGNAL_CARRIED
from butterquant_assets.signals.tracks import tracks
from butterquant_assets.signals.versions import HOUR, require_columns, typed

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EXIT_WORDS = ("open", "target", "stop", "timeout")
MICROSECONDS = 3_600_000_000
# No interval between settlements is longer; shorter silences are judged by the coin's own rhythm.
LONGEST_INTERVAL = pd.Timedelta(hours=8)
# Settlements are stamped some milliseconds late.
LATENESS = pd.Timedelta(minutes=1)
# Hours in which a price is waited for where the bar of the time-out has none.
PATIENCE_HOURS = 24
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Execution:
    """How paper trades are executed.

    Parameters
    ----------
    taker_fee_bps, slippage_bps
        of each side, bps of its notional
    half_spread_bps
        where no book is known, bps; so is slippage_bps, and the least where a book does not hold the order
    timeout_hours
        longest holding
    notional_usd
        of each trade, for results in USD
    """

    taker_fee_bps: float = 5.0
    slippage_bps: float = 1.0
    half_spread_bps: float = 1.0
    timeout_hours: int = 72
    notional_usd: float = 1000.0

    def __post_init__(self) -> None:
        costs = (self.taker_fee_bps, self.slippage_bps, self.half_spread_bps)
        if not all(0 <= cost < 1e4 for cost in costs) or self.timeout_hours < 1 or not self.notional_usd > 0:
            raise ConfigError(
                f"costs {costs} must lie within 0 .. 10,000 bps, timeout_hours {self.timeout_hours} be 1 or more and "
                f"notional_usd {self.notional_usd} positive"
            )


@dataclass(frozen=True, eq=False)
class _Panel:
    """Bars, and what the books say, of every coin on one clock; a bar lacking a price lacks all."""

    start: int
    coins: dict[str, int]
    bars: Floats
    half_spread: Floats
    slippage: Floats
    holds_order: Floats

    @property
    def hours(self) -> int:
        return int(self.bars.shape[2])


def execute(
    signals: pd.DataFrame,
    bars: pd.DataFrame,
    funding: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    books: pd.DataFrame | None = None,
    execution: Execution | None = None,
) -> pd.DataFrame:
    """Execute signals on paper, with what was known at `as_of`.

    Parameters
    ----------
    signals
        columns of `schemas.SCORED_SIGNALS`; those whose bar had not closed at `as_of` are left out
    bars
        hourly: hour (its open, naive UTC), coin, open, high, low, close; a missing row or value is a bar without price
    funding
        settlements: coin, settled_at (naive UTC), rate (ratio that a long pays), mark_price (NaN: the close of the
        bar that ends there stands in, and is counted)
    as_of
        naive UTC; bars that closed later and settlements after it are not looked at
    books
        hour, coin, half_spread_bps and perhaps slippage_bps and holds_order (as `schemas.BOOK_COSTS` says them) as of
        the open of that hour; where one is missing, `execution` says what is taken. Slippage of a book that is not said
        to hold the order is the least it can be, so no less than the constant of `execution` is charged
    execution
        by default `Execution()`

    Returns
    -------
    DataFrame
        columns of `schemas.PAPER_TRADES`, one row a signal, sorted by hour and coin. ``track``: accepted signals one
        at a time for each coin; ``busy``, accepted while the coin's trade was open; ``rejected``. ``status``: closed;
        open, marked to the last close; pending, the bar after it has not closed; not_filled, that bar has no price or
        the signal no barriers. ``funding_known``: by the coin's own rhythm no settlement is missing
        within the holding; a longer interval that no later settlement of the holding confirms counts as missing ones

    Raises
    ------
    DataError
        if columns are missing, rows repeated, or a bar is not at a full hour.
    """
    rules = execution or Execution()
    for frame, columns, what in (
        (signals, ("signal_id", *SIGNAL_CARRIED), "signals"),
        (bars, ("hour", "coin", *PRICES), "bars"),
        (funding, ("coin", "settled_at", "rate", "mark_price"), "settlements"),
    ):
        require_columns(frame, columns, what)
    _check_signals(signals)
    known = signals[signals["hour"] + HOUR <= as_of].sort_values(["hour", "coin"], kind="stable")
    trades = known[["signal_id", *SIGNAL_CARRIED]].reset_index(drop=True)
    panel = _panel(bars[bars["hour"] + HOUR <= as_of], books, as_of)
    trades = _beside(trades, _ends(trades, panel, as_of, rules))
    trades = _beside(trades, _money(trades, funding[funding["settled_at"] <= as_of], panel, rules))
    trades["track"] = tracks(trades)
    return PAPER_TRADES.arrange(_typed(trades))


def _check_signals(signals: pd.DataFrame) -> None:
    repeated = signals["signal_id"].duplicated()
    if repeated.any():
        raise DataError(f"{repeated.sum()} signals are repeated, first {signals['signal_id'][repeated].iloc[0]}")


def _panel(bars: pd.DataFrame, books: pd.DataFrame | None, as_of: pd.Timestamp) -> _Panel:
    if not len(bars):
        return _Panel(0, {}, np.empty((0, 4, 0)), *[np.empty((0, 0))] * 3)
    stamps = _microseconds(bars["hour"])
    if (stamps % MICROSECONDS).any():
        odd = bars["hour"][stamps % MICROSECONDS != 0].iloc[0]
        raise DataError(f"a bar is stamped {odd}; hourly bars are stamped at the full hour of their open")
    codes, names = pd.factorize(bars["coin"], sort=True)
    start = int(stamps.min())
    # Up to `as_of`, whether bars came or not: a trade waits for a price only so long.
    ends = int(np.datetime64(as_of, "us").astype(np.int64))
    place, hours = (stamps - start) // MICROSECONDS, (ends - start) // MICROSECONDS
    cells = codes.astype(np.int64) * hours + place
    if len(np.unique(cells)) != len(cells):
        raise DataError("bars are repeated; give one per hour and coin")
    panel = np.full((len(names), 4, hours), np.nan)
    for row, name in enumerate(PRICES):
        panel[codes, row, place] = bars[name].to_numpy(dtype=np.float64)
    whole = np.isfinite(panel).all(axis=1) & (panel > 0).all(axis=1)
    panel = np.where(whole[:, None, :], panel, np.nan)
    coins = {str(name): number for number, name in enumerate(names)}
    said = ("half_spread_bps", "slippage_bps", "holds_order")
    return _Panel(start, coins, panel, *(_book(books, name, start, coins, hours) for name in said))


def _book(books: pd.DataFrame | None, name: str, start: int, coins: dict[str, int], hours: int) -> Floats:
    """One figure of the books, shape (coins, hours); NaN where it is not known."""
    known = np.full((len(coins), hours), np.nan)
    if books is None or not len(books):
        return known
    require_columns(books, ("hour", "coin", "half_spread_bps"), "books")
    if name in books:
        code = books["coin"].map(coins)
        place = (_microseconds(books["hour"]) - start) // MICROSECONDS
        inside = code.notna().to_numpy() & (place >= 0) & (place < hours)
        known[code[inside].to_numpy(dtype=np.int64), place[inside]] = books[name].to_numpy(dtype=np.float64)[inside]
    return known


def _ends(trades: pd.DataFrame, panel: _Panel, as_of: pd.Timestamp, rules: Execution) -> dict[str, Any]:
    """Where each trade began and ended, before costs."""
    from butterquant_assets.signals.paper_kernel import walk

    n = len(trades)
    coin: Integers = np.asarray(trades["coin"].map(panel.coins).fillna(-1), dtype=np.int64)
    entry: Integers = np.asarray((_microseconds(trades["hour"]) - panel.start) // MICROSECONDS + 1, dtype=np.int64)
    pending = (trades["hour"] + 2 * HOUR > as_of).to_numpy()
    can = ~pending & (coin >= 0) & (entry >= 0) & (entry < panel.hours) & (trades["stop_bps"] > 0).to_numpy()
    can[can] = np.isfinite(panel.bars[coin[can], 0, entry[can]])
    direction = _direction(trades)
    bar, kind, known = (np.zeros(n, dtype=np.int64) for _ in range(3))
    level, at_open = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    distances = trades[["stop_bps", "target_bps"]].to_numpy(dtype=np.float64) / 1e4
    for number in np.unique(coin[can]):
        rows = np.flatnonzero(can & (coin == number))
        bar[rows], kind[rows], level[rows], at_open[rows], known[rows] = walk(
            panel.bars[number],
            entry[rows],
            direction[rows],
            distances[rows, 0],
            distances[rows, 1],
            rules.timeout_hours,
            PATIENCE_HOURS,
        )
    status = np.where(kind > 0, "closed", "open")
    status = np.where(can, status, np.where(pending, "pending", "not_filled"))
    ended = _stamps(pd.Series(_times(panel, known + 1)), can & (kind > 0))
    # That a signal was not filled is known when the bar it waited for has closed.
    ended = ended.where(can | pending, _stamps(trades["hour"] + 2 * HOUR, ~can & ~pending))
    return {
        "status": status,
        "exit_reason": np.where(can, np.array(EXIT_WORDS)[kind], status),
        "entry_at": _stamps(trades["hour"] + HOUR, can),
        "entry_price": _pick(panel.bars[:, 0, :], coin, entry, can),
        "exit_price": level,
        "exit_at": _stamps(pd.Series(_times(panel, bar + ~at_open)), can),
        "known_at": ended.fillna(as_of),
        # A barrier was touched somewhere within its bar: only what was settled by that bar's open is sure to be paid.
        "_funded_until": _times(panel, bar + ((kind == 0) | ((kind == 3) & ~at_open))),
        "_half_in": _pick(panel.half_spread, coin, entry, can),
        "_half_out": _pick(panel.half_spread, coin, bar, can),
        "_slip_in": _pick(panel.slippage, coin, entry, can),
        "_slip_out": _pick(panel.slippage, coin, bar, can),
        "_holds_in": _pick(panel.holds_order, coin, entry, can) == 1,
        "_holds_out": _pick(panel.holds_order, coin, bar, can) == 1,
    }


def _money(trades: pd.DataFrame, settlements: pd.DataFrame, panel: _Panel, rules: Execution) -> dict[str, Any]:
    """Costs and results in bps of the notional at entry."""
    d, opened, level = _direction(trades), trades["entry_price"].to_numpy(), trades["exit_price"].to_numpy()
    half_in, half_out = trades["_half_in"].to_numpy(), trades["_half_out"].to_numpy()
    filled = ~np.isnan(level)
    spread_known = filled & ~np.isnan(half_in) & ~np.isnan(half_out)
    half_in, half_out = (_known_or(half, rules.half_spread_bps) for half in (half_in, half_out))
    slip_in, slip_out = (_slippage(trades, side, rules.slippage_bps) for side in ("in", "out"))
    slippage_known = filled & (trades["_holds_in"] & trades["_holds_out"]).to_numpy()
    entry_fill = opened * (1 + d * (half_in + slip_in) / 1e4)
    exit_fill = level * (1 - d * (half_out + slip_out) / 1e4)
    gross = 1e4 * d * (level / opened - 1)
    fee = rules.taker_fee_bps * (1 + exit_fill / entry_fill)
    paid = _funding(trades, settlements, panel)
    funding_bps = np.where(filled, 1e4 * d * paid["cash"] / entry_fill, np.nan)
    pnl = 1e4 * d * (exit_fill / entry_fill - 1) - fee - funding_bps
    barrier = np.where(trades["exit_reason"] == "stop", -trades["stop_bps"], gross)
    held = (trades["exit_at"] - trades["entry_at"]).dt.total_seconds().to_numpy(dtype=np.float64) / 3600.0
    words = np.select([pnl > 0, pnl < 0, pnl == 0], ["win", "loss", "breakeven"], default="none")
    return {
        "entry_fill": entry_fill,
        "exit_fill": exit_fill,
        "held_hours": held,
        "gross_bps": gross,
        "gap_bps": barrier - gross,
        "spread_bps": np.where(filled, half_in + half_out, np.nan),
        "spread_known": spread_known,
        "slippage_bps": np.where(filled, slip_in + slip_out, np.nan),
        "slippage_known": slippage_known,
        "fee_bps": fee,
        "paid_cost_bps": gross - funding_bps - pnl,
        "paid_funding_bps": funding_bps,
        "settlements": paid["count"],
        "settlements_by_proxy": paid["proxies"],
        "funding_known": paid["known"],
        "pnl_bps": pnl,
        "pnl_usd": pnl / 1e4 * rules.notional_usd,
        "outcome": np.where(trades["status"] == "open", "open", words),
    }


def _funding(trades: pd.DataFrame, settlements: pd.DataFrame, panel: _Panel) -> dict[str, Any]:
    """Cash a long of one coin paid, with counts, and whether settlements are known over the whole holding."""
    from butterquant_assets.signals.paper_kernel import funding, funding_known

    n = len(trades)
    cash, known = np.zeros(n), np.zeros(n, dtype=np.bool_)
    count, proxies = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    first, until = _microseconds(trades["entry_at"]), trades["_funded_until"].to_numpy().astype(np.int64)
    filled = trades["entry_price"].notna().to_numpy()
    silence = (LONGEST_INTERVAL + LATENESS) // pd.Timedelta(microseconds=1)
    codes, names = pd.factorize(trades["coin"])
    place = {str(name): number for number, name in enumerate(names)}
    by_coin = settlements.sort_values(["coin", "settled_at"], kind="stable").groupby("coin", sort=True)
    for name, paid in by_coin:
        rows = np.flatnonzero(filled & (codes == place.get(str(name), -1)))
        if not rows.size:
            continue
        settled = _microseconds(paid["settled_at"])
        late = settled % MICROSECONDS
        settled = np.where(late <= LATENESS // pd.Timedelta(microseconds=1), settled - late, settled)
        if (np.diff(settled) == 0).any():
            raise DataError(f"settlements of {name} are repeated; give one per coin and time")
        mark = paid["mark_price"].to_numpy(dtype=np.float64)
        proxy = np.isnan(mark)
        mark = np.where(proxy, _last_closes(panel, str(name), settled), mark)
        value = paid["rate"].to_numpy(dtype=np.float64) * mark
        lost = np.isnan(value)  # neither a mark nor a bar: left out, and said so by funding_known
        cash[rows], count[rows], proxies[rows] = funding(
            settled, np.where(lost, 0.0, value), proxy, first[rows], until[rows]
        )
        known[rows] = funding_known(settled, lost, first[rows], until[rows], silence)
    return {"cash": cash, "count": count, "proxies": proxies, "known": known}


def _last_closes(panel: _Panel, coin: str, stamps: Integers) -> Floats:
    """Close of the bar that ended at each time or holds it; NaN where that bar has no price or is not there."""
    bar = (stamps - 1 - panel.start) // MICROSECONDS
    closes = np.full(len(stamps), np.nan)
    there = (bar >= 0) & (bar < panel.hours)
    closes[there] = panel.bars[panel.coins[coin], 3, bar[there]]
    return closes


def _beside(trades: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """The frame with more columns; all at once costs a tenth of one after the other."""
    return pd.concat([trades, pd.DataFrame(columns, index=trades.index)], axis=1)


def _typed(trades: pd.DataFrame) -> pd.DataFrame:
    texts = dict.fromkeys(("status", "exit_reason", "outcome"), "str")
    stamps = dict.fromkeys(("entry_at", "exit_at", "known_at"), "datetime64[us]")
    return typed(trades, texts | stamps)


def _known_or(values: Floats, otherwise: float) -> Floats:
    return np.where(np.isnan(values), otherwise, values)


def _slippage(trades: pd.DataFrame, side: str, constant: float) -> Floats:
    """Slippage of entries or exits. A book too thin for the order must not look cheaper than none."""
    walked = trades[f"_slip_{side}"].to_numpy()
    return np.where(trades[f"_holds_{side}"], walked, np.fmax(walked, constant))


def _direction(trades: pd.DataFrame) -> Floats:
    return np.where((trades["side"] == LONG).to_numpy(), 1.0, -1.0)


def _microseconds(stamps: pd.Series) -> Integers:
    return stamps.to_numpy().astype("datetime64[us]").astype(np.int64)


def _times(panel: _Panel, bars: Integers) -> npt.NDArray[np.datetime64]:
    """Opens of bars by number."""
    return (panel.start + bars * MICROSECONDS).astype("datetime64[us]")


def _stamps(stamps: pd.Series, there: npt.NDArray[np.bool_]) -> pd.Series:
    return stamps.astype("datetime64[us]").where(there)


def _pick(table: Floats, coin: Integers, hour: Integers, there: npt.NDArray[np.bool_]) -> Floats:
    picked = np.full(len(coin), np.nan)
    picked[there] = table[coin[there], hour[there]]
    return picked
