"""What of the raw crypto tables is believed: impossible rows are left out with their reason, doubtful bars are flagged.

What belongs here: row rules, duplicates and the passage from raw rows to contract rows. What does not: the cross-checks
of bars (`crypto_suspects.py`), completeness (`crypto_coverage.py`) and where rows come from (`crypto_sources/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.market.crypto_coverage import Coverage, as_text
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED, no_rows
from butterquant_assets.market.schemas import brackets

Flags = npt.NDArray[np.bool_]

REJECTED, NOTED = "rejected", "noted"
PRICES = ("open", "high", "low", "close")
LENGTHS = {"hour": np.timedelta64(1, "h"), "minute": np.timedelta64(1, "m")}
"""How long after its stamp a row of that time column is complete; others are complete when they are stamped."""

APART = np.timedelta64(30, "m")
"""No interval between settlements is shorter than an hour: two that lie closer than this are one."""

SETTLED_WITHIN = np.timedelta64(1, "m")
"""Settlements are stamped up to a few milliseconds off the hour they belong to."""

LONGEST_INTERVAL = 8.0


@dataclass(frozen=True)
class Screened:
    """Rows that may be believed, and those that may not, in the columns of `crypto_schemas.CRYPTO_REJECTS`."""

    rows: pd.DataFrame
    rejects: pd.DataFrame


def screen(dataset: str, raw: pd.DataFrame, until: np.datetime64 | None = None) -> Screened:
    """Leave out rows that cannot be true.

    Parameters
    ----------
    dataset
        one of `crypto_schemas.DELIVERED`
    raw
        columns of `crypto_schemas.raw_columns`; a row may appear twice, the later one counting as the revision
    until
        now, UTC: rows not complete by then are left out; by default nothing is too late

    Returns
    -------
    Screened
        kept rows sorted by key; every judgement depends on the row and its repetitions alone
    """
    contract = DELIVERED[dataset]
    stamp, keys = str(contract.time), list(contract.keys)
    rejects = []
    for reason, test, shown in _rules(dataset, stamp, until):
        bad = test(raw)
        if bad.any():
            rejects.append(_entries(dataset, raw[bad], stamp, reason, shown))
            raw = raw[~bad]
    later = raw.duplicated(keys, keep="last").to_numpy()
    if later.any():
        same = raw.duplicated(keep="last").to_numpy()
        values = [name for name in raw.columns if name not in keys]
        for reason, which in (("duplicate", later & same), ("revised", later & ~same)):
            rejects.append(_entries(dataset, raw[which], stamp, reason, lambda rows: _row_text(rows, values)))
        raw = raw[~later]
    raw = raw.sort_values(keys, kind="stable")
    if dataset == "funding_rates":
        again = (raw[stamp] - raw.groupby("coin")[stamp].shift() <= APART).to_numpy()
        rejects.append(_entries(dataset, raw[again], stamp, "duplicate", _showing(["funding_rate"])))
        raw = raw[~again]
    return Screened(raw.reset_index(drop=True), join_rejects(rejects))


def settle(settlements: pd.DataFrame) -> pd.DataFrame:
    """Fill ``interval_hours`` from the times between settlements of a coin.

    Parameters
    ----------
    settlements
        screened funding rows, sorted by ``settled_at``; an interval that is given is kept

    Returns
    -------
    pd.DataFrame
        the same rows; the interval is missing for a coin's first row, after more than eight hours, and where it is
        longer than the one before, unless the next settlement comes after as long again: only that tells an interval
        that was lengthened from settlements that did not come
    """
    before = settlements.groupby("coin")["settled_at"].shift()
    hours = (settlements["settled_at"] - before).to_numpy() / np.timedelta64(1, "h")
    whole = np.rint(hours)
    good = (
        (np.abs(hours - whole) * np.timedelta64(1, "h") <= SETTLED_WITHIN) & (whole >= 1) & (whole <= LONGEST_INTERVAL)
    )
    of_coin = pd.Series(whole, index=settlements.index).groupby(settlements["coin"])
    former, following = (of_coin.shift(places).to_numpy() for places in (1, -1))
    found = pd.Series(np.where(good & (~(whole > former) | (whole == following)), whole, np.nan), settlements.index)
    return settlements.assign(interval_hours=settlements["interval_hours"].fillna(found))


def without_rejected(coverage: Coverage, dataset: str, rejects: pd.DataFrame, kept: pd.DataFrame) -> Coverage:
    """Coverage of a day when rows that came were refused: their stamps are missing after all.

    Parameters
    ----------
    coverage
        of the raw rows
    dataset
        whose rows they are
    rejects
        those of the day
    kept
        rows of the day that may be believed: a stamp with one of these is not missing
    """
    own = rejects[(rejects["dataset"] == dataset) & (rejects["action"] == REJECTED)]
    own = own[~own["reason"].isin(["duplicate", "revised"])]
    there = pd.MultiIndex.from_frame(kept[["coin", str(DELIVERED[dataset].time)]])
    own = own[~pd.MultiIndex.from_frame(own[["coin", "at"]]).isin(there)]
    if own.empty:
        return coverage
    missing = {coin: set(stamps) for coin, stamps in coverage.missing.items()}
    lost = 0
    for coin, at in zip(own["coin"], as_text(own["at"].to_numpy(dtype="datetime64[us]")), strict=True):
        if at not in missing.setdefault(coin, set()):
            missing[coin].add(at)
            lost += 1
    listed = {coin: tuple(sorted(stamps)) for coin, stamps in sorted(missing.items()) if stamps}
    note = "; ".join(part for part in (coverage.note, f"{len(own)} rows were refused") if part)
    return Coverage(coverage.expected, max(0, coverage.received - lost), listed, complete=False, note=note)


def missing_notes(dataset: str, coverages: Iterable[Coverage]) -> pd.DataFrame:
    """One note for each stamp that did not come, in the columns of `crypto_schemas.CRYPTO_REJECTS`."""
    absent = [(coin, stamp) for c in coverages for coin, stamps in c.missing.items() for stamp in stamps]
    if not absent:
        return no_rows(CRYPTO_REJECTS)
    coins, stamps = zip(*absent, strict=True)
    return reject_rows(dataset, np.array(stamps, dtype="datetime64[us]"), coins, "missing", "no row came", NOTED)


def reject_rows(
    dataset: str,
    at: npt.NDArray[np.datetime64],
    coins: Sequence[str],
    reason: str | Sequence[str],
    value: str | Sequence[str],
    action: str,
) -> pd.DataFrame:
    """Rows of `crypto_schemas.CRYPTO_REJECTS`; one reason and value for all, or one each."""
    index = range(len(at))
    texts = {"dataset": dataset, "coin": list(coins), "reason": reason, "value": value, "action": action}
    columns = {
        name: pd.Series([text] * len(at) if isinstance(text, str) else list(text), index=index, dtype="str")
        for name, text in texts.items()
    }
    return pd.DataFrame(columns | {"at": np.asarray(at, dtype="datetime64[us]")})[CRYPTO_REJECTS.columns]


Test = Callable[[pd.DataFrame], Flags]
Shown = Callable[[pd.DataFrame], list[str]]


def _rules(dataset: str, stamp: str, until: np.datetime64 | None) -> list[tuple[str, Test, Shown]]:
    """Reason, test and what to show, in order; a row is refused for the first that it breaks."""
    rules: list[tuple[str, Test, Shown]] = [
        ("no_stamp", lambda rows: rows[stamp].isna().to_numpy() | rows["coin"].isna().to_numpy(), _nothing)
    ]
    if stamp in ("hour", "minute", "day"):
        step = {"hour": "h", "minute": "min", "day": "D"}[stamp]
        rules.append(("off_the_clock", lambda rows: (rows[stamp] != rows[stamp].dt.floor(step)).to_numpy(), _nothing))
    if until is not None:
        latest = until - LENGTHS.get(stamp, np.timedelta64(0, "h"))
        # Without the time it is: the same row refused an hour later is the same refusal.
        told = "dated in the future: not over when it was read"
        rules.append(("future", lambda rows: rows[stamp].to_numpy() > latest, lambda rows: [told] * len(rows)))
    columns = DELIVERED[dataset].columns
    if set(PRICES) <= set(columns):
        rules.append(("non_positive_price", _any_of(PRICES, lambda v: ~(v > 0) | np.isinf(v)), _showing(PRICES)))
        rules.append(("ohlc_violation", lambda rows: ~brackets(rows).to_numpy(), _showing(PRICES)))
    amounts = [name for name in columns if name.endswith("volume") or name in ("open_interest", "trades")]
    if amounts:
        rules.append(("bad_amount", _any_of(amounts, lambda v: ~(v >= 0) | np.isinf(v)), _showing(amounts)))
    if dataset == "open_interest":
        # A perpetual that trades has open contracts: a zero is a recorder that had not started.
        rules.append(("zero", _any_of(["open_interest"], lambda v: v == 0), _showing(["open_interest"])))
    if dataset == "funding_rates":
        rules.append(("bad_rate", _any_of(["funding_rate"], lambda v: ~(np.abs(v) < 1)), _showing(["funding_rate"])))
    if dataset == "order_books":
        sides = ["best_bid", "best_ask"]
        rules.append(
            (
                "crossed",
                lambda rows: ~((rows[sides[0]] > 0) & (rows[sides[0]] < rows[sides[1]])).to_numpy(),
                _showing(sides),
            )
        )
    if dataset == "order_book_levels":
        rules.append(("bad_amount", _any_of(["price", "size"], lambda v: ~(v > 0)), _showing(["price", "size"])))
    return rules


def _any_of(columns: Sequence[str], bad: Callable[[npt.NDArray[np.float64]], Flags]) -> Test:
    def test(rows: pd.DataFrame) -> Flags:
        found: Flags = np.zeros(len(rows), dtype=bool)
        for name in columns:
            found |= bad(rows[name].to_numpy(dtype=np.float64))
        return found

    return test


def _showing(columns: Sequence[str]) -> Shown:
    return lambda rows: _row_text(rows, columns)


def _nothing(rows: pd.DataFrame) -> list[str]:
    return [""] * len(rows)


def _row_text(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    return [
        ", ".join(f"{name} {value}" for name, value in zip(columns, values, strict=True))
        for values in rows[list(columns)].itertuples(index=False)
    ]


def _entries(dataset: str, rows: pd.DataFrame, stamp: str, reason: str, shown: Shown) -> pd.DataFrame:
    # A row without a stamp belongs to no day: it is filed under the first instant, which no partition holds.
    at = rows[stamp].fillna(pd.Timestamp(0)).to_numpy(dtype="datetime64[us]")
    return reject_rows(dataset, at, rows["coin"].fillna("").tolist(), reason, shown(rows), REJECTED)


def join_rejects(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several reject tables as one."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_rows(CRYPTO_REJECTS)
