"""From confidence to the probability that the target comes first: the ladder of methods and its tables.

What belongs here: fitting on earlier trades, and what a table says about a new signal. What does not: how good the
probabilities were (`calibration_report`). A rung is climbed by the number of non-overlapping trades: below 300 the
barriers' own odds (bootstrap), from 300 ten buckets of confidence, from 1,000 twenty, from 5,000 isotonic regression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.calibration_tables import isotonic_tables
from butterquant_assets.signals.versions import HOUR, content_version, picked, require_known, typed

Floats = npt.NDArray[np.float64]

BOOTSTRAP, TEN, TWENTY, ISOTONIC = "bootstrap", "ten", "twenty", "isotonic"
METHODS = (BOOTSTRAP, TEN, TWENTY, ISOTONIC)
NO_LEVEL, LEVELS = "none", ("none", "low", "medium", "high")
# Rows an open trade is split into for the isotonic fit, which knows whole outcomes only.
PARTS = 12
DRIFTLESS = 1.0 / 3.0
"""Chance of a target twice as far as its stop, without drift."""

ROW_TYPES = {"lower": "float64", "upper": "float64", "trades": "int64", "hits": "float64", "p_target": "float64"}
TABLE_TYPES = ROW_TYPES | {
    "level": "str",
    "place": "int64",
    "method": "str",
    "p_timeout": "float64",
    "timeout_bps": "float64",
    "prior": "float64",
    "all_trades": "int64",
    "open_trades": "int64",
    "as_of": "datetime64[us]",
    "version": "str",
}


@dataclass(frozen=True)
class Ladder:
    """When which method is used, and how far it trusts few trades.

    Parameters
    ----------
    ten, twenty, isotonic
        non-overlapping trades from which each is used
    minimum_bucket
        trades a bucket needs; with fewer it says what all trades say
    high
        trades from which a bucket's level is high
    prior_trades
        weight of the prior, in trades, of the Beta shrinkage: of a bucket to all trades, of those to the barriers
    timeout_hours
        longest holding; a trade older than that has ended
    """

    ten: int = 300
    twenty: int = 1000
    isotonic: int = 5000
    minimum_bucket: int = 30
    high: int = 100
    prior_trades: float = 30.0
    timeout_hours: float = 72.0

    def __post_init__(self) -> None:
        if not 0 < self.ten < self.twenty < self.isotonic or self.prior_trades < 0 or self.timeout_hours <= 0:
            raise ConfigError(
                f"the rungs {self.ten}, {self.twenty}, {self.isotonic} must rise from above 0, prior_trades "
                f"{self.prior_trades} not be negative and timeout_hours {self.timeout_hours} be positive"
            )

    def method(self, trades: int) -> str:
        """Method for a number of non-overlapping trades."""
        rungs = ((self.isotonic, ISOTONIC), (self.twenty, TWENTY), (self.ten, TEN))
        return next((name for needed, name in rungs if trades >= needed), BOOTSTRAP)


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """What confidence means, as of a day.

    Parameters
    ----------
    method
        one of `METHODS`
    rows
        columns of `ROW_TYPES` and level: buckets of confidence (lower <= c < upper, the last closed), or knots (lower =
        upper) between which the isotonic curve is straight; none for the bootstrap
    p_timeout, timeout_bps
        probability of a time-out, and the mean move of those
    prior
        to which buckets shrink: the share of all trades, itself shrunk to the barriers' odds
    all_trades, open_trades
        non-overlapping trades behind it, and those of them that were open
    as_of
        when it was made; None for the bootstrap without data
    """

    method: str = BOOTSTRAP
    rows: pd.DataFrame = field(default_factory=lambda: _no_rows())
    p_timeout: float = 0.0
    timeout_bps: float = 0.0
    prior: float = DRIFTLESS
    all_trades: int = 0
    open_trades: int = 0
    as_of: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"{self.method!r} is no calibration method; use one of {', '.join(METHODS)}")
        if (self.method == BOOTSTRAP) != self.rows.empty:
            raise DataError(f"a {self.method} calibration has {len(self.rows)} rows; fit it again")

    @property
    def calibrated(self) -> bool:
        """Whether probabilities come from trades; otherwise signals are for paper only."""
        return self.method != BOOTSTRAP

    @property
    def version(self) -> str:
        """Content version."""
        facts = {"method": self.method, "p_timeout": self.p_timeout, "timeout_bps": self.timeout_bps}
        facts |= {"prior": self.prior, "trades": self.all_trades, "open": self.open_trades}
        return content_version(facts | {"as_of": self.as_of}, self.rows)

    def p_target(self, confidence: npt.ArrayLike, stop_bps: npt.ArrayLike, target_bps: npt.ArrayLike) -> Floats:
        """Probability that the target is reached before the stop and the time-out.

        Parameters
        ----------
        confidence
            points, 0 .. 100, shape (n,)
        stop_bps, target_bps
            distances, shape (n,); NaN gives NaN

        Returns
        -------
        array of shape (n,), 0 .. 1; by the bootstrap SL / (SL + TP), what a price without drift does
        """
        c = np.asarray(confidence, dtype=np.float64)
        stop, target = np.asarray(stop_bps, dtype=np.float64), np.asarray(target_bps, dtype=np.float64)
        if ((c < 0) | (c > 100)).any():
            raise DataError(f"confidence reaches from {c.min()} to {c.max()}; it lies within 0 .. 100")
        if self.method == BOOTSTRAP:
            fair: Floats = stop / (stop + target)
            return fair
        p = self.rows["p_target"].to_numpy(dtype=np.float64)
        if self.method == ISOTONIC:
            found: Floats = np.interp(c, self.rows["lower"].to_numpy(dtype=np.float64), p)
        else:
            found = p[_bucket(c, len(p))]
        return np.where(np.isnan(stop + target), np.nan, found)

    def outcomes(self, confidence: npt.ArrayLike, stop_bps: npt.ArrayLike, target_bps: npt.ArrayLike) -> pd.DataFrame:
        """Columns p_target, p_stop, p_timeout (they sum to 1) and timeout_bps, one row a signal."""
        up = self.p_target(confidence, stop_bps, target_bps)
        late = np.minimum(np.where(np.isnan(up), np.nan, self.p_timeout), 1.0 - up)
        columns = {"p_target": up, "p_stop": 1.0 - up - late, "p_timeout": late}
        columns["p_stop"] = np.maximum(columns["p_stop"], 0.0)
        return pd.DataFrame(columns | {"timeout_bps": np.full(len(up), self.timeout_bps)})

    def to_frame(self) -> pd.DataFrame:
        """The table with columns of `TABLE_TYPES`; the bootstrap has one row, of the whole range."""
        rows = self.rows if self.calibrated else pd.DataFrame([_whole_range(self.prior, self.all_trades)])
        facts: dict[str, Any] = {
            "place": np.arange(len(rows)),
            "method": self.method,
            "p_timeout": self.p_timeout,
            "timeout_bps": self.timeout_bps,
            "prior": self.prior,
            "all_trades": self.all_trades,
            "open_trades": self.open_trades,
            "as_of": pd.Timestamp(self.as_of) if self.as_of is not None else pd.NaT,
            "version": self.version,
        }
        return typed(rows.assign(**facts)[list(TABLE_TYPES)].reset_index(drop=True), TABLE_TYPES)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> CalibrationTable:
        """Inverse of `to_frame`.

        Raises
        ------
        DataError
            if the frame is empty or was changed since.
        """
        if frame.empty:
            raise DataError("a calibration table has no rows; fit it again")
        head = frame.sort_values("place", kind="stable").iloc[0]
        rows = frame.sort_values("place", kind="stable")[[*ROW_TYPES, "level"]].reset_index(drop=True)
        table = cls(
            str(head["method"]),
            _no_rows() if head["method"] == BOOTSTRAP else rows,
            float(head["p_timeout"]),
            float(head["timeout_bps"]),
            float(head["prior"]),
            int(head["all_trades"]),
            int(head["open_trades"]),
            None if pd.isna(head["as_of"]) else head["as_of"],
        )
        if table.version != head["version"]:
            raise DataError(f"calibration table {head['version']} was changed since it was made; fit it again")
        return table


def fit_calibration(trades: pd.DataFrame, *, as_of: pd.Timestamp, ladder: Ladder | None = None) -> CalibrationTable:
    """Fit the ladder on trades known at a time.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of` or earlier: every signal that passed the data gate
        counts, whatever the other gates said. Their own probabilities are not looked at, so each is out of sample.
    as_of
        naive UTC; signals judged by the table come later
    ladder
        by default `Ladder()`

    Returns
    -------
    CalibrationTable

    Raises
    ------
    DataError
        if columns are missing or something was not known at `as_of`.

    Notes
    -----
    Of each coin's trades those count that it would have held one at a time. A closed trade counts 1 where its target
    came first and else 0. An open one counts at its mark: a price without drift that stands m above the entry reaches
    the target before the stop with (m + SL) / (SL + TP), times the chance that it is in time. Leaving it out would
    keep those that ended soon, which are mostly stops. Time-outs are counted among trades older than the time-out, all
    of which have ended. All are shrunk, p = (hits + k prior) / (n + k), the mean of a Beta posterior: a bucket to the
    share of all trades whatever their confidence, that share to the barriers' odds less the time-outs, and the share of
    time-outs to 0. Shrunk to the barriers' odds at once, twenty buckets would each bring their k trades of it, and say
    too little for months where trades do better than that, too much where they do worse.
    """
    rules = ladder or Ladder()
    used = _evidence(trades, as_of, rules)
    n, method = len(used), rules.method(len(used))
    still_open = int((used["status"] == "open").sum())
    stop, target = used["stop_bps"].to_numpy(), used["target_bps"].to_numpy()
    if method == BOOTSTRAP:
        return CalibrationTable(all_trades=n, open_trades=still_open, as_of=as_of)
    p_timeout, timeout_bps = _timeouts(used, as_of, rules)
    fair_share = float((stop / (stop + target)).mean()) * (1 - p_timeout)
    fair = np.clip((used["gross_bps"].to_numpy() + stop) / (stop + target), 0.0, 1.0) * (1 - p_timeout)
    hits = np.where((used["status"] == "open").to_numpy(), fair, (used["exit_reason"] == "target").to_numpy())
    k = rules.prior_trades
    pooled = float((hits.sum() + k * fair_share) / (n + k))
    confidence = used["confidence"].to_numpy()
    if method == ISOTONIC:
        rows = _isotonic_rows(confidence, hits)
    else:
        rows = _bucket_rows(confidence, hits, 10 if method == TEN else 20, pooled, rules)
    return CalibrationTable(method, rows, p_timeout, timeout_bps, pooled, n, still_open, as_of)


def _evidence(trades: pd.DataFrame, as_of: pd.Timestamp, rules: Ladder) -> pd.DataFrame:
    from butterquant_assets.signals.tracks import non_overlapping

    columns = (
        "coin",
        "gate_data",
        "status",
        "known_at",
        "entry_at",
        "exit_at",
        "exit_reason",
        "confidence",
        "stop_bps",
    )
    trades = picked(trades, (*columns, "target_bps", "gross_bps"), "trades")
    filled = trades[trades["status"].isin(["closed", "open"]) & trades["gate_data"]]
    require_known(filled["known_at"], as_of, "trades")
    return filled[non_overlapping(filled)].sort_values(["entry_at", "coin"], kind="stable").reset_index(drop=True)


def _timeouts(used: pd.DataFrame, as_of: pd.Timestamp, rules: Ladder) -> tuple[float, float]:
    """Shrunk share of time-outs and their shrunk mean move, over trades old enough to have ended."""
    old = used[(used["entry_at"] + rules.timeout_hours * HOUR <= as_of) & (used["status"] == "closed")]
    late = old[old["exit_reason"] == "timeout"]
    k = rules.prior_trades
    share = len(late) / (len(old) + k) if len(old) else 0.0
    return share, float(late["gross_bps"].sum() / (len(late) + k)) if len(late) else 0.0


def _bucket(confidence: Floats, buckets: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * buckets / 100.0).astype(np.int64), buckets - 1)


def _bucket_rows(confidence: Floats, hits: Floats, buckets: int, prior: float, rules: Ladder) -> pd.DataFrame:
    place = _bucket(confidence, buckets)
    count = np.bincount(place, minlength=buckets)
    won = np.bincount(place, weights=hits, minlength=buckets)
    enough = count >= rules.minimum_bucket
    p = np.where(enough, (won + rules.prior_trades * prior) / np.maximum(count + rules.prior_trades, 1.0), prior)
    edges = 100.0 * np.arange(buckets + 1) / buckets
    columns = {"lower": edges[:-1], "upper": edges[1:], "trades": count, "hits": won, "p_target": p}
    level = np.select([count >= rules.high, enough], ["high", "medium"], default=NO_LEVEL)
    return typed(pd.DataFrame(columns), ROW_TYPES).assign(level=pd.Series(level, dtype="str"))


def _isotonic_rows(confidence: Floats, hits: Floats) -> pd.DataFrame:
    """The isotonic curve; every trade enters as `PARTS` rows, of which an open one's hits are ones."""
    ones = np.rint(hits * PARTS).astype(np.int64)
    labels = (np.arange(PARTS)[None, :] < ones[:, None]).astype(np.int64).ravel()
    share = np.repeat(confidence / 100.0, PARTS)
    tables = isotonic_tables(np.column_stack([1 - share, share]), labels)
    knots, values = tables["knots"][1], tables["values"][1]
    knots, first = np.unique(knots, return_index=True)
    last = knots.size - 1
    place = np.clip(np.searchsorted(knots, (confidence / 100.0).astype(np.float32), side="right") - 1, 0, last)
    columns = {
        "lower": 100.0 * knots,
        "upper": 100.0 * knots,
        "trades": np.bincount(place, minlength=knots.size),
        "hits": np.bincount(place, weights=hits, minlength=knots.size),
        "p_target": values[first],
    }
    rows = typed(pd.DataFrame(columns), ROW_TYPES)
    return rows.assign(level=pd.Series(np.where(rows["trades"] >= 100, "high", "low"), dtype="str"))


def _whole_range(prior: float, trades: int) -> dict[str, Any]:
    row = {"lower": 0.0, "upper": 100.0, "trades": trades, "hits": 0.0, "p_target": prior}
    return row | {"level": NO_LEVEL}


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in (ROW_TYPES | {"level": "str"}).items()})
