"""A position belongs to the tier of its contracts, and the endpoint shows the same table."""

from __future__ import annotations

import json

import pytest

from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.tiers import Tier, tier_for, tiers_of
from butterquant_tests.market.exchange.asking import NOW, exchange, rows
from butterquant_tests.shared_data import reference_dir


def test_tiers_are_looked_up_as_published() -> None:
    known = json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())["okx_tier_lookup"]
    assert len(known["cases"]) == 6
    for coin, contracts, maintenance in known["cases"]:
        table = tuple(
            Tier(number, least, most, rate, leverage)
            for number, (least, most, rate, leverage) in enumerate(known[coin], start=1)
        )
        assert tier_for(table, contracts).maintenance == maintenance


def test_a_size_between_two_tiers_belongs_to_the_higher() -> None:
    table = (Tier(1, 0, 2000, 0.01, 75), Tier(2, 2001, 4000, 0.015, 50))
    assert tier_for(table, 2000.0).number == 1
    assert tier_for(table, 2000.1).number == 2


def test_beyond_the_last_tier_there_is_none() -> None:
    table = tiers_of(exchange().venue.instruments(NOW)[0])
    assert tier_for(table, table[-1].most).number == len(table)
    with pytest.raises(OkxError, match="51004"):
        tier_for(table, table[-1].most + 1)


def test_the_endpoint_tells_the_tiers_positions_are_judged_by() -> None:
    app = exchange()
    one = app.venue.instruments(NOW)[0]
    told = rows(app, "public/position-tiers", instType="SWAP", tdMode="isolated", instFamily=one.family)
    assert [(float(row["minSz"]), float(row["maxSz"]), float(row["mmr"]), float(row["maxLever"])) for row in told] == [
        (tier.least, tier.most, tier.maintenance, tier.leverage) for tier in tiers_of(one)
    ]
