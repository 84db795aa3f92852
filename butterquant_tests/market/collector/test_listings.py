"""A swap that rests is not one that is gone, and a day is whole when all that could be asked for is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.collector.answers import UnknownSymbolError
from butterquant_assets.market.exchange.venue import Instrument
from butterquant_tests.market.collector.collecting import DAY_MS, Lacking, bars, day_before, desk
from butterquant_tests.market.exchange.asking import HOUR_MS, NOW

TODAY = day_before(0)


class Announcing(Lacking):
    """The simulated market, some of whose coins are suspended, and of some of which the end is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.suspended: set[str] = set()
        self.ends: dict[str, int] = {}

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        return tuple(
            replace(
                one,
                state="suspend" if one.base in self.suspended else "live",
                ends=self.ends.get(one.base),
            )
            for one in super().instruments(now)
        )


def test_a_suspended_coin_is_not_called_delisted_and_is_made_up_for_later(tmp_path: Path) -> None:
    venue, options = Announcing(), {"datasets": ("crypto_bars",), "start": TODAY}
    with desk(tmp_path, venue=venue) as one:
        one.collect(**options)
        venue.suspended.add("SIMETH")
        for _ in range(3):
            one.clock.advance(HOUR_MS)
        report = one.collect(**options)
        (problem,) = report.problems
        assert "SIMETH-USDT-SWAP is listed but does not trade now (state suspend)" in problem
        assert "delisted" not in problem
        held = one.store.day("crypto_bars", TODAY)
        assert held is not None
        assert set(held.coverage.missing) == {"SIMETH"}
        with pytest.raises(UnknownSymbolError, match="does not trade now"):
            one.collect(symbols=("SIMETH",), **options)
        venue.suspended.clear()
        for _ in range(22):
            one.clock.advance(HOUR_MS)
        report = one.collect(**options)
        assert (report.problems, report.incomplete_days) == ((), 0)
        assert bars(one.store)["coin"].value_counts().nunique() == 1


@pytest.mark.parametrize(
    ("dataset", "announced"),
    [("crypto_bars", True), ("crypto_bars", False), ("funding_rates", True), ("order_books", True)],
)
def test_a_day_on_which_a_coin_is_delisted_can_be_whole(dataset: str, announced: bool, tmp_path: Path) -> None:
    venue: Any = Announcing()
    begun = (NOW // DAY_MS + 1) * DAY_MS
    day = str(np.datetime64(begun, "ms").astype("datetime64[D]"))
    if announced:
        venue.ends["SIMETH"] = begun + 8 * HOUR_MS
    with desk(tmp_path, venue=venue, now=begun + 25 * 60_000) as one:
        options: dict[str, Any] = {"datasets": (dataset,), "start": day, "symbols": ("SIMBTC", "SIMETH")}
        for hour in range(25):
            if hour == 8:
                venue.gone.add("SIMETH")
            if dataset == "order_books" or hour in (7, 8, 24):
                one.collect(**options)
            one.clock.advance(HOUR_MS)
        held = one.store.day(dataset, day)
        assert held is not None
        assert held.coverage.complete == announced
        if not announced:
            assert set(held.coverage.missing) == {"SIMETH"}
        if dataset == "crypto_bars":
            # The bar that ended with the coin could never be asked for.
            assert bars(one.store).query("coin == 'SIMETH'")["hour"].dt.hour.tolist() == list(range(7))


def test_an_end_that_is_called_off_is_forgotten(tmp_path: Path) -> None:
    venue, options = Announcing(), {"datasets": ("crypto_bars",), "start": TODAY}
    venue.ends["SIMETH"] = NOW + 2 * HOUR_MS
    with desk(tmp_path, venue=venue) as one:
        one.collect(**options)
        venue.ends.clear()
        for _ in range(24):
            one.clock.advance(HOUR_MS)
        assert one.collect(**options).incomplete_days == 0
        assert bars(one.store)["coin"].value_counts().nunique() == 1
