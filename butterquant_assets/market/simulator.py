"""A market of simulated shares whose fair option prices are known exactly.

The model, for share i on session t (everything per session, r the riskless rate per calendar day, d_t the calendar
days since the session before):

    log return   R_it = r d_t - k_i v_it / 2 + sqrt(k_i) (beta_i sqrt(w_t) z_t + sqrt(u_it) e_it)
    variance     v_it = beta_i^2 w_t + u_it, which options are priced with
    premium      k_i = exp(edge * c_i), c_i uniform on -1 .. 1: realised over priced variance, 1 on a fair market
    market       w_t  = (0.85 VIX_{t-1} / 100)^2 / 252, the real VIX; before it is published, a trailing exponentially
                 weighted variance of the real S&P 500 (lambda = 0.94)
    idiosyncratic u_it = s_i^2 / 252 * g_it * sqrt(w_t / w*) * J_it
                 g_i,t+1 = (1 - a - b) + a g_it x_it^2 + b g_it,  a = 0.07, b = 0.91
                 J_it = 10 on one session in 63 (results are published), else 1

with z, e, x independent standard normals. x drives the variance and nothing else: the variance path is exogenous to the
price shocks. Given it, returns are Gaussian (over the random path they have fat tails, clusters and jumps), so that
with ``edge = 0`` (k = 1) **Black-Scholes with implied variance = the sum of true variances up to expiry is the exact
fair price**, whatever anyone knows: no feature can predict the profit of an option bought and sold at these
volatilities. Their publication at t reveals the variances to come; it reveals nothing of the shocks.

``edge > 0`` makes the options of some shares too dear and of others too cheap, for good: what a share has realised so
far, beside its implied volatility, tells which (the feature ``vol_mispricing``, a noisy view of k). Nothing else is
planted: given k the future is as unknowable as on the fair market, and the exact distribution of the exit is known
(`planted_probabilities` in benchmarks/planted.py takes the attainable log-loss from it).

What belongs here: pure functions of dates, variances and a seed. What does not: where the real VIX comes from
(`market/sources/sample.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError

Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]

RATE = 0.04
"""Riskless rate, continuously compounded per year of 365 calendar days."""

VIX_TO_MARKET = 0.85
"""True market volatility per point of VIX: implied volatility stands above realised on average."""

REFERENCE_VARIANCE = (VIX_TO_MARKET * 0.15) ** 2 / 252
EWMA_DECAY = 0.94
GARCH_SHOCK, GARCH_DECAY = 0.07, 0.91
RESULTS_EVERY, RESULTS_VARIANCE = 63, 10.0
OVERNIGHT_SHARE = 0.3
"""Share of a session's variance that falls between the close before and the open."""

TENORS = (*range(1, 11), 21, 30, 45)
"""Calendar days for which implied volatilities are published."""

MINIMUM_IV = 1e-4
"""Published where no session lies before expiry and the variance to come is zero: Black-Scholes stays defined, and its
price differs from the exact one by less than 1e-5 of spot."""

_TRAITS, _VARIANCE, _PRICE, _RANGE, _VOLUME, _MARKET, _PREMIUM = range(7)


