"""Option chains: volatilities, forwards and debits read off quotes made from a known smile."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.butterfly import iv_chains
from butterquant_assets.quant import black_scholes

SPOT, CARRIED, RATE, DAYS, LEVEL = 100.0, 99.4, 0.04, 30, 0.3


def smile(strike: np.ndarray) -> np.ndarray:
    m = np.log(strike / SPOT)
    return LEVEL * (1.0 - 0.8 * m + 2.0 * m**2)


def made_up_chain(spread: float = 0.01, step: float = 1.0, days: int = DAYS) -> pd.DataFrame:
    """Quotes around the Black-Scholes values of `smile`, the underlying paying a dividend of 0.6."""
    strikes = np.arange(70.0, 130.0 + step, step)
    parts = []
    for right, kind in (("C", "call"), ("P", "put")):
        mid = black_scholes.price(CARRIED, strikes, days / 365.0, RATE, smile(strikes), kind=kind)  # type: ignore[arg-type]
        parts.append(pd.DataFrame({"right": right, "strike": strikes, "bid": mid - spread, "ask": mid + spread}))
    session = pd.Timestamp("2026-02-11")
    chain = pd.concat(parts).assign(
        session=session, quoted_at=session + pd.Timedelta(hours=17), ticker="X", spot=SPOT,
        expiry=session + pd.Timedelta(days=days),
    )  # fmt: skip
    return chain[chain["bid"] > 0.0].reset_index(drop=True)


def test_the_smile_of_a_chain_is_read_off_its_quotes() -> None:
    found = iv_chains.smiles(made_up_chain(), RATE)
    np.testing.assert_allclose(found["carried"], CARRIED, rtol=1e-12)
    np.testing.assert_allclose(found["iv"], smile(found["strike"].to_numpy()), rtol=1e-9)
    np.testing.assert_allclose(found["atm"], LEVEL, rtol=1e-9)


def test_butterflies_cost_what_their_legs_cost_at_mid() -> None:
    found = iv_chains.butterflies(made_up_chain(), RATE).set_index("wing")
    assert found["width"].to_dict() == {"2 %": 2.0, "5 %": 5.0, "10 %": 10.0, "own": 11.0}
    for fly in found.itertuples():
        legs = np.array([fly.lower, fly.center, fly.upper])
        value = black_scholes.price(CARRIED, legs, DAYS / 365.0, RATE, smile(legs))
        assert fly.debit == pytest.approx(value @ [1.0, -2.0, 1.0], rel=1e-9)
        assert fly.half_spread == pytest.approx(0.04)
        assert [fly.iv_lower, fly.iv_center, fly.iv_upper] == pytest.approx(smile(legs).tolist(), rel=1e-9)


def test_a_wing_that_is_not_listed_gives_no_butterfly() -> None:
    found = iv_chains.butterflies(made_up_chain(step=5.0), RATE)
    assert found["wing"].tolist() == ["5 %", "10 %", "own"]


@pytest.mark.parametrize("days", [19, 46])
def test_only_one_month_expiries_count(days: int) -> None:
    chain = made_up_chain(days=days)
    assert iv_chains.smiles(chain, RATE).empty
    assert iv_chains.butterflies(chain, RATE).empty


def test_a_chain_away_from_the_money_says_nothing_about_the_smile_there() -> None:
    """What the file holds of the S&P 500 index: a few strikes far below spot."""
    chain = made_up_chain()
    assert iv_chains.smiles(chain[chain["strike"] < 80.0], RATE).empty


def test_a_chain_without_calls_has_no_forward() -> None:
    chain = made_up_chain()
    assert iv_chains.smiles(chain[chain["right"] == "P"], RATE).empty


def test_no_chain_gives_no_smile() -> None:
    chain = made_up_chain().iloc[:0]
    assert iv_chains.smiles(chain, RATE).empty
    assert iv_chains.butterflies(chain, RATE).empty


@settings(max_examples=50, deadline=None)
@given(vol=st.floats(0.05, 3.0), moneyness=st.floats(-0.3, 0.3), days=st.integers(5, 60), put=st.booleans())
def test_the_implied_volatility_of_a_price_gives_the_price_again(
    vol: float, moneyness: float, days: int, put: bool
) -> None:
    years, strike = np.array([days / 365.0]), np.array([100.0 * np.exp(moneyness)])
    spot, kind = np.array([100.0]), "put" if put else "call"
    price = black_scholes.price(spot, strike, years, RATE, vol, kind=kind)  # type: ignore[arg-type]
    found = iv_chains.implied_vol(price, spot, strike, years, RATE, np.array([put]))
    if np.isfinite(found[0]):
        again = black_scholes.price(spot, strike, years, RATE, found, kind=kind)  # type: ignore[arg-type]
        assert again[0] == pytest.approx(price[0], abs=1e-10)
    else:  # deep in or out of the money every small volatility gives the same price
        assert vol < 0.2


def test_a_price_no_volatility_explains_has_none() -> None:
    one = np.ones(2)
    found = iv_chains.implied_vol([101.0, -1.0], 100.0 * one, 100.0 * one, 0.1 * one, RATE, np.array([False, True]))
    assert np.isnan(found).all()
