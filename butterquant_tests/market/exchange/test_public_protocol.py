"""Pages, bars, funding, interest and trades as OKX serves them."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, MINUTE_MS, NOW, START, SWAP, ask, exchange, rows

OPEN_HOUR = NOW // HOUR_MS * HOUR_MS


def test_candles_come_newest_first_and_only_the_open_one_is_unconfirmed() -> None:
    found = rows(exchange(), "market/candles", instId=SWAP, bar="1H")
    stamps = [int(row[0]) for row in found]
    assert stamps == list(range(OPEN_HOUR, OPEN_HOUR - 100 * HOUR_MS, -HOUR_MS))
    assert [row[8] for row in found] == ["0"] + ["1"] * 99


def test_closed_candles_are_the_bars_of_the_market() -> None:
    found = rows(exchange(), "market/candles", instId=SWAP, bar="1H", limit=50)[1:]
    hours = MARKET.hours(OPEN_HOUR // HOUR_MS - 49, OPEN_HOUR // HOUR_MS)
    value = float(MARKET.traits.contract_value[0])
    for row, hour in zip(found, reversed(range(49)), strict=True):
        told = [float(cell) for cell in row[1:6]]
        assert told == [getattr(hours, name)[hour, 0] for name in ("open", "high", "low", "close", "volume")]
        assert float(row[6]) == pytest.approx(told[4] * value, rel=1e-12)
        assert told[2] <= float(row[7]) / max(float(row[6]), 1e-12) <= told[1] or told[4] == 0


def test_after_and_before_are_exclusive() -> None:
    found = rows(
        exchange(), "market/candles", instId=SWAP, bar="1H", before=OPEN_HOUR - 5 * HOUR_MS, after=OPEN_HOUR - HOUR_MS
    )
    assert [int(row[0]) for row in found] == [OPEN_HOUR - step * HOUR_MS for step in (2, 3, 4)]


def test_a_window_wider_than_the_page_yields_its_newest_rows() -> None:
    found = rows(exchange(), "market/history-candles", instId=SWAP, bar="1H", before=START - 1, after=NOW, limit=10)
    assert [int(row[0]) for row in found] == [OPEN_HOUR - step * HOUR_MS for step in range(10)]


@pytest.mark.parametrize(
    ("path", "most"), [("candles", 300), ("history-candles", 300), ("mark-price-candles", 100), ("index-candles", 100)]
)
def test_a_page_holds_no_more_than_the_most(path: str, most: int) -> None:
    inst = "SIMBTC-USDT" if path == "index-candles" else SWAP
    assert len(rows(exchange(), f"market/{path}", instId=inst, bar="1H", limit=1000)) == most


def test_paging_backwards_reaches_the_first_bar_without_loss() -> None:
    app, stamps, after = exchange(), [], NOW
    while page := rows(app, "market/history-candles", instId=SWAP, bar="1H", after=after, limit=300):
        stamps += [int(row[0]) for row in page]
        after = stamps[-1]
    assert stamps == list(range(OPEN_HOUR, START - 1, -HOUR_MS))


def test_recent_candles_end_after_1440_bars_and_history_does_not() -> None:
    app, old = exchange(), OPEN_HOUR - 1_440 * HOUR_MS
    assert rows(app, "market/candles", instId=SWAP, bar="1H", after=old + 1) == []
    assert int(rows(app, "market/history-candles", instId=SWAP, bar="1H", after=old + 1)[0][0]) == old


def test_the_open_bar_says_nothing_of_what_is_to_come() -> None:
    clock = SteppedClock(OPEN_HOUR)
    app = exchange()
    app.clock = clock
    seen = []
    for _ in range(12):
        clock.advance(5 * MINUTE_MS - 1)
        seen.append([float(cell) for cell in rows(app, "market/candles", instId=SWAP, bar="1H", limit=1)[0][1:6]])
        clock.advance(1)
    final = [float(cell) for cell in rows(app, "market/candles", instId=SWAP, bar="1H", limit=2)[1][1:6]]
    highs, lows, closes, volumes = (np.array([row[field] for row in seen]) for field in (1, 2, 3, 4))
    assert (np.diff(highs) >= 0).all()
    assert (np.diff(lows) <= 0).all()
    assert (np.diff(volumes) > 0).all()
    assert len(set(closes)) > 6
    assert volumes[0] < 0.3 * final[4]
    assert seen[-1] == final


@pytest.mark.parametrize("bar", ["1m", "5m", "30m"])
def test_small_bars_add_up_to_the_hour(bar: str) -> None:
    count = 60 // int(bar[:-1])
    small = rows(exchange(), "market/history-candles", instId=SWAP, bar=bar, after=OPEN_HOUR, limit=count)[::-1]
    large = rows(exchange(), "market/history-candles", instId=SWAP, bar="1H", after=OPEN_HOUR, limit=1)[0]
    figures = np.array([[float(cell) for cell in row[1:6]] for row in small])
    assert len(small) == count
    assert [figures[0, 0], figures[:, 1].max(), figures[:, 2].min(), figures[-1, 3]] == [float(c) for c in large[1:5]]
    assert figures[:, 4].sum() == pytest.approx(float(large[5]), abs=0.01)


def test_days_open_at_16_utc_unless_asked_for_in_utc() -> None:
    hong_kong = rows(exchange(), "market/history-candles", instId=SWAP, bar="1D", limit=2)
    utc = rows(exchange(), "market/history-candles", instId=SWAP, bar="1Dutc", limit=2)
    assert [int(row[0]) // HOUR_MS % 24 for row in (*hong_kong, *utc)] == [16, 16, 0, 0]
    hours = MARKET.hours(int(utc[1][0]) // HOUR_MS, int(utc[1][0]) // HOUR_MS + 24)
    assert float(utc[1][2]) == hours.high[:, 0].max()
    assert float(utc[1][5]) == pytest.approx(hours.volume[:, 0].sum())


def test_funding_history_has_true_times_and_reaches_three_months_back() -> None:
    found = rows(exchange(), "public/funding-rate-history", instId=SWAP)
    times = [int(row["fundingTime"]) for row in found]
    assert times == list(range(OPEN_HOUR - 5 * HOUR_MS, NOW - 92 * 24 * HOUR_MS, -8 * HOUR_MS))
    first, last = rows(exchange(), "public/funding-rate-history", instId=SWAP, before=times[3], limit=2)
    assert [int(first["fundingTime"]), int(last["fundingTime"])] == times[:2]


def test_the_next_settlement_is_told_from_closed_hours_only() -> None:
    settled = OPEN_HOUR + 3 * HOUR_MS
    for lead in range(1, 9):
        (ahead,) = rows(exchange(settled - lead * HOUR_MS), "public/funding-rate", instId=SWAP)
        assert int(ahead["fundingTime"]) == settled
        premium = MARKET.hours(settled // HOUR_MS - lead - 1, settled // HOUR_MS - lead).premium[0, 0]
        assert float(ahead["premium"]) == pytest.approx(premium, abs=1e-9)


def test_open_interest_and_taker_volume_are_the_markets() -> None:
    interest = rows(exchange(), "rubik/stat/contracts/open-interest-history", instId=SWAP, period="1H", limit=3)
    taker = rows(exchange(), "rubik/stat/taker-volume-contract", instId=SWAP, period="1H", limit=3)
    hours = MARKET.hours(OPEN_HOUR // HOUR_MS - 3, OPEN_HOUR // HOUR_MS)
    assert [int(row[0]) for row in interest] == [OPEN_HOUR - step * HOUR_MS for step in range(3)]
    # Stamped with the opening of the hour at whose end it stood; that of the open hour is the one known now.
    assert [float(row[1]) for row in interest[1:]] == list(hours.open_interest[:0:-1, 0])
    assert interest[0][1] == interest[1][1]
    assert [int(row[0]) for row in taker] == [OPEN_HOUR - step * HOUR_MS for step in (1, 2, 3)]
    assert [float(row[2]) for row in taker] == list(hours.taker_buy[::-1, 0])
    assert [float(row[1]) + float(row[2]) for row in taker] == pytest.approx(hours.volume[::-1, 0])


def test_statistics_are_kept_for_1440_periods_only() -> None:
    for path in ("contracts/open-interest-history", "taker-volume-contract"):
        end = OPEN_HOUR - 1_400 * HOUR_MS
        found = rows(exchange(), f"rubik/stat/{path}", instId=SWAP, period="1H", end=end)
        assert 38 <= len(found) <= 40


def test_the_older_statistic_is_in_coins() -> None:
    old = rows(exchange(), "rubik/stat/taker-volume", ccy="SIMBTC", instType="CONTRACTS", period="1H")
    new = rows(exchange(), "rubik/stat/taker-volume-contract", instId=SWAP, period="1H", unit=0)
    assert len(old) == 720
    assert old[:100] == new


def test_five_minute_taker_volumes_add_up_to_the_hour() -> None:
    small = rows(exchange(), "rubik/stat/taker-volume-contract", instId=SWAP, period="5m", end=OPEN_HOUR, limit=12)
    (large,) = rows(exchange(), "rubik/stat/taker-volume-contract", instId=SWAP, period="1H", end=OPEN_HOUR, limit=1)
    for side in (1, 2):
        assert sum(float(row[side]) for row in small) == pytest.approx(float(large[side]), abs=0.01)


def test_history_trades_page_through_an_hour_without_loss() -> None:
    app, sizes, after = exchange(), [], (OPEN_HOUR // HOUR_MS) * 1_000
    while len(sizes) < 240:
        page = rows(app, "market/history-trades", instId=SWAP, after=after)
        sizes += [float(trade["sz"]) for trade in page]
        after = int(page[-1]["tradeId"])
    hour = MARKET.hours(OPEN_HOUR // HOUR_MS - 1, OPEN_HOUR // HOUR_MS)
    assert sum(sizes[:240]) == pytest.approx(hour.volume[0, 0], abs=0.01)
    by_time = rows(app, "market/history-trades", instId=SWAP, type=2, after=OPEN_HOUR, limit=5)
    assert [float(trade["sz"]) for trade in by_time] == sizes[:5]


def test_the_newest_trades_do_not_lie_in_the_future() -> None:
    found = rows(exchange(), "market/trades", instId=SWAP, limit=500)
    times = [int(trade["ts"]) for trade in found]
    assert len(found) == 500
    assert times == sorted(times, reverse=True)
    assert times[0] <= NOW


def test_a_book_has_the_levels_asked_for_around_the_last_price() -> None:
    (book,) = rows(exchange(), "market/books", instId=SWAP, sz=20)
    (last,) = rows(exchange(), "market/ticker", instId=SWAP)
    assert len(book["asks"]) == len(book["bids"]) == 20
    assert float(book["bids"][0][0]) < float(last["last"]) < float(book["asks"][0][0])
    assert len(rows(exchange(), "market/books", instId=SWAP)[0]["asks"]) == 1


def test_tiers_must_name_the_margin_mode_and_join_without_gaps() -> None:
    tiers = rows(exchange(), "public/position-tiers", instType="SWAP", tdMode="isolated", instFamily="SIMETH-USDT")
    assert [int(tier["minSz"]) for tier in tiers[1:]] == [int(tier["maxSz"]) + 1 for tier in tiers[:-1]]
    rates = [float(tier["mmr"]) for tier in tiers]
    assert rates == sorted(rates)
    answer = ask(exchange(), "public/position-tiers", instType="SWAP", instFamily="SIMETH-USDT")
    assert answer.json()["code"] == "50014"


def test_a_coin_that_is_delisted_disappears() -> None:
    from butterquant_assets.market.crypto_simulator import CryptoMarket
    from butterquant_assets.market.crypto_state import CryptoMarketConfig
    from butterquant_assets.market.crypto_traits import FOREVER
    from butterquant_assets.market.exchange.app import ExchangeApp
    from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue

    market = CryptoMarket(CryptoMarketConfig(seed=5, coins=40))
    coin = int(np.argmin(market.traits.delisted_day))
    end = START + int(market.traits.delisted_day[coin]) * 24 * HOUR_MS
    assert market.traits.delisted_day[coin] < FOREVER
    inst = f"{market.traits.names[coin]}-USDT-SWAP"
    before = ExchangeApp(SimulatedVenue(market), SteppedClock(end - 1))
    after = ExchangeApp(SimulatedVenue(market), SteppedClock(end))
    assert len(rows(before, "market/candles", instId=inst, bar="1H")) == 100
    assert ask(after, "market/history-candles", instId=inst, bar="1H").json()["code"] == "51001"
    listed = {row["instId"] for row in rows(after, "public/instruments", instType="SWAP")}
    assert inst not in listed


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("market/candles", {"instId": "NONE-USDT-SWAP"}, "51001"),
        ("market/candles", {}, "50014"),
        ("market/candles", {"instId": SWAP, "bar": "7m"}, "51000"),
        ("market/candles", {"instId": SWAP, "limit": "many"}, "51000"),
        ("market/candles", {"instId": SWAP, "limit": "0"}, "51000"),
        ("market/candles", {"instId": SWAP, "after": "now"}, "51000"),
        ("market/mark-price-candles", {"instId": SWAP, "bar": "1m"}, "51000"),
        ("market/index-candles", {"instId": SWAP, "bar": "1H"}, "51001"),
        ("market/books", {"instId": SWAP, "sz": "401"}, "51000"),
        ("market/history-trades", {"instId": SWAP, "type": "3"}, "51000"),
        ("public/instruments", {}, "50014"),
        ("public/instruments", {"instType": "STOCK"}, "51000"),
        ("rubik/stat/taker-volume-contract", {"instId": SWAP, "period": "1m"}, "51000"),
        ("rubik/stat/taker-volume-contract", {"instId": SWAP, "unit": "9"}, "51000"),
        ("public/nothing", {}, "404"),
    ],
)
def test_wrong_questions_are_refused_by_okx_codes(path: str, query: dict[str, str], code: str) -> None:
    document = ask(exchange(), path, **query).json()
    assert (document["code"], document["data"]) == (code, [])
    assert document["msg"]


def test_requests_beyond_the_limit_are_refused_until_the_window_has_passed() -> None:
    seconds = [0.0]
    limiter = RateLimiter(lambda: seconds[0])
    app = exchange(limiter=limiter)
    assert [ask(app, "public/time").status_code for _ in range(11)] == [200] * 10 + [429]
    assert ask(app, "public/time").json()["code"] == "50011"
    assert ask(app, "system/status").status_code == 200, "each endpoint has its own window"
    seconds[0] = 2.0
    assert ask(app, "public/time").status_code == 200
    assert limiter.refused == 2


def test_funding_is_limited_per_instrument() -> None:
    app = exchange(limiter=RateLimiter(lambda: 0.0))
    for inst in (SWAP, "SIMETH-USDT-SWAP"):
        assert [ask(app, "public/funding-rate", instId=inst).status_code for _ in range(11)] == [200] * 10 + [429]


def test_the_answer_carries_the_exchanges_own_time() -> None:
    answer = ask(exchange(START), "public/time")
    assert answer.json()["data"] == [{"ts": str(START)}]
    assert answer.headers["date"] == "Sun, 01 Jan 2023 00:00:00 GMT"