@dataclass(frozen=True)
class SimulatedMarket:
    """One simulated market; arrays are (sessions, tickers) and quoted on the day.

    Parameters
    ----------
    sessions
        datetime64[D], shape (T,)
    tickers
        names, ascending, length N
    open, high, low, close
        USD, whole cents, shape (T, N)
    volume
        shares in round lots, shape (T, N)
    split_ratio
        new shares per old one effective on the session, 1.0 when none, shape (T, N)
    priced_variance
        variance of each session's log return that options are priced with, shape (T, N)
    premium
        true over priced variance, shape (N,); all ones on a fair market
    """

    sessions: Dates
    tickers: tuple[str, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    split_ratio: Floats
    priced_variance: Floats
    premium: Floats


@dataclass(frozen=True)
class _Traits:
    beta: Floats
    idiosyncratic_vol: Floats
    start_price: Floats
    dollar_volume: Floats
    results_offset: npt.NDArray[np.int64]
    split_session: npt.NDArray[np.int64]
    split_ratio: Floats


def visible_vix(
    sessions: Dates, vix_sessions: Dates, vix_close: Floats, index_sessions: Dates, index_close: Floats
) -> Floats:
    """The VIX as known at the close of each session; before its first value, what the index's own variance stands for.

    Parameters
    ----------
    sessions
        sessions to simulate, ascending, datetime64[D], shape (T,)
    vix_sessions, vix_close
        the real VIX, ascending, points; shape (K,)
    index_sessions, index_close
        the real index, ascending, at least 60 sessions before the first of `sessions`; shape (M,)

    Returns
    -------
    float64 array, shape (T,), points; after the last VIX it stays at its last value

    Raises
    ------
    ConfigError
        if the index does not reach back far enough.
    """
    squares = np.diff(np.log(index_close)) ** 2
    warm = int(np.searchsorted(index_sessions, sessions[0]))
    if warm < 60:
        raise ConfigError(f"the index has {warm} sessions before {sessions[0]}, expected at least 60; start later")
    weighted = np.empty(len(index_close))
    weighted[0] = squares[:60].mean()
    for position, square in enumerate(squares):
        weighted[position + 1] = EWMA_DECAY * weighted[position] + (1 - EWMA_DECAY) * square
    last_index = np.clip(np.searchsorted(index_sessions, sessions, side="right") - 1, 0, None)
    stand_in = 100 * np.sqrt(252 * weighted[last_index]) / VIX_TO_MARKET
    last_vix = np.searchsorted(vix_sessions, sessions, side="right") - 1
    visible: Floats = np.where(last_vix >= 0, vix_close[np.clip(last_vix, 0, None)], stand_in)
    return visible


def simulate(
    sessions: Dates,
    vix: Floats,
    *,
    seed: int,
    edge: float = 0.0,
    tickers: int = 50,
) -> SimulatedMarket:
    """Simulate a market.

    Every random stream belongs to one purpose and one ticker and is drawn session by session, so that more sessions or
    more tickers change nothing that was there before.

    Parameters
    ----------
    sessions
        consecutive sessions, ascending, datetime64[D], shape (T,)
    vix
        `visible_vix` of these sessions, shape (T,)
    seed
        of all streams, 0 or more
    edge
        largest log of true over priced variance, 0 .. 3
    tickers
        number of shares, 1 .. 999

    Returns
    -------
    SimulatedMarket

    Raises
    ------
    ConfigError
        for arguments outside these ranges.
    """
    check_parameters(seed, edge, tickers)
    count = len(sessions)
    traits = _draw_traits(seed, tickers)
    known_before = np.append(vix[:1], vix[:-1])
    market = (VIX_TO_MARKET * known_before / 100) ** 2 / 252
    own = _own_variance(seed, count, traits, market)
    priced = traits.beta**2 * market[:, None] + own
    premium = np.exp(edge * np.array([_stream(seed, _PREMIUM, ticker).uniform(-1, 1) for ticker in range(tickers)]))
    variance = premium * priced
    shocks = np.sqrt(premium) * _shocks(seed, count, tickers, traits.beta, market, own)
    level, overnight = _log_levels(sessions, variance, shocks)

    ratio = np.ones((count, tickers))
    happens = traits.split_session < count
    ratio[traits.split_session[happens], np.flatnonzero(happens)] = traits.split_ratio[happens]
    shares = np.cumprod(ratio, axis=0)
    scale = traits.start_price / shares
    opened, closed = level[:-1] + overnight, level[1:]
    high, low = _extremes(seed, opened, closed, (1 - OVERNIGHT_SHARE) * variance)
    volume = _volumes(seed, traits, scale * np.exp(closed), shocks.sum(axis=0) / np.sqrt(variance))
    return SimulatedMarket(
        sessions=sessions,
        tickers=_names(tickers),
        open=_cents(scale * np.exp(opened)),
        high=_cents(scale * np.exp(high)),
        low=_cents(scale * np.exp(low)),
        close=_cents(scale * np.exp(closed)),
        volume=volume,
        split_ratio=ratio,
        priced_variance=priced,
        premium=premium,
    )


def check_parameters(seed: int, edge: float, tickers: int) -> None:
    """Refuse what cannot be simulated, with a ConfigError that names it."""
    if not 1 <= tickers <= 999 or not 0 <= edge <= 3 or seed < 0:
        raise ConfigError(
            f"cannot simulate tickers={tickers}, edge={edge}, seed={seed}; "
            "expected 1 .. 999 tickers, edge 0 .. 3, seed >= 0"
        )


def implied_vols(market: SimulatedMarket, count: int) -> Floats:
    """Fair implied volatility of the first `count` sessions for each of `TENORS`.

    iv(t, d) = sqrt(sum of priced variances of the sessions in (t, t + d calendar days] / (d / 365)), at least
    `MINIMUM_IV`.

    Parameters
    ----------
    market
        simulated at least 45 calendar days beyond session `count` - 1
    count
        how many sessions to publish

    Returns
    -------
    float64 array, shape (count, N, 13), per year

    Raises
    ------
    ConfigError
        if the simulation ends too early.
    """
    sessions = market.sessions
    if sessions[-1] < sessions[count - 1] + np.timedelta64(max(TENORS), "D"):
        raise ConfigError(
            f"the simulation ends {sessions[-1]}, less than {max(TENORS)} days after {sessions[count - 1]}; "
            "simulate longer"
        )
    total = np.cumsum(market.priced_variance, axis=0)
    vols = np.empty((count, len(market.tickers), len(TENORS)))
    for position, days in enumerate(TENORS):
        last = np.searchsorted(sessions, sessions[:count] + np.timedelta64(days, "D"), side="right") - 1
        vols[:, :, position] = np.sqrt((total[last] - total[:count]) / (days / 365))
    return np.maximum(vols, MINIMUM_IV)


def _stream(seed: int, purpose: int, ticker: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, ticker])


def _names(tickers: int) -> tuple[str, ...]:
    width = max(2, len(str(tickers)))
    return tuple(f"SIM{number:0{width}d}" for number in range(1, tickers + 1))


