"""What venues tell the trading side agrees with the candles they show, and a recording can be traded on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.exchange.bar_sizes import bar_size
from butterquant_assets.market.exchange.folder_venue import FolderVenue
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_assets.market.exchange.trading.account import AccountConfig
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW
from butterquant_tests.market.exchange.trading.scripted import data, signed, trading_app
from butterquant_tests.shared_data import data_dir

VENUE = SimulatedVenue(MARKET)
HOUR = NOW // HOUR_MS * HOUR_MS


def test_steps_of_the_simulated_market_are_its_trades_and_its_mark_candles() -> None:
    first = HOUR - 6 * HOUR_MS
    steps = VENUE.steps("SIMBTC", first - 1, HOUR)
    trades = VENUE.trades("SIMBTC", first, HOUR + 1)
    traded = ~np.isnan(steps.close)
    assert np.array_equal(steps.time[traded], trades.time)
    assert np.array_equal(steps.close[traded], trades.price)
    assert np.array_equal(steps.volume[traded], trades.size)
    marks = VENUE.bars("mark", "SIMBTC", bar_size("1H"), first, HOUR, 10, HOUR)
    closing = ~traded
    assert steps.time[closing].tolist() == [first, *(marks.stamp + HOUR_MS).tolist()]
    assert np.array_equal(steps.mark_low[closing][1:], marks.low)
    assert np.array_equal(steps.mark_high[closing][1:], marks.high)
    assert (np.diff(steps.time) >= 0).all()


def test_marks_of_trades_are_the_mark_price_of_their_moment() -> None:
    steps = VENUE.steps("SIMETH", HOUR - HOUR_MS, HOUR - 1)
    for position in range(0, len(steps), 29):
        assert steps.mark_close[position] == pytest.approx(
            VENUE.price("mark", "SIMETH", int(steps.time[position])), rel=1e-12
        )


def test_steps_in_pieces_are_the_steps_in_one() -> None:
    ends = [HOUR - 3 * HOUR_MS, HOUR - 5_000_000, HOUR - 1_234_567, HOUR]
    whole = VENUE.steps("SIMBTC", ends[0], ends[-1])
    parts = [VENUE.steps("SIMBTC", first, end) for first, end in pairwise(ends)]
    for name in ("time", "since", "close", "mark_low"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name), equal_nan=True)


def recorded(name: str) -> tuple[FolderVenue, int]:
    venue = FolderVenue(data_dir(), name)
    return venue, venue.last_moment - 20 * 24 * HOUR_MS


def order(side: str, size: int, **more: object) -> dict[str, object]:
    return {"instId": "BTC-USDT-SWAP", "tdMode": "isolated", "side": side, "ordType": "market", "sz": size} | more


def test_a_recording_is_traded_bar_by_bar_with_its_own_funding() -> None:
    venue, now = recorded("okx")
    app = trading_app(venue, now, account=AccountConfig(balance=1e6))
    data(app, "POST", "trade/order", order("buy", 1))
    price = venue.price("trade", "BTC", now)
    low = venue.bars("trade", "BTC", bar_size("30m"), now, now + 48 * HOUR_MS, 96, now + 48 * HOUR_MS).low.min()
    level = round((price + low) / 2, 1)
    resting = order("buy", 1, ordType="limit", px=level)
    number = data(app, "POST", "trade/order", resting)[0]["ordId"]
    app.clock.advance(48 * HOUR_MS)
    (held,) = data(app, "GET", "account/positions")
    (found,) = data(app, "GET", "trade/order", {"instId": "BTC-USDT-SWAP", "ordId": number})
    assert (found["state"], held["pos"]) == ("filled", "2")
    times, rates = venue.settlements("BTC", now + 1, now + 48 * HOUR_MS + 1)
    bills = data(app, "GET", "account/bills", {"type": "8"})[::-1]
    assert [int(row["ts"]) for row in bills] == times.tolist()
    for row, time, rate in zip(bills, times.tolist(), rates.tolist(), strict=True):
        expected = -float(row["sz"]) * venue.price("mark", "BTC", time) * rate
        assert float(row["posBalChg"]) == pytest.approx(expected, abs=1e-9)


def test_on_a_recording_a_position_is_liquidated_by_the_first_mark_bar_that_reaches_it() -> None:
    """Funding moves the liquidation price meanwhile: by less than .2 % in a week."""
    venue, now = recorded("okx")
    end, drift = now + 7 * 24 * HOUR_MS, 0.002
    liquidated = []
    for side, away in (("buy", 1), ("sell", -1)):
        app: Any = trading_app(venue, now, account=AccountConfig(balance=1e6))
        leverage = {"instId": "BTC-USDT-SWAP", "lever": 50, "mgnMode": "isolated"}
        data(app, "POST", "account/set-leverage", leverage)
        data(app, "POST", "trade/order", order(side, 1))
        price = float(data(app, "GET", "account/positions")[0]["liqPx"])
        marks = venue.bars("mark", "BTC", bar_size("1H"), now, end, 10_000, end)
        beyond = away * (price / (marks.low if side == "buy" else marks.high) - 1)
        app.clock.advance(end - now)
        bills = data(app, "GET", "account/bills", {"type": "5"})
        if bills:
            bar = marks.stamp.tolist().index(int(bills[0]["ts"]) - HOUR_MS)
            assert beyond[bar] > -drift
            assert (beyond[:bar] < drift).all()
            liquidated.append(side)
        else:
            assert (beyond < drift).all()
    assert liquidated


def test_a_recording_without_mark_prices_opens_no_position() -> None:
    venue, now = recorded("perp")
    app = trading_app(venue, now)
    refused = signed(app, "POST", "trade/order", order("buy", 1)).json()["data"][0]
    assert refused["sCode"] == "51022"
    assert "mark price" in refused["sMsg"]


def test_on_the_simulated_market_too_the_state_does_not_depend_on_how_often_it_is_looked_at() -> None:
    """Prices of the hours ahead place the orders, so that some are filled, some stopped and some rest."""
    rows = MARKET.hours(HOUR // HOUR_MS + 1, HOUR // HOUR_MS + 30)
    last, low, high = (
        VENUE.price("trade", "SIMBTC", NOW),
        float(rows.low[:, 0].min()),
        float(rows.high[:, 0].max()),
    )
    swap = {"instId": "SIMBTC-USDT-SWAP", "ordType": "limit"}
    wanted = [("buy", 1 - (last - low) / last * share) for share in (0.3, 0.6, 0.9, 1.5)]
    wanted += [("sell", 1 + (high - last) / last * share) for share in (0.2, 0.5, 0.8)]
    stop = [{"slTriggerPx": round(last * 0.97, 1), "slOrdPx": "-1", "tpTriggerPx": round(high, 1), "tpOrdPx": "-1"}]
    ends = []
    for minutes in (1, 37, 24 * 60):
        app: Any = trading_app(VENUE, NOW, account=AccountConfig(balance=1e6))
        data(app, "POST", "trade/order", order("buy", 50, instId=swap["instId"], attachAlgoOrds=stop))
        for side, share in wanted:
            data(app, "POST", "trade/order", order(side, 200, px=round(last * share, 1), **swap))
        for _ in range(0, 6 * 60 if minutes == 1 else 24 * 60, minutes):
            app.clock.advance(minutes * 60_000)
            data(app, "GET", "account/positions")
        app.clock.advance(NOW + 25 * HOUR_MS - app.clock())
        ends.append([data(app, "GET", path) for path in ("account/balance", "account/bills", "trade/fills")])
    assert ends[0] == ends[1] == ends[2]
    assert len(ends[0][2]) > 3
