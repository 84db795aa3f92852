"""Whether the sessions of a month stray from those of a reference by more than luck. Pure.

Rows of one session share the market, and sessions of one month share its mood, so a test that counts rows, or even
sessions, as independent calls every month a drift. Here

* a reference stratified by the VIX is reweighted to the month's own strata;
* how far a month strays by luck follows from how alike two reference sessions at most `near_days` apart are, whose mean
  distance is that of two sessions of one month, and from the error of the reference itself, over calendar months;
* the threshold is one for all columns together: each month of the reference is left out in turn and judged by the
  others, and an alarm needs a figure above what the largest of the next month stays below with probability
  `confidence`. Nothing is drawn, so there is no seed.

What belongs here: figures of sessions in, a verdict out. What does not: making figures of rows (`drift_table`), and
which rows are the reference (`assets`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from butterquant_assets.foundation.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Days = npt.NDArray[np.datetime64]

MONTH_DAYS = 31
MONTH_SESSIONS = 23
PRIOR_PAIRS = 3.0  # the fewer pairs of sessions there are, the more alike sessions of one month are taken to be
PRIOR_SESSIONS = 3.0  # a stratum of few sessions leans on the others' variance


@dataclass(frozen=True)
class DriftRules:
    """When a month counts as drifted.

    Parameters
    ----------
    confidence
        with which a month without drift raises no alarm, all columns of a table together
    minimum_months
        fewer calendar months in the reference give no verdict
    sessions
        of a month that has fewer, as one under way has, the sessions before it are judged with it, so that there are
        so many
    minimum_sessions
        fewer sessions to judge give no verdict
    near_days
        pairs of reference sessions at most so many calendar days apart tell how alike sessions of one month are
    """

    confidence: float = 0.99
    minimum_months: int = 12
    sessions: int = 15
    minimum_sessions: int = 5
    near_days: int = 21

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1.0:
            raise ConfigError(f"drift confidence is {self.confidence}; expected 0.5 or more and below 1")
        if self.minimum_months < 3 or self.minimum_sessions < 1 or not 1 <= self.near_days <= 28:
            raise ConfigError(
                f"minimum_months {self.minimum_months} must be 3 or more, minimum_sessions {self.minimum_sessions} 1 "
                f"or more, near_days {self.near_days} within 1 .. 28, so that near sessions lie in neighbouring months"
            )
        if not 1 <= self.sessions <= MONTH_SESSIONS:
            raise ConfigError(f"drift sessions is {self.sessions}; expected 1 .. {MONTH_SESSIONS}")


@dataclass(frozen=True)
class Daily:
    """Figures of sessions.

    Parameters
    ----------
    day
        of each session, ascending, shape (s,)
    stratum
        code of each session's stratum, 0 or more, shape (s,)
    values
        shape (s, j); NaN where a session has no value
    """

    day: Days
    stratum: Codes
    values: Floats

    def only(self, kept: npt.NDArray[np.bool_]) -> Daily:
        """The sessions that are kept."""
        return Daily(self.day[kept], self.stratum[kept], self.values[kept])


@dataclass(frozen=True)
class Comparison:
    """A month's sessions against a reference.

    Parameters
    ----------
    difference
        mean over the month's sessions minus that of the reference at the month's strata, shape (j,)
    error
        standard deviation that the difference has by luck, shape (j,)
    threshold
        what the largest |difference| / error must exceed to be an alarm; NaN: too little to judge by
    maxima
        the same largest figure of each reference month judged by the others, shape (c,)
    covered
        sessions of the month whose stratum the reference has
    """

    difference: Floats
    error: Floats
    threshold: float
    maxima: Floats
    covered: int

    @property
    def statistic(self) -> Floats:
        """|difference| / error, shape (j,); NaN where either is missing."""
        ratio = np.full(len(self.difference), np.nan)
        known = np.isfinite(self.difference) & (self.error > 0.0)
        ratio[known] = np.abs(self.difference[known]) / self.error[known]
        return ratio


def compare(reference: Daily, month: Daily, rules: DriftRules) -> Comparison:
    """Compare the sessions of one month with those of a reference.

    Parameters
    ----------
    reference, month
        figures of the same columns and codes of the same strata
    rules
        when there is an alarm

    Returns
    -------
    Comparison

    Raises
    ------
    DataError
        if the columns differ, a side has no session, days do not ascend, or a session is on both sides.
    """
    _check(reference, month)
    model = _Reference(reference, rules)
    inside = np.isin(month.stratum, model.strata)
    kept = month.only(inside)
    if not inside.any():
        nothing = np.full(month.values.shape[1], np.nan)
        return Comparison(nothing, nothing.copy(), float("nan"), np.empty(0), 0)
    difference, error = model.judge(kept)
    maxima = model.maxima() if len(model.sessions) >= rules.minimum_months else np.empty(0)
    enough = len(maxima) >= rules.minimum_months and len(kept.day) >= rules.minimum_sessions
    threshold = upper_bound(maxima, rules.confidence) if enough else float("nan")
    return Comparison(difference, error, threshold, maxima, int(inside.sum()))


def upper_bound(values: npt.ArrayLike, confidence: float) -> float:
    """What the next of some positive values stays below with the given probability, their logs taken as normal.

    Parameters
    ----------
    values
        positive, shape (n,), n at least 2
    confidence
        of the one-sided prediction interval

    Raises
    ------
    DataError
        if there are fewer than two values or one is not positive.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.size < 2 or not (found > 0.0).all():
        raise DataError(f"{found.size} values, the smallest {found.min(initial=np.inf)}; expected two or more, all > 0")
    logs = np.log(found)
    reach = float(stdtrit(found.size - 1, confidence)) * np.sqrt(1.0 + 1.0 / found.size)
    return float(np.exp(logs.mean() + reach * logs.std(ddof=1)))


