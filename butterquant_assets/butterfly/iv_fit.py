"""Fitting the at-the-money level to published implied volatilities, and judging any level against them.

What belongs here: windows with the volatility published on their last date, regressions on them, and errors. What does
not: the terms (`iv_level`), the coefficients in use (`iv_level_coefficients`), and tables of results (`iv_report`).

The method was chosen on 2010-2014 alone, by `validation_errors`; 2015-2019 only judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import iv_level, windows
from butterquant_assets.butterfly.iv_level_coefficients import Coefficients
from butterquant_assets.foundation.errors import DataError, InsufficientHistoryError
from butterquant_assets.quant.threads import one_thread

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
FitTerms = Callable[[Floats, Floats], tuple[float, Floats]]

FIT_SPAN = ("2010-01-01", "2014-12-31")
JUDGE_SPAN = ("2015-01-01", "2019-12-31")
RIDGE = 0.01
MINIMUM_ROWS = 100


@dataclass(frozen=True)
class PublishedRows:
    """Windows and the volatility published on their last date.

    Attributes
    ----------
    tickers, sessions
        shape (n,), sorted by ticker, then session
    closes, vix
        shape (n, 505), as `iv_level.level` takes them
    iv
        published, per year as a fraction, shape (n,)
    """

    tickers: npt.NDArray[np.object_]
    sessions: npt.NDArray[np.datetime64]
    closes: Floats
    vix: Floats
    iv: Floats

    def where(self, kept: Flags) -> PublishedRows:
        """The rows with a True."""
        return PublishedRows(self.tickers[kept], self.sessions[kept], self.closes[kept], self.vix[kept], self.iv[kept])

    @property
    def years(self) -> npt.NDArray[np.int64]:
        """Calendar year of each row."""
        return self.sessions.astype("datetime64[Y]").astype(np.int64) + 1970

    @property
    def target(self) -> Floats:
        """Logarithm of the published volatility over the VIX, what the terms explain."""
        return np.asarray(np.log(self.iv) - np.log(self.vix[:, -1] / iv_level.VIX_POINTS))


@dataclass(frozen=True)
class Fitted:
    """What `fit` found: coefficients of the level and of its rank, and the rows they rest on."""

    level: Coefficients
    rank: Coefficients
    rows: int


def fitting_bars(bars: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Bars of every published ticker: those given, and the publisher's own closes where there are none.

    Parameters
    ----------
    bars
        session, ticker, close, volume, split_ratio
    published
        session, ticker, close

    Returns
    -------
    DataFrame with the columns of `bars`; a publisher's close has volume 0 and no split, for it is adjusted already
    """
    wanted = set(published["ticker"])
    given = bars.loc[bars["ticker"].isin(wanted), ["session", "ticker", "close", "volume", "split_ratio"]]
    own = published.loc[~published["ticker"].isin(set(given["ticker"])), ["session", "ticker", "close"]]
    return pd.concat([given, own.assign(volume=0.0, split_ratio=1.0)], ignore_index=True)


def published_rows(
    bars: pd.DataFrame, published: pd.DataFrame, vix: pd.DataFrame, span: tuple[str, str]
) -> PublishedRows:
    """Windows for every published volatility of a span; where the bars or the VIX do not reach, there is no row.

    Parameters
    ----------
    bars
        session, ticker, close, volume, split_ratio, as quoted
    published
        session, ticker, iv; one tenor
    vix
        session, close (points)
    span
        first and last date

    Raises
    ------
    DataError
        if bars or VIX are unusable as a whole, or a (session, ticker) has two volatilities.
    """
    session = published["session"]
    asked = published[(session >= pd.Timestamp(span[0])) & (session <= pd.Timestamp(span[1]))]
    asked = asked.sort_values(["ticker", "session"], kind="stable")
    if asked.duplicated(["ticker", "session"]).any():
        raise DataError("a ticker has two published volatilities on one session; give one tenor")
    tickers = asked["ticker"].to_numpy(dtype=object)
    sessions = asked["session"].to_numpy().astype("datetime64[D]")
    found = windows.build(tickers, sessions, windows.quoted_bars(bars), iv_level.LEVEL_BARS)
    kept = found.reasons == ""
    values, lacking = iv_level.vix_windows(found.days[kept], vix)
    whole = lacking == ""
    places = np.flatnonzero(kept)[whole]
    iv = asked["iv"].to_numpy(dtype=np.float64)
    return PublishedRows(tickers[places], sessions[places], found.closes[places], values[whole], iv[places])