def _draw_traits(seed: int, tickers: int) -> _Traits:
    rows = []
    for ticker in range(tickers):
        draw = _stream(seed, _TRAITS, ticker).uniform(size=8)
        price = 20.0 * 40.0 ** draw[2]
        splits = draw[5] < 0.35
        large = [2.0, 3.0, 4.0, 7.0][int(4 * draw[6])]
        small = [1.5, 2.0, 0.25, 0.5][int(4 * draw[6])]
        rows.append(
            (
                0.6 + 0.9 * draw[0],
                0.12 + 0.22 * draw[1],
                price,
                4e9 * np.exp(-3.5 * draw[3]),
                int(RESULTS_EVERY * draw[4]),
                int(250 + 1700 * draw[7]) if splits else np.iinfo(np.int64).max,
                large if price > 150 else small,
            )
        )
    beta, vol, start, dollars, offset, session, ratio = zip(*rows, strict=True)
    return _Traits(
        beta=np.array(beta),
        idiosyncratic_vol=np.array(vol),
        start_price=np.array(start),
        dollar_volume=np.array(dollars),
        results_offset=np.array(offset, dtype=np.int64),
        split_session=np.array(session, dtype=np.int64),
        split_ratio=np.array(ratio),
    )


def _own_variance(seed: int, count: int, traits: _Traits, market: Floats) -> Floats:
    tickers = len(traits.beta)
    noise = np.column_stack([_stream(seed, _VARIANCE, ticker).standard_normal(count) ** 2 for ticker in range(tickers)])
    path = np.ones((count, tickers))
    for t in range(1, count):
        drive = GARCH_SHOCK * noise[t - 1] + GARCH_DECAY
        path[t] = (1 - GARCH_SHOCK - GARCH_DECAY) + drive * path[t - 1]
    results = (np.arange(count)[:, None] + traits.results_offset) % RESULTS_EVERY == 0
    regime = np.sqrt(market / REFERENCE_VARIANCE)[:, None]
    own: Floats = traits.idiosyncratic_vol**2 / 252 * path * regime * np.where(results, RESULTS_VARIANCE, 1.0)
    return own


def _shocks(seed: int, count: int, tickers: int, beta: Floats, market: Floats, own: Floats) -> Floats:
    """Overnight and intraday shocks, shape (2, T, N); their variances are the session's, split by `OVERNIGHT_SHARE`."""
    common = _stream(seed, _MARKET, 0).standard_normal((count, 2)).T[:, :, None]
    each = np.stack([_stream(seed, _PRICE, ticker).standard_normal((count, 2)).T for ticker in range(tickers)], axis=2)
    share = np.sqrt([OVERNIGHT_SHARE, 1 - OVERNIGHT_SHARE])[:, None, None]
    shocks: Floats = share * (beta * np.sqrt(market)[:, None] * common + np.sqrt(own) * each)
    return shocks


def _log_levels(sessions: Dates, variance: Floats, shocks: Floats) -> tuple[Floats, Floats]:
    """Log of close over the start, shape (T + 1, N) with the start first, and the log move from close to open."""
    count, tickers = variance.shape
    days = np.append(1.0, np.diff(sessions.astype("datetime64[D]")).astype(float))
    drift = RATE / 365 * days[:, None] - variance / 2
    level = np.zeros((count + 1, tickers))
    overnight = np.empty((count, tickers))
    for t in range(count):
        overnight[t] = OVERNIGHT_SHARE * drift[t] + shocks[0, t]
        level[t + 1] = level[t] + drift[t] + shocks[0, t] + shocks[1, t]
    return level, overnight


def _extremes(seed: int, opened: Floats, closed: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Extremes of a Brownian bridge from open to close: max = (o + c + sqrt((c - o)^2 - 2 v ln U)) / 2."""
    count, tickers = opened.shape
    draws = np.stack([_stream(seed, _RANGE, ticker).random((count, 2)).T for ticker in range(tickers)], axis=2)
    reach = np.sqrt((closed - opened) ** 2 - 2 * variance * np.log1p(-draws))
    return (opened + closed + reach[0]) / 2, (opened + closed - reach[1]) / 2


def _volumes(seed: int, traits: _Traits, close: Floats, surprise: Floats) -> Floats:
    """Shares in round lots: dollars by rank, an AR(1) in logs, and more on large moves; at least one lot."""
    count, tickers = close.shape
    noise = np.column_stack([_stream(seed, _VOLUME, ticker).standard_normal(count) for ticker in range(tickers)])
    mood = np.empty((count, tickers))
    mood[0] = 0.25 * noise[0]
    for t in range(1, count):
        mood[t] = 0.7 * mood[t - 1] + 0.25 * noise[t]
    dollars = traits.dollar_volume * np.exp(mood) * (0.7 + 0.4 * np.abs(surprise))
    volume: Floats = np.maximum(np.round(dollars / close / 100), 1.0) * 100
    return volume


def _cents(price: Floats) -> Floats:
    rounded: Floats = np.round(price, 2)
    return rounded