class _Reference:
    """Sums over the reference by month, so that any month can be left out of all that is fitted."""

    def __init__(self, daily: Daily, rules: DriftRules) -> None:
        self.strata, code = np.unique(daily.stratum, return_inverse=True)
        months, month = np.unique(daily.day.astype("datetime64[M]"), return_inverse=True)
        known = np.isfinite(daily.values)
        values, held = np.where(known, daily.values, 0.0), known.astype(np.float64)
        shape = (len(months), len(self.strata), values.shape[1])
        self.counts, self.sums, self.squares = (np.zeros(shape) for _ in range(3))
        for total, part in ((self.counts, held), (self.sums, values), (self.squares, values**2)):
            np.add.at(total, (month, code), part)
        self.sessions = np.bincount(month)
        # Pairs of near sessions by the later one's month, and those across two months by the earlier one's as well.
        pairs = (4, *shape[:2], shape[1], shape[2])
        self.pairs, self.across = np.zeros(pairs), np.zeros(pairs)
        number = daily.day.astype("datetime64[D]").astype(np.int64)
        for step in range(1, len(number)):
            near = np.flatnonzero(number[step:] - number[:-step] <= rules.near_days)
            if not near.size:
                break
            a, b = near, near + step
            moments = (held[a] * held[b], values[a] * held[b], held[a] * values[b], values[a] * values[b])
            cross = month[a] != month[b]
            for k, part in enumerate(moments):
                np.add.at(self.pairs[k], (month[b], code[a], code[b]), part)
                np.add.at(self.across[k], (month[a][cross], code[a][cross], code[b][cross]), part[cross])

    def judge(self, month: Daily) -> tuple[Floats, Floats]:
        """Difference of a month outside the reference, and its error by luck, shapes (j,)."""
        code = np.searchsorted(self.strata, month.stratum)
        known = np.isfinite(month.values)
        sums, counts = (np.zeros(self.sums.shape[1:]) for _ in range(2))
        np.add.at(sums, code, np.where(known, month.values, 0.0))
        np.add.at(counts, code, known)
        number = month.day.astype("datetime64[D]").astype(np.int64)
        near = float((np.abs(number[:, None] - number) <= MONTH_DAYS).mean()) - 1.0 / len(number)
        return self._strays(sums, counts, near, None)

    def maxima(self) -> Floats:
        """Largest |difference| / error over all columns of each month, judged by the others alone, shape (c,)."""
        found = []
        for month, sessions in enumerate(self.sessions):
            # Its own rows must not enter what it is judged by, or it would seem closer than the next month can be.
            difference, error = self._strays(self.sums[month], self.counts[month], 1.0 - 1.0 / sessions, month)
            known = np.isfinite(difference) & (error > 0.0)
            found.append(float(np.abs(difference[known] / error[known]).max(initial=0.0)))
        return np.array([value for value in found if value > 0.0], dtype=np.float64)

    def _strays(self, own: Floats, held: Floats, near: float, left_out: int | None) -> tuple[Floats, Floats]:
        """Difference of a month to the reference at its own strata, and its error.

        `own` and `held` are the month's sums and counts, `near` is the share of its ordered pairs of sessions that lie
        within a month of each other, `left_out` a month of the reference that is not used.
        """
        sums, counts, squares = (_without(part, left_out) for part in (self.sums, self.counts, self.squares))
        total, count = sums.sum(axis=0), counts.sum(axis=0)
        means = _ratio(total, count, 0.0)
        variance = _variance(squares.sum(axis=0) - count * means**2, count)
        likeness = self._likeness(means, variance, left_out)
        comparable = np.where(count > 0.0, held, 0.0)
        n = comparable.sum(axis=0)
        share = _ratio(comparable, n)
        difference = _ratio(np.where(count > 0.0, own, 0.0).sum(axis=0), n) - (share * means).sum(axis=0)
        luck = (share * variance).sum(axis=0) * (1.0 / np.maximum(n, 1.0) + likeness * near)
        # Months are the clusters: the error of the reference's mean is what each of them moves it by.
        moves = (sums - counts * means) * _ratio(share, count, 0.0)
        return difference, np.sqrt(luck + (moves.sum(axis=1) ** 2).sum(axis=0))

    def _likeness(self, means: Floats, variance: Floats, left_out: int | None) -> Floats:
        """Correlation of two sessions of one month, 0 .. 1, shape (j,): its estimate and one standard error more."""
        count, first, second, both = _without(self.pairs, left_out, axis=1)
        if left_out is not None and left_out < count.shape[0]:
            # The pairs of the next month with the one left out; none, where they are not neighbours.
            for part, gone in zip((count, first, second, both), self.across[:, left_out], strict=True):
                part[left_out] -= gone
        scale = np.sqrt(variance)
        mean_a, mean_b = means[:, None], means[None, :]
        central = both - mean_b * first - mean_a * second + mean_a * mean_b * count
        products = _ratio(central, scale[:, None] * scale[None, :], 0.0).sum(axis=(1, 2))
        pairs = count.sum(axis=(1, 2))
        whole = pairs.sum(axis=0) + PRIOR_PAIRS
        estimate = (products.sum(axis=0) + PRIOR_PAIRS) / whole
        # Too small a likeness makes every month an alarm, too large a one only a less sensitive column.
        error = np.sqrt(((products - pairs * estimate) ** 2).sum(axis=0)) / whole
        likeness: Floats = np.clip(estimate + error, 0.0, 1.0)
        return likeness