def fit(rows: PublishedRows) -> Fitted:
    """Fit the level and its rank.

    Weights by ridge regression on standardised terms (penalty 0.01 per row), the intercept so that the median residual
    is 0: the error judged is a median.

    Parameters
    ----------
    rows
        of the fitting span; rows with an undefined term are left out

    Raises
    ------
    InsufficientHistoryError
        if fewer than 100 rows are left.
    """
    level_terms = iv_level.terms(rows.closes, rows.vix)
    level, count = _coefficients(level_terms, rows.target)
    rank, _ = _coefficients(iv_level.rank_terms(rows.closes, rows.vix), rows.target)
    return Fitted(level, rank, count)


def _coefficients(terms: Mapping[str, Floats], target: Floats) -> tuple[Coefficients, int]:
    X = np.column_stack(list(terms.values()))
    known = np.isfinite(X).all(axis=1) & np.isfinite(target)
    intercept, weights = regress(X[known], target[known])
    named = dict(zip(terms, weights.tolist(), strict=True))
    return Coefficients(intercept, named), int(known.sum())


def regress(X: Floats, y: Floats, ridge: float = RIDGE) -> tuple[float, Floats]:
    """Ridge weights of standardised columns, in the units of the columns, and the median of what they leave.

    Parameters
    ----------
    X, y
        shape (n, p) and (n,), finite, n >= 100
    ridge
        penalty on standardised weights, per row

    Returns
    -------
    intercept, weights of shape (p,)
    """
    if len(X) < MINIMUM_ROWS:
        raise InsufficientHistoryError(
            f"{len(X)} rows are too few to fit a level, at least {MINIMUM_ROWS} are needed; give more published "
            "volatilities, or bars that reach further back"
        )
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    deviation = np.where(deviation > 0.0, deviation, 1.0)
    Z = (X - mean) / deviation
    with one_thread():
        moments = Z.T @ Z / len(Z) + ridge * np.eye(X.shape[1])
        weights = np.linalg.solve(moments, Z.T @ (y - y.mean()) / len(Z)) / deviation
        left = y - X @ weights
    return float(np.median(left)), weights


def half_splits(tickers: npt.NDArray[np.object_]) -> list[tuple[str, ...]]:
    """Every way to take half of the tickers (rounded down), in alphabetical order."""
    names = sorted({str(name) for name in tickers})
    return list(itertools.combinations(names, len(names) // 2))


def other_half_errors(
    X: Floats, rows: PublishedRows, X_judge: Floats, judge: PublishedRows, fit_terms: FitTerms = regress
) -> list[Floats]:
    """Absolute log errors on stocks left out of the fit: for every half of the stocks fitted, the other half judged.

    Parameters
    ----------
    X, rows
        terms and rows to fit on, shape (n, p)
    X_judge, judge
        terms and rows to judge, shape (m, p)
    fit_terms
        gives intercept and weights

    Returns
    -------
    list of float64 arrays, one per split
    """
    errors = []
    for names in half_splits(judge.tickers):
        fitted, left_out = np.isin(rows.tickers, names), ~np.isin(judge.tickers, names)
        intercept, weights = fit_terms(X[fitted], rows.target[fitted])
        errors.append(np.abs(X_judge[left_out] @ weights + intercept - judge.target[left_out]))
    return errors


def validation_errors(X: Floats, rows: PublishedRows, splits: Sequence[tuple[str, ...]]) -> dict[str, float]:
    """Median absolute log errors inside the fitting span, by which terms and method are chosen.

    Parameters
    ----------
    X, rows
        terms and rows of the fitting span
    splits
        stocks fitted; the others are judged, and then the other way round

    Returns
    -------
    dict
        ``next_year``: fitted on all years before, each year from the third on judged; ``next_year_other_stocks``: the
        same, on stocks left out; ``other_year_other_stocks``: fitted on all other years of some stocks, judged on the
        others in the year left out; ``mean``: of the three
    """
    years, target = rows.years, rows.target
    present = sorted({int(year) for year in years})
    halves = [half for names in splits for half in (np.isin(rows.tickers, names), ~np.isin(rows.tickers, names))]
    everyone = np.ones(len(X), dtype=bool)

    def errors(fitted: Flags, judged: Flags) -> Floats:
        intercept, weights = regress(X[fitted], target[fitted])
        return np.asarray(np.abs(X[judged] @ weights + intercept - target[judged]))

    found: dict[str, list[Floats]] = {"next_year": [], "next_year_other_stocks": [], "other_year_other_stocks": []}
    for year in present[2:]:
        found["next_year"].append(errors(everyone & (years < year), years == year))
        for half in halves:
            found["next_year_other_stocks"].append(errors(half & (years < year), ~half & (years == year)))
    for year in present:
        for half in halves:
            found["other_year_other_stocks"].append(errors(half & (years != year), ~half & (years == year)))
    medians = {name: float(np.median(np.concatenate(parts))) for name, parts in found.items()}
    return medians | {"mean": float(np.mean(list(medians.values())))}
