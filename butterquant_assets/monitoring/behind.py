"""Data that stop coming: the newest row of a table against the newest session, or hour, that has closed. Pure.

What belongs here: how far behind is too far, and the alert it makes. What does not: reading the newest row
(`automation/feeds`), and tables that are stale against data that did come (`alerts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from butterquant_assets.foundation.calendar import session_number
from butterquant_assets.market.collect_progress import last_closed_session
from butterquant_assets.monitoring.alert_state import Known, short_identity
from butterquant_assets.monitoring.alerts import Alert, Item, Kind, Level, asset_link, fingerprint_of

Unit = Literal["session", "hour"]
SETTLE_MINUTES = 30
LONGEST_DAYS = 92
"""A table that was further behind when it was first looked at is a history that nobody means to continue."""
HOUR = np.timedelta64(1, "h")


@dataclass(frozen=True)
class Feed:
    """Tables of a house whose rows should keep coming.

    Parameters
    ----------
    assets
        ``group/name``, in the order in which one makes the next
    unit
        what closes: sessions of the exchange, or hours (UTC)
    column
        when a row's session, or hour, began
    """

    assets: tuple[str, ...]
    unit: Unit
    column: str


EQUITY_FEED = Feed(("market/equity_bars", "market/vix", "butterfly/daily_scan"), "session", "session")
CRYPTO_FEED = Feed(("market/crypto_bars",), "hour", "hour")


def newest_closed(unit: Unit, now: datetime) -> np.datetime64:
    """Begin of the newest session, or hour, that has closed at `now` (UTC).

    Raises
    ------
    ConfigError
        if `now` lies outside what the exchange calendar knows: the clock is wrong.
    """
    if unit == "session":
        return last_closed_session(now, SETTLE_MINUTES)
    return np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "h") - HOUR


def missing_since(unit: Unit, newest: np.datetime64, closed: np.datetime64) -> int:
    """How many sessions, or hours, have closed after the newest one that is held; 0 for none."""
    if unit == "hour":
        return max(0, int((closed - newest.astype("datetime64[h]")) / HOUR))
    held, last = session_number([newest, closed])
    return max(0, int(last - held))


def behind_alert(
    house: str,
    feed: Feed,
    newest: Mapping[str, np.datetime64],
    *,
    now: datetime,
    allowed: int,
    known: Mapping[str, Known],
    ui_url: str | None,
) -> Alert | None:
    """The condition that a house's data have stopped coming, with an item for each table; None while they come.

    Parameters
    ----------
    house
        its name
    feed
        tables that should keep coming
    newest
        session or hour of the newest row of each table that holds any
    now
        UTC
    allowed
        sessions or hours that may be missing
    known
        conditions that hold already, by fingerprint: a table that is told in one stays in it however long it takes
    ui_url
        address of the UI, for links
    """
    closed, identity = newest_closed(feed.unit, now), fingerprint_of(Kind.BEHIND, house)
    told = known[identity].items if identity in known else ()
    items = []
    for asset in (asset for asset in feed.assets if asset in newest):
        missing = missing_since(feed.unit, newest[asset], closed)
        history = closed - newest[asset] > np.timedelta64(LONGEST_DAYS, "D") and short_identity(asset) not in told
        if missing > allowed and not history:
            held = str(newest[asset].astype("datetime64[h]" if feed.unit == "hour" else "datetime64[D]"))
            # The line grows with every session; news is another table.
            items.append(Item(asset, f"{asset}: {missing} {feed.unit}s missing, the newest is {held}"))
    if not items:
        return None
    return Alert(
        Kind.BEHIND,
        house,
        f"no newer data although {closed} has closed (more than {allowed} {feed.unit}s are missing)",
        asset_link(ui_url, items[0].identity),
        Level.ERROR,
        identity,
        lasting=True,
        items=tuple(items),
    )