def _without(parts: Floats, left_out: int | None, axis: int = 0) -> Floats:
    whole: Floats = parts if left_out is None else np.delete(parts, left_out, axis=axis)
    return whole


def _variance(squares: Floats, count: Floats) -> Floats:
    """Variance of a session within its stratum, shape (strata, j)."""
    squares, freedom = np.maximum(squares, 0.0), np.maximum(count - 1.0, 0.0)
    pooled = _ratio(squares.sum(axis=0), freedom.sum(axis=0), 0.0)
    variance: Floats = (squares + PRIOR_SESSIONS * pooled) / (freedom + PRIOR_SESSIONS)
    return variance


def _ratio(part: Floats, whole: Floats, empty: float = np.nan) -> Floats:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    ratio: Floats = np.divide(part, whole, out=np.full(shape, empty), where=np.broadcast_to(whole > 0.0, shape))
    return ratio


def _check(reference: Daily, month: Daily) -> None:
    if reference.values.shape[1] != month.values.shape[1]:
        raise DataError(
            f"the reference has {reference.values.shape[1]} columns, the month {month.values.shape[1]}; give the same"
        )
    if not len(reference.day) or not len(month.day):
        raise DataError(
            f"{len(reference.day)} sessions of the reference and {len(month.day)} of the month; both need at least one"
        )
    for name, daily in (("reference", reference), ("month", month)):
        if np.isnat(daily.day).any() or not (np.diff(daily.day) > np.timedelta64(0)).all():
            raise DataError(f"days of the {name} must be known and ascend without repeats; sort them and drop repeats")
    if np.isin(month.day, reference.day).any():
        raise DataError("the reference holds sessions of the month itself, which hides a drift; leave them out")
