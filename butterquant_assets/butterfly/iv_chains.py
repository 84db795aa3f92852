"""Real option chains: their forward, their smile, and what their at-the-money butterflies cost.

What belongs here: reading quotes of one-month expiries as volatilities and debits. What does not: cleaning quotes
(`market.cleaning`) and comparing proxies with them (`iv_report`).

Options are priced as European on the forward that the quotes themselves imply by put-call parity, so dividends and
borrowing drop out. At each strike the out-of-the-money option is read: it is quoted tightest, and the right to exercise
early is worth next to nothing there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.pricing import DAYS_PER_YEAR
from butterquant_assets.butterfly.strikes import WIDTH_IN_DEVIATIONS
from butterquant_assets.quant import black_scholes

Floats = npt.NDArray[np.float64]

SHORTEST_DAYS, LONGEST_DAYS = 20, 45
FORWARD_MONEYNESS = 0.03  # strikes within this of spot tell the forward
WINGS: dict[str, float] = {"2 %": 0.02, "5 %": 0.05, "10 %": 0.10}
OWN_WING = "own"  # the width of our strike rule, with the chain's at-the-money volatility for the forecast
WING_TOLERANCE = 0.25  # how far a listed wing may lie from the one asked, as a share of it
LOWEST_VOL, HIGHEST_VOL = 1e-3, 5.0
_HALVINGS = 50
_CHAIN = ["ticker", "quoted_at", "session", "expiry"]


def smiles(chains: pd.DataFrame, rate: float) -> pd.DataFrame:
    """Implied volatility by strike, of every one-month expiry.

    Parameters
    ----------
    chains
        columns of `market.schemas.OPTION_CHAINS`; two-sided quotes
    rate
        continuously compounded, per year

    Returns
    -------
    DataFrame
        ticker, quoted_at, session, expiry, days, spot, carried (the spot that carries to the forward: F exp(-rT)),
        strike, log_moneyness (ln K/S), iv (of the mid of the out-of-the-money option), atm (iv interpolated to K = S),
        sorted. Strikes whose mid no volatility explains are left out, and expiries whose strikes do not enclose spot
        or do not tell the forward.
    """
    parts = [_smile(part, rate) for _, part in _one_month(chains).groupby(_CHAIN, sort=True)]
    parts = [part for part in parts if len(part)]
    columns = [*_CHAIN, "days", "spot", "carried", "strike", "log_moneyness", "iv", "atm"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def butterflies(chains: pd.DataFrame, rate: float) -> pd.DataFrame:
    """At-the-money butterflies of listed strikes with wings nearest to 2, 5 and 10 % of spot and to our own rule.

    The debit is W exp(-rT) less the credit of the iron butterfly at the mids, so it needs out-of-the-money and
    at-the-money quotes alone.

    Parameters
    ----------
    chains, rate
        as in `smiles`

    Returns
    -------
    DataFrame
        ticker, quoted_at, session, expiry, days, spot, carried, wing (``2 %``, ``5 %``, ``10 %`` or ``own``),
        lower, center, upper, width, debit (at mids), half_spread (of the four quotes together), atm (as in `smiles`),
        iv_lower, iv_center, iv_upper (of the chain). Where no listed pair of wings lies within a quarter of what is
        asked, or the debit lies outside (0, width), there is no row.
    """
    curves = smiles(chains, rate)
    found: list[dict[str, object]] = []
    quotes = dict(iter(_one_month(chains).groupby(_CHAIN, sort=True)))
    for key, curve in curves.groupby(_CHAIN, sort=True):
        found += _butterflies_of(dict(zip(_CHAIN, key, strict=True)), quotes[key], curve, rate)
    return pd.DataFrame(found)


def implied_vol(price: npt.ArrayLike, spot: Floats, strike: Floats, years: Floats, rate: float, put: Floats) -> Floats:
    """Black-Scholes volatility of European options, by bisection.

    Parameters
    ----------
    price, spot, strike, years
        shape (n,)
    rate
        continuously compounded, per year
    put
        True for puts, shape (n,)

    Returns
    -------
    float64 array, shape (n,), per year as a fraction, to 1e-14; NaN where no volatility in .001 .. 5 gives the price
    """
    wanted = np.asarray(price, dtype=np.float64)

    def value(vol: Floats) -> Floats:
        call = black_scholes.price(spot, strike, years, rate, vol)
        return np.asarray(call - np.where(put, spot - strike * np.exp(-rate * years), 0.0))

    low, high = np.full(wanted.shape, LOWEST_VOL), np.full(wanted.shape, HIGHEST_VOL)
    inside = (value(low) <= wanted) & (wanted <= value(high))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        below = value(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(inside, 0.5 * (low + high), np.nan)


def _one_month(chains: pd.DataFrame) -> pd.DataFrame:
    days = (chains["expiry"] - chains["session"]).dt.days
    kept = days.between(SHORTEST_DAYS, LONGEST_DAYS)
    mid = 0.5 * (chains["bid"] + chains["ask"])
    described: pd.DataFrame = chains.assign(days=days, mid=mid, half=0.5 * (chains["ask"] - chains["bid"]))
    return described.loc[kept.to_numpy()]


def _smile(chain: pd.DataFrame, rate: float) -> pd.DataFrame:
    spot, days = float(chain["spot"].iloc[0]), int(chain["days"].iloc[0])
    years = days / DAYS_PER_YEAR
    carried = _carried_spot(chain, spot, rate, years)
    if carried is None:
        return chain.iloc[:0]
    forward = carried * np.exp(rate * years)
    put = (chain["right"] == "P").to_numpy()
    strike = chain["strike"].to_numpy(dtype=np.float64)
    otm = chain[put == (strike < forward)].sort_values("strike", kind="stable")
    strike, put = otm["strike"].to_numpy(dtype=np.float64), (otm["right"] == "P").to_numpy()
    count = len(otm)
    iv = implied_vol(otm["mid"], np.full(count, carried), strike, np.full(count, years), rate, put)
    log_moneyness = np.log(strike / spot)
    known = np.isfinite(iv)
    if not known.any() or not log_moneyness[known][0] <= 0.0 <= log_moneyness[known][-1]:
        return chain.iloc[:0]
    atm = float(np.interp(0.0, log_moneyness[known], iv[known]))
    described: pd.DataFrame = otm.assign(carried=carried, log_moneyness=log_moneyness, iv=iv, atm=atm)
    return described.loc[known].reset_index(drop=True)


def _carried_spot(chain: pd.DataFrame, spot: float, rate: float, years: float) -> float | None:
    """F exp(-rT) by put-call parity, median over strikes near spot; None without a strike that has both options."""
    pairs = chain.pivot_table(index="strike", columns="right", values="mid").dropna()
    near = pairs[np.abs(pairs.index.to_numpy() / spot - 1.0) <= FORWARD_MONEYNESS]
    if near.empty or not {"C", "P"} <= set(near.columns):
        return None
    return float(np.median(near["C"] - near["P"] + near.index.to_numpy() * np.exp(-rate * years)))


def _butterflies_of(
    key: dict[str, object], chain: pd.DataFrame, curve: pd.DataFrame, rate: float
) -> list[dict[str, object]]:
    first = curve.iloc[0]
    spot, years = float(first["spot"]), float(first["days"]) / DAYS_PER_YEAR
    mid, half = (chain.pivot_table(index="strike", columns="right", values=name) for name in ("mid", "half"))
    if not {"C", "P"} <= set(mid.columns):
        return []
    both = mid.dropna().index.to_numpy()
    center = float(both[np.argmin(np.abs(both - spot))])
    puts, calls = (set(np.round(np.abs(mid[right].dropna().index.to_numpy() - center), 6)) for right in ("P", "C"))
    widths = np.array(sorted((puts & calls) - {0.0}))
    iv = _interpolated(curve)
    found: list[dict[str, object]] = []
    own = WIDTH_IN_DEVIATIONS * float(first["atm"]) * np.sqrt(years)
    for wing, share in (*WINGS.items(), (OWN_WING, own)):
        distance = np.abs(widths - share * spot)
        if not widths.size or distance.min() > WING_TOLERANCE * share * spot:
            continue
        width = float(widths[np.argmin(distance)])
        lower, upper = center - width, center + width
        if not {lower, upper} <= set(mid.index) or np.isnan([mid["P"][lower], mid["C"][upper]]).any():
            continue
        credit = mid["P"][center] + mid["C"][center] - mid["P"][lower] - mid["C"][upper]
        debit = width * np.exp(-rate * years) - credit
        if not 0.0 < debit < width:
            continue
        spread = half["P"][center] + half["C"][center] + half["P"][lower] + half["C"][upper]
        found.append(
            key
            | {"days": int(first["days"]), "spot": spot, "carried": float(first["carried"]), "wing": wing}
            | {"lower": lower, "center": center, "upper": upper, "width": width}
            | {"debit": float(debit), "half_spread": float(spread), "atm": float(first["atm"])}
            | {"iv_lower": iv(lower), "iv_center": iv(center), "iv_upper": iv(upper)}
        )
    return found


def _interpolated(curve: pd.DataFrame) -> Callable[[float], float]:
    strikes, iv = curve["strike"].to_numpy(dtype=np.float64), curve["iv"].to_numpy(dtype=np.float64)
    return lambda strike: float(np.interp(strike, strikes, iv))
