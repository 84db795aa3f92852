"""From confidence to the probability that the target comes first: the ladder of methods and its tables.

What belongs here: fitting on earlier trades, and what a table says about a new signal. What does not: how good the
probabilities were (`calibration_report`). A rung is climbed by the number of non-overlapping trades: below 300 the
barriers' own odds (bootstrap), from 300 ten buckets of confidence, from 1,000 twenty, from 5,000 isotonic regression.
The document's first rung, a line through confidence that no trade has borne out, can be chosen in place of the odds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.versions import HOUR, content_version, picked, require_known, typed

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BOOTSTRAP, DOCUMENT, TEN, TWENTY, ISOTONIC = "bootstrap", "document", "ten", "twenty", "isotonic"
METHODS = (BOOTSTRAP, DOCUMENT, TEN, TWENTY, ISOTONIC)
First = Literal["barriers", "document"]
FIRST_METHODS: dict[str, str] = {"barriers": BOOTSTRAP, "document": DOCUMENT}
"""Method of the first rung, by its name in the settings."""
NO_LEVEL, LEVELS = "none", ("none", "low", "medium", "high")
DRIFTLESS = 1.0 / 3.0
"""Chance of a target twice as far as its stop, without drift."""

DOCUMENT_LINE = ((0.0, 0.40), (100.0, 0.70))
"""Confidence and probability of the target: P = clip(.40 + .30 confidence / 100, .35, .75), which never clips."""

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
        trades a bucket needs; with fewer it says what all trades say. A block of the isotonic curve takes in those
        below it until it has as many
    high
        trades from which a bucket's level is high
    prior_trades
        weight of the prior, in trades, of the Beta shrinkage: of a bucket to all trades, of those to the barriers
    timeout_hours
        longest holding; a trade older than that has ended
    bootstrap
        the first rung: ``barriers``, the odds of a price without drift, or ``document``, its line through confidence,
        which promised .40 and more where .335 came, so that nearly every signal passes the gate of expected value
    """

    ten: int = 300
    twenty: int = 1000
    isotonic: int = 5000
    minimum_bucket: int = 30
    high: int = 100
    prior_trades: float = 30.0
    timeout_hours: float = 72.0
    bootstrap: First = "barriers"

    def __post_init__(self) -> None:
        if self.bootstrap not in get_args(First):
            raise ConfigError(f"bootstrap is {self.bootstrap!r}; use one of {', '.join(get_args(First))}")
        if not 0 < self.ten < self.twenty < self.isotonic or self.prior_trades < 0 or self.timeout_hours <= 0:
            raise ConfigError(
                f"the rungs {self.ten}, {self.twenty}, {self.isotonic} must rise from above 0, prior_trades "
                f"{self.prior_trades} not be negative and timeout_hours {self.timeout_hours} be positive"
            )

    def method(self, trades: int) -> str:
        """Method for a number of non-overlapping trades."""
        rungs = ((self.isotonic, ISOTONIC), (self.twenty, TWENTY), (self.ten, TEN))
        return next((name for needed, name in rungs if trades >= needed), FIRST_METHODS[self.bootstrap])


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """What confidence means, as of a day.

    Parameters
    ----------
    method
        one of `METHODS`
    rows
        columns of `ROW_TYPES` and level: buckets of confidence (lower <= c < upper, the last closed), or blocks of the
        isotonic curve (lower <= c <= upper) between which it is straight; none for a first rung
    p_timeout, timeout_bps
        probability of a time-out, and the mean move of those
    prior
        to which buckets shrink: the share of all trades, itself shrunk to the barriers' odds
    all_trades, open_trades
        non-overlapping trades behind it, and those of them that were open
    as_of
        when it was made; None for a first rung without data
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
        if self.calibrated == self.rows.empty:
            raise DataError(f"a {self.method} calibration has {len(self.rows)} rows; fit it again")

    @property
    def calibrated(self) -> bool:
        """Whether probabilities come from trades; otherwise signals are for paper only."""
        return self.method not in FIRST_METHODS.values()

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
        array of shape (n,), 0 .. 1; by the bootstrap SL / (SL + TP), what a price without drift does; by the document's
        line what that says, wherever the barriers lie
        """
        c = np.asarray(confidence, dtype=np.float64)
        stop, target = np.asarray(stop_bps, dtype=np.float64), np.asarray(target_bps, dtype=np.float64)
        if ((c < 0) | (c > 100)).any():
            raise DataError(f"confidence reaches from {c.min()} to {c.max()}; it lies within 0 .. 100")
        if self.method == BOOTSTRAP:
            fair: Floats = stop / (stop + target)
            return fair
        p = self.rows["p_target"].to_numpy(dtype=np.float64)
        if self.method == DOCUMENT:
            found: Floats = np.interp(c, *np.transpose(DOCUMENT_LINE))
        elif self.method == ISOTONIC:
            # Flat within a block, straight between two; a block of a single confidence is one knot.
            knots, kept = np.unique(self.rows[["lower", "upper"]].to_numpy(dtype=np.float64), return_index=True)
            found = np.interp(c, knots, np.repeat(p, 2)[kept])
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
        """The table with columns of `TABLE_TYPES`; the bootstrap has one row, of the whole range, a line two knots."""
        rows = self.rows if self.calibrated else _stated_rows(self)
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
            _no_rows() if head["method"] in FIRST_METHODS.values() else rows,
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
    of which have ended. All are shrunk, p = (hits + k prior) / (n + k), the mean of a Beta posterior: a bucket, or a
    block of the isotonic curve, to the share of all trades whatever their confidence, that share to the barriers' odds
    less the time-outs, and the share of time-outs to 0. Shrunk to the barriers' odds at once, twenty buckets would each
    bring their k trades of it, and say too little for months where trades do better than that, too much where they do
    worse. The isotonic curve is the regression on single trades (Zadrozny, Elkan, *Transforming classifier scores into
    accurate multiclass probability estimates*, KDD 2002), its steps pooled until each has enough trades.
    """
    rules = ladder or Ladder()
    used = _evidence(trades, as_of, rules)
    n, method = len(used), rules.method(len(used))
    still_open = int((used["status"] == "open").sum())
    stop, target = used["stop_bps"].to_numpy(), used["target_bps"].to_numpy()
    if method in FIRST_METHODS.values():
        return CalibrationTable(method, all_trades=n, open_trades=still_open, as_of=as_of)
    p_timeout, timeout_bps = _timeouts(used, as_of, rules)
    fair_share = float((stop / (stop + target)).mean()) * (1 - p_timeout)
    fair = np.clip((used["gross_bps"].to_numpy() + stop) / (stop + target), 0.0, 1.0) * (1 - p_timeout)
    hits = np.where((used["status"] == "open").to_numpy(), fair, (used["exit_reason"] == "target").to_numpy())
    k = rules.prior_trades
    pooled = float((hits.sum() + k * fair_share) / (n + k))
    confidence = used["confidence"].to_numpy()
    if method == ISOTONIC:
        rows = _isotonic_rows(confidence, hits, pooled, rules)
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
    won: Floats = np.bincount(place, weights=hits, minlength=buckets).astype(np.float64)
    p = _shrunk(count, won, prior, rules)
    edges = 100.0 * np.arange(buckets + 1) / buckets
    columns = {"lower": edges[:-1], "upper": edges[1:], "trades": count, "hits": won, "p_target": p}
    return typed(pd.DataFrame(columns), ROW_TYPES).assign(level=_levels(count, rules))


def _isotonic_rows(confidence: Floats, hits: Floats, prior: float, rules: Ladder) -> pd.DataFrame:
    """Blocks of the isotonic curve, each of enough trades and shrunk as a bucket is; so few trades in all make one."""
    from scipy.optimize import isotonic_regression

    places, block = np.unique(confidence, return_inverse=True)
    count = np.bincount(block).astype(np.float64)
    won: Floats = np.bincount(block, weights=hits).astype(np.float64)
    blocks = isotonic_regression(won / count, weights=count).blocks
    starts = _enough_from_the_top(np.asarray(blocks[:-1], dtype=np.int64), count, rules.minimum_bucket)
    starts = _rising_when_shrunk(starts, count, won, prior, rules)
    ends = np.append(starts[1:], places.size)
    trades, reached = np.add.reduceat(count, starts), np.add.reduceat(won, starts)
    columns = {
        "lower": places[starts],
        "upper": places[ends - 1],
        "trades": trades,
        "hits": reached,
        "p_target": _shrunk(trades, reached, prior, rules),
    }
    return typed(pd.DataFrame(columns), ROW_TYPES).assign(level=_levels(trades, rules))


def _enough_from_the_top(starts: Integers, count: Floats, least: int) -> Integers:
    """Starts of blocks of at least so many trades: from the top down one takes in those below it until it has them.

    A fit to whole outcomes ends in the luck of the few most confident trades: two hits in a row would be a certainty.
    """
    sizes = np.add.reduceat(count, starts)
    kept, held = [], 0.0
    for place in range(len(starts) - 1, -1, -1):
        held += sizes[place]
        if held >= least:
            kept.append(int(starts[place]))
            held = 0.0
    # What is left at the bottom is too few trades for a block of its own.
    kept = [*kept[:-1], 0] if kept else [0]
    return np.array(sorted(kept), dtype=np.int64)


def _rising_when_shrunk(starts: Integers, count: Floats, won: Floats, prior: float, rules: Ladder) -> Integers:
    """Starts of the blocks once those that fall are pooled: a small block is shrunk further than a large one."""
    held: list[tuple[int, float, float]] = []
    sizes, reached = np.add.reduceat(count, starts), np.add.reduceat(won, starts)
    for start, trades, hits in zip(starts.tolist(), sizes.tolist(), reached.tolist(), strict=True):
        block = (start, trades, hits)
        while held and _shrunk_block(held[-1], prior, rules) >= _shrunk_block(block, prior, rules):
            former = held.pop()
            block = (former[0], former[1] + block[1], former[2] + block[2])
        held.append(block)
    return np.array([start for start, _, _ in held], dtype=np.int64)


def _shrunk_block(block: tuple[int, float, float], prior: float, rules: Ladder) -> float:
    return float(_shrunk(np.array([block[1]]), np.array([block[2]]), prior, rules)[0])


def _shrunk(count: npt.NDArray[Any], won: Floats, prior: float, rules: Ladder) -> Floats:
    """Mean of the Beta posterior; the prior where there are too few trades."""
    posterior = (won + rules.prior_trades * prior) / np.maximum(count + rules.prior_trades, 1.0)
    found: Floats = np.where(count >= rules.minimum_bucket, posterior, prior)
    return found


def _levels(count: npt.NDArray[Any], rules: Ladder) -> pd.Series:
    words = np.select([count >= rules.high, count >= rules.minimum_bucket], ["high", "medium"], default=NO_LEVEL)
    return pd.Series(words, dtype="str")


def _stated_rows(table: CalibrationTable) -> pd.DataFrame:
    """What a first rung says, as rows: nothing of it comes from trades."""
    whole = ((0.0, 100.0, table.prior),)
    knots = tuple((place, place, p) for place, p in DOCUMENT_LINE) if table.method == DOCUMENT else whole
    rows = pd.DataFrame(knots, columns=["lower", "upper", "p_target"])
    return rows.assign(trades=0 if table.method == DOCUMENT else table.all_trades, hits=0.0, level=NO_LEVEL)


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in (ROW_TYPES | {"level": "str"}).items()})
