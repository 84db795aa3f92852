"""Contracts of the crypto market tables: what every crypto source must deliver, whatever it read.

Times are naive UTC. A bar is named by its open; `coin` is the base currency (BTC), sizes are in coins, prices in USDT.
A missing hour has no row; `market/crypto_rejects` names it.

What belongs here: columns, units, ranges and row rules. What does not: how a source gets there (`crypto_sources/`) and
what is thrown out or flagged on the way (`crypto_cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.market.schemas import ACTIONS, brackets, empty_rows

_TIMESTAMP = "datetime64[us]"
_INFINITY = float("inf")
_PRICES = ("open", "high", "low", "close")

BOOK_LEVELS = 20


def _text(description: str, one_of: Iterable[str] | None = None, *, nullable: bool = False) -> pa.Column:
    checks = [pa.Check.isin(list(one_of))] if one_of is not None else [pa.Check.str_length(min_value=1)]
    return pa.Column("str", checks, nullable=nullable, description=description)


def _coin() -> pa.Column:
    return _text("base currency of the perpetual swap, settled in USDT; SIM... is simulated")


def _time(description: str, *, nullable: bool = False) -> pa.Column:
    return pa.Column(_TIMESTAMP, nullable=nullable, description=description)


def _flag(description: str) -> pa.Column:
    return pa.Column("bool", description=description)


def _whole(description: str, unit: str, low: int = 0) -> pa.Column:
    return pa.Column("int64", pa.Check.ge(low), description=description, metadata={"unit": unit})


def _float(description: str, unit: str, checks: Iterable[pa.Check] = (), *, nullable: bool = False) -> pa.Column:
    finite = [pa.Check.gt(-_INFINITY), pa.Check.lt(_INFINITY)]
    return pa.Column("float64", [*checks, *finite], nullable=nullable, description=description, metadata={"unit": unit})


def _positive(description: str, unit: str = "USDT", *, nullable: bool = False) -> pa.Column:
    return _float(description, unit, [pa.Check.gt(0)], nullable=nullable)


def _amount(description: str, unit: str = "coins", *, nullable: bool = False) -> pa.Column:
    return _float(description, unit, [pa.Check.ge(0)], nullable=nullable)


def _share(description: str) -> pa.Column:
    return _float(description, "fraction", [pa.Check.gt(0), pa.Check.le(1)])


def _schema(columns: dict[str, pa.Column], description: str | None = None) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True, ordered=True, description=description)


def _on(column: str, step: str) -> Rule:
    def holds(frame: pd.DataFrame) -> pd.Series:
        return pd.Series(frame[column] == frame[column].dt.floor(step), index=frame.index)

    words = {"h": "hour", "min": "minute", "D": "day"}
    return Rule("on_the_clock", f"{column} is the start of a full UTC {words[step]}", holds)


_BRACKET = Rule("ohlc_bracket", "low <= open, close <= high (relative tolerance 1e-6, float32 files)", brackets)
_HOURS = _on("hour", "h")
_DAYS = _on("day", "D")


def _hour(description: str = "start of the hour, UTC") -> pa.Column:
    return _time(description)


def _ohlc(kind: str) -> dict[str, pa.Column]:
    words = {"open": "first", "high": "highest", "low": "lowest", "close": "last"}
    return {name: _positive(f"{word} {kind}") for name, word in words.items()}


def _traded() -> dict[str, pa.Column]:
    return _ohlc("traded price") | {
        "volume": _amount("traded"),
        "quote_volume_usd": _amount("value traded; missing where the source has none", "USD", nullable=True),
        "outage": _flag("nothing was traded and the price stood still: no price was found, whatever the bar says"),
    }


CRYPTO_BARS = Contract(
    table="market/crypto_bars",
    schema=_schema(
        {"hour": _hour("open of the bar, UTC"), "coin": _coin()}
        | _traded()
        | {
            "suspect": _flag("contradicted by what was known at its close, so not to be believed; see crypto_rejects"),
            "suspect_later": _flag("contradicted by the open of the next bar alone, which nobody knew at its close"),
        }
    ),
    keys=("hour", "coin"),
    time="hour",
    rules=(_BRACKET, _HOURS),
)

CRYPTO_MINUTE_BARS = Contract(
    table="market/crypto_minute_bars",
    schema=_schema({"minute": _time("open of the bar, UTC"), "coin": _coin()} | _traded()),
    keys=("minute", "coin"),
    time="minute",
    rules=(_BRACKET, _on("minute", "min")),
)

MARK_PRICES = Contract(
    table="market/mark_prices",
    schema=_schema({"hour": _hour("open of the bar, UTC"), "coin": _coin()} | _ohlc("mark price")),
    keys=("hour", "coin"),
    time="hour",
    rules=(_BRACKET, _HOURS),
)

INDEX_PRICES = Contract(
    table="market/index_prices",
    schema=_schema({"hour": _hour("open of the bar, UTC"), "coin": _coin()} | _ohlc("price of the spot index")),
    keys=("hour", "coin"),
    time="hour",
    rules=(_BRACKET, _HOURS),
)

FUNDING_RATES = Contract(
    table="market/funding_rates",
    schema=_schema(
        {
            "settled_at": _time("when it was settled, UTC; not always a full hour"),
            "coin": _coin(),
            "funding_rate": _float(
                "realised rate, of the position's value, for the interval that ended; longs pay what is positive",
                "fraction",
                [pa.Check.gt(-1), pa.Check.lt(1)],
            ),
            "interval_hours": _positive(
                "hours since the settlement before; missing where that is not known", "hours", nullable=True
            ),
            "mark_price": _positive("mark price at the settlement; missing where not recorded", nullable=True),
        }
    ),
    keys=("settled_at", "coin"),
    time="settled_at",
)

OPEN_INTEREST = Contract(
    table="market/open_interest",
    schema=_schema(
        {
            "hour": _hour("hour at whose END the value stood, UTC"),
            "coin": _coin(),
            "open_interest": _amount("open contracts, in coins"),
            "open_interest_usd": _amount("their value; missing where the source has none", "USD", nullable=True),
        }
    ),
    keys=("hour", "coin"),
    time="hour",
    rules=(_HOURS,),
)

TAKER_VOLUME = Contract(
    table="market/taker_volume",
    schema=_schema(
        {
            "hour": _hour(),
            "coin": _coin(),
            "buy_volume": _amount("bought by takers in the hour"),
            "sell_volume": _amount("sold by takers in the hour"),
        }
    ),
    keys=("hour", "coin"),
    time="hour",
    rules=(_HOURS,),
)


def _not_crossed(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(frame["best_bid"] < frame["best_ask"], index=frame.index)


ORDER_BOOKS = Contract(
    table="market/order_books",
    schema=_schema(
        {
            "taken_at": _time("when the snapshot was taken, UTC"),
            "coin": _coin(),
            "best_bid": _positive("best bid"),
            "best_ask": _positive("best ask"),
            "spread_bps": _positive("best ask less best bid, over their mean", "bps"),
            "bid_depth_10bp_usd": _amount(
                "bids within 10 bp of the mean of both best prices; missing where the book seen ends before",
                "USD",
                nullable=True,
            ),
            "ask_depth_10bp_usd": _amount(
                "asks within 10 bp of the mean of both best prices; missing where the book seen ends before",
                "USD",
                nullable=True,
            ),
            "imbalance": _float(
                "(bid size - ask size) / (bid size + ask size) over all levels kept",
                "fraction",
                [pa.Check.ge(-1), pa.Check.le(1)],
            ),
            "levels": pa.Column(
                "int64",
                [pa.Check.ge(1), pa.Check.le(BOOK_LEVELS)],
                description="levels of the shorter side",
                metadata={"unit": "levels"},
            ),
        }
    ),
    keys=("taken_at", "coin"),
    time="taken_at",
    rules=(Rule("not_crossed", "best bid < best ask", _not_crossed),),
)

ORDER_BOOK_LEVELS = Contract(
    table="market/order_book_levels",
    schema=_schema(
        {
            "taken_at": _time("when the snapshot was taken, UTC"),
            "coin": _coin(),
            "side": _text("side of the book", ("bid", "ask")),
            "level": pa.Column(
                "int64",
                [pa.Check.ge(1), pa.Check.le(BOOK_LEVELS)],
                description="1 is the best price",
                metadata={"unit": "levels"},
            ),
            "price": _positive("price of the level"),
            "size": _positive("resting there", "coins"),
        }
    ),
    keys=("taken_at", "coin", "side", "level"),
    time="taken_at",
)


def _large_within_all(frame: pd.DataFrame) -> pd.Series:
    slack = 1e-9 * (frame["buy_volume"] + frame["sell_volume"])
    return pd.Series(
        (frame["large_trades"] <= frame["trades"])
        & (frame["large_buy_volume"] <= frame["buy_volume"] + slack)
        & (frame["large_sell_volume"] <= frame["sell_volume"] + slack),
        index=frame.index,
    )


TRADE_FLOW = Contract(
    table="market/trade_flow",
    schema=_schema(
        {
            "hour": _hour("hour whose every trade was seen, UTC"),
            "coin": _coin(),
            "buy_volume": _amount("bought by takers"),
            "sell_volume": _amount("sold by takers"),
            "trades": _whole("trades", "trades"),
            "large_trades": _whole("trades of at least large_from_usd", "trades"),
            "large_buy_volume": _amount("bought by takers in large trades"),
            "large_sell_volume": _amount("sold by takers in large trades"),
            "large_from_usd": _amount("value from which a trade counts as large", "USD"),
        }
    ),
    keys=("hour", "coin"),
    time="hour",
    rules=(_HOURS, Rule("large_within_all", "large trades are some of all trades", _large_within_all)),
)

INSTRUMENTS = Contract(
    table="market/instruments",
    schema=_schema(
        {
            "day": _time("UTC day on which the exchange said so"),
            "coin": _coin(),
            "inst_id": _text("the exchange's identifier"),
            "contract_value": _positive("coins in one contract", "coins"),
            "tick_size": _positive("smallest price step"),
            "lot_size": _positive("smallest size", "contracts"),
            "max_leverage": _positive("highest leverage offered", "times"),
            "listed_at": _time("when it was listed, UTC; missing where not said", nullable=True),
            "state": _text("live, suspend, preopen, ..., as the exchange says"),
        }
    ),
    keys=("day", "coin"),
    time="day",
    rules=(_DAYS,),
)


def _ascending_sizes(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(frame["min_contracts"] <= frame["max_contracts"], index=frame.index)


LEVERAGE_TIERS = Contract(
    table="market/leverage_tiers",
    schema=_schema(
        {
            "day": _time("UTC day on which the exchange said so"),
            "coin": _coin(),
            "tier": _whole("1 is the smallest position", "tiers", 1),
            "min_contracts": _amount("smallest position of the tier", "contracts"),
            "max_contracts": _positive("largest position of the tier", "contracts"),
            "maintenance_margin_rate": _share("margin below which a position is closed, of its value"),
            "initial_margin_rate": _share("margin needed to open, of the position's value"),
            "max_leverage": _positive("highest leverage in the tier", "times"),
        },
        "Leverage tiers of isolated margin, versioned by day.",
    ),
    keys=("day", "coin", "tier"),
    time="day",
    rules=(_DAYS, Rule("ascending_sizes", "min_contracts <= max_contracts", _ascending_sizes)),
)

CHOSEN_BY = ("coingecko", "coinmarketcap", "configured", "recording", "simulation")

CRYPTO_UNIVERSE = Contract(
    table="market/crypto_universe",
    schema=_schema(
        {
            "day": _time("UTC day the coin belonged to the universe"),
            "coin": _coin(),
            "rank": _whole("1 is the largest", "rank", 1),
            "market_cap_usd": _positive("what it was ranked by; missing where not known", "USD", nullable=True),
            "chosen_by": _text("who ranked: a service, the recording's maker, the simulation", CHOSEN_BY),
            "as_of_known": _flag("True: ranked with what was known that day; False: by another day, survivors' bias"),
        }
    ),
    keys=("day", "coin"),
    time="day",
    rules=(_DAYS,),
)

CRYPTO_REJECTS = Contract(
    table="market/crypto_rejects",
    schema=_schema(
        {
            "dataset": _text("dataset the row was meant for"),
            "at": _time("stamp of the row, or of the missing one, UTC"),
            "coin": pa.Column("str", description="coin the row carries"),
            "reason": _text("which rule the row breaks"),
            "value": pa.Column("str", description="what was found and what was expected"),
            "action": _text(
                "rejected: the row is left out; blanked: its impossible fields were set to missing; noted: it stays "
                "(suspect, at once or later), or never came (missing_hour), and a reader should know",
                ACTIONS,
            ),
        }
    ),
    keys=("at", "coin", "dataset", "reason", "value"),
    time="at",
)

DELIVERED = {
    contract.table.split("/")[1]: contract
    for contract in (
        CRYPTO_BARS,
        CRYPTO_MINUTE_BARS,
        MARK_PRICES,
        INDEX_PRICES,
        FUNDING_RATES,
        OPEN_INTEREST,
        TAKER_VOLUME,
        ORDER_BOOKS,
        ORDER_BOOK_LEVELS,
        TRADE_FLOW,
        INSTRUMENTS,
        LEVERAGE_TIERS,
        CRYPTO_UNIVERSE,
    )
}
"""Contract of each dataset a crypto source delivers; `crypto_rejects` is what was refused or noted of them."""

FLAGS = {"crypto_bars": ("outage", "suspect", "suspect_later"), "crypto_minute_bars": ("outage",)}
"""Columns that cleaning adds, so that raw rows lack them."""


def raw_columns(dataset: str) -> list[str]:
    """Columns of a dataset before cleaning: those of its contract without the flags."""
    return [name for name in DELIVERED[dataset].columns if name not in FLAGS.get(dataset, ())]


def no_rows(contract: Contract) -> pd.DataFrame:
    """A frame without rows in the stored types of `contract`; asked for so often that it is made once."""
    if contract.table not in _EMPTY:
        _EMPTY[contract.table] = empty_rows(contract)
    return _EMPTY[contract.table].copy(deep=False)


_EMPTY: dict[str, pd.DataFrame] = {}
