"""The universe: the largest coins of their own that trade as swaps, whoever ranks them, and no key in any message."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.rankings import COINGECKO_KEY, COINMARKETCAP_KEY, ranking
from butterquant_assets.market.collector.universe import Ranked, choose, is_stablecoin, is_wrapped
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_tests.market.collector.collecting import DAY_MS, RealNames, bars, day_before, desk
from butterquant_tests.market.collector.ranking_service import COINGECKO, COINMARKETCAP, ranking_service

CONFIG = CryptoConfig()
FREE = [
    Ranked("BTC", "Bitcoin", 1.9e12, 95_000, 1.2),
    Ranked("XRP", "XRP", 1.3e11, 1.0, 2.3),
    Ranked("SOL", "Solana", 1.1e11, 210, -3.0),
    Ranked("STETH", "Lido Staked Ether", 3e10, 3_400, 1.0),
    Ranked("ETH", "Ethereum", 4e11, 3_400, 1.0),
    Ranked("STX", "Stacks", 2e9, 1.9, 1.0),
    Ranked("W", "Wormhole", 5e8, 0.2, 1.0),
]
PEGGED = [
    Ranked("USDT", "Tether", 1.4e11, 1.0, 0.01),
    Ranked("DAI", "Dai", 5e9, 1.0, 0.0),
    Ranked("USDE", "Ethena USDe", 5e9, 0.999, 0.02),
    Ranked("EURC", "EURC", 2e8, 1.08, 0.3),
    Ranked("BUIDL", "BlackRock Fund", 6e8, 1.0, 0.0),
]
PRICES = {one.symbol: one.price_usd for one in FREE}


def test_pegged_coins_are_known_by_name_or_by_standing_still() -> None:
    assert all(is_stablecoin(one) for one in PEGGED)
    assert not any(is_stablecoin(one) for one in FREE)
    assert not is_stablecoin(Ranked("NEW", "New", 1e9))


@pytest.mark.parametrize(
    ("symbol", "name", "price", "expected"),
    [
        ("AUDIO", "Audius", 0.06, False),
        ("NEUR", "Neur.sh", 0.002, False),
        ("CNYES", "Crypto news", 0.4, False),
        ("ENTRY", "Entry", 0.4, False),
        ("USDUC", "unstable coin", 0.02, False),
        ("EURC", "EURC", 1.08, True),
        ("AEUR", "Anchored Coins", 1.08, True),
        ("EURCV", "EUR CoinVertible", 1.08, True),
        ("TRYB", "BiLira", 0.03, True),
        ("XSGD", "StraitsX", 0.77, True),
        ("FDUSD", "First Digital", 0.998, True),
        ("SUSDS", "sUSDS", 1.07, True),
        ("USDX", "Never priced", float("nan"), True),
    ],
)
def test_a_currency_inside_another_word_is_no_peg(symbol: str, name: str, price: float, expected: bool) -> None:
    assert is_stablecoin(Ranked(symbol, name, 1e9, price, 3.0)) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Ranked("WBTC", "Wrapped Bitcoin", 1e10, 95_000), True),
        (Ranked("CBBTC", "Coinbase BTC", 1e9, 95_100), True),
        (Ranked("WSOL", "Something", 1e9, 209), True),
        (Ranked("STETH", "Lido Staked Ether", 3e10, 3_400), True),
        (Ranked("WIF", "dogwifhat", 2e9, 2.0), False),
        (Ranked("STX", "Stacks", 2e9, 1.9), False),
        (Ranked("W", "Wormhole", 5e8, 0.2), False),
    ],
)
def test_wrapped_coins_are_known_by_name_or_by_their_twin(one: Ranked, expected: bool) -> None:
    assert is_wrapped(one, PRICES) == expected


def test_the_largest_that_are_listed_are_chosen_in_order() -> None:
    twin = Ranked("SOL", "Not Solana", 1e6, 0.1, 0.0)
    listed = {"BTC", "ETH", "SOL", "XRP", "USDT", "STETH"}
    found = choose([*PEGGED, twin, *FREE], listed, 3)
    assert [(one.coin, one.market_cap_usd) for one in found] == [("BTC", 1.9e12), ("ETH", 4e11), ("XRP", 1.3e11)]
    assert [one.coin for one in choose(FREE, listed, 50)] == ["BTC", "ETH", "XRP", "SOL"]


def test_both_services_are_read_alike_and_keys_travel_in_headers_only() -> None:
    with ranking_service() as service:
        config = service.config()
        keys = {COINGECKO_KEY: "gecko-secret", COINMARKETCAP_KEY: "cap-secret"}
        who, found, problems = ranking(config, keys, service.client)
        assert (who, problems) == ("coingecko", [])
        assert [one.symbol for one in found] == ["BTC", "USDT", "ETH"]
        assert service.seen[-1]["x-cg-demo-api-key"] == "gecko-secret"
        service.broken.add(COINGECKO)
        who, again, problems = ranking(config, keys, service.client)
        assert who == "coinmarketcap"
        assert repr(again) == repr(found)
        assert service.seen[-1]["X-CMC_PRO_API_KEY"] == "cap-secret"
        (problem,) = problems
        assert "CoinGecko" in problem
        assert not any("secret" in path for path in service.paths)


def test_without_any_ranking_it_is_said_what_to_do_and_no_key_is_told() -> None:
    with ranking_service() as service:
        service.broken |= {COINGECKO, COINMARKETCAP}
        with pytest.raises(SourceError, match=f"{COINMARKETCAP_KEY} is not set") as caught:
            ranking(service.config(), {}, service.client)
        assert "BUTTERQUANT_CRYPTO__SYMBOLS" in str(caught.value)
        service.refusing.add(COINMARKETCAP)
        with pytest.raises(SourceError, match=r"401.*renew it") as caught:
            ranking(service.config(), {COINMARKETCAP_KEY: "cap-secret"}, service.client)
        assert "secret" not in str(caught.value)


def test_a_coin_that_enters_gets_its_history_and_one_that_leaves_is_followed_on(tmp_path: Path) -> None:
    with ranking_service() as service, desk(tmp_path, venue=RealNames()) as one:
        options = {"coingecko_url": f"{service.url}/{COINGECKO}", "universe": 3, "ranking_client": service.client}
        options |= {"datasets": ("crypto_bars",), "start": day_before(1)}
        service.coins = ranked("btc", "eth", "c03")
        assert one.collect(**options).coins == ("BTC", "C03", "ETH")
        asked = len(service.paths)
        one.collect(**options)
        assert len(service.paths) == asked

        one.clock.advance(DAY_MS)
        service.coins = ranked("c04", "btc", "eth", "c03")
        report = one.collect(**options)
        assert report.coins == ("BTC", "C03", "C04", "ETH")
        assert report.incomplete_days == 0
        assert bars(one.store)["coin"].value_counts().nunique() == 1
        rows = bars(one.store, "crypto_universe")
        told = {day: list(mine["coin"]) for day, mine in rows.sort_values("rank").groupby(rows["day"].dt.day)}
        assert list(told.values()) == [["BTC", "ETH", "C03"], ["C04", "BTC", "ETH"]]
        assert rows.groupby("day")["as_of_known"].first().all()
        assert set(rows["chosen_by"]) == {"coingecko"}

        one.clock.advance(DAY_MS)
        service.broken.add(COINGECKO)
        report = one.collect(**options)
        assert any("the ranking of" in problem and "is used" in problem for problem in report.problems)
        last = bars(one.store, "crypto_universe").query("day == day.max()")
        assert list(last.sort_values("rank")["coin"]) == ["C04", "BTC", "ETH"]
        assert not last["as_of_known"].any()


def test_coins_named_for_one_collection_are_never_the_ranking_of_the_day(tmp_path: Path) -> None:
    with ranking_service() as service, desk(tmp_path, venue=RealNames()) as one:
        options = {"coingecko_url": f"{service.url}/{COINGECKO}", "universe": 3, "ranking_client": service.client}
        options |= {"datasets": ("leverage_tiers",)}
        service.coins = ranked("btc", "eth", "c03")
        one.collect(**options, symbols=("BTC", "C05"))
        assert set(bars(one.store, "crypto_universe")["chosen_by"]) == {"configured"}
        service.broken.add(COINGECKO)
        with pytest.raises(SourceError, match="CoinGecko"):
            one.collect(**options)
        service.broken.clear()
        one.collect(**options)
        ranking_of_today = bars(one.store, "crypto_universe")
        assert list(ranking_of_today.sort_values("rank")["coin"]) == ["BTC", "ETH", "C03"]
        assert set(ranking_of_today["chosen_by"]) == {"coingecko"}
        before = set(bars(one.store, "instruments")["coin"])

        assert one.collect(**options, symbols=("BTC",)).coins == ("BTC",)
        assert bars(one.store, "crypto_universe").equals(ranking_of_today)
        assert set(bars(one.store, "instruments")["coin"]) == before

        one.clock.advance(DAY_MS)
        one.collect(**options, symbols=("BTC",))
        service.broken.add(COINGECKO)
        report = one.collect(**options)
        assert any(f"the ranking of {day_before(0)} is used" in problem for problem in report.problems)


def test_without_a_ranking_at_the_first_start_nothing_is_collected(tmp_path: Path) -> None:
    with ranking_service() as service, desk(tmp_path, venue=RealNames()) as one:
        service.broken.add(COINGECKO)
        with pytest.raises(SourceError, match=r"CoinGecko: .* is not set"):
            one.collect(coingecko_url=f"{service.url}/{COINGECKO}", ranking_client=service.client)
        assert one.store.days("crypto_bars") == ()


def ranked(*symbols: str) -> tuple[tuple[str, str, float, float, float], ...]:
    return tuple(
        (symbol, f"Coin {symbol}", 1e12 / (place + 1), 7.0 + place, 3.0) for place, symbol in enumerate(symbols)
    )
