"""Homes made in this process, asset by asset and without a run: what a test starts from, or compares with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from butterquant_assets.definitions import Settings, build_house
from butterquant_assets.foundation.calendar import shift_month
from butterquant_assets.foundation.settings import bind_home, load_settings
from butterquant_assets.orchestration.rebuild import rebuild

LOOK_BACK, LOOK_AHEAD = -26, 2


def make(home: Path, names: Collection[str], *, data: Path | None = None, start: str = "", end: str = "") -> None:
    """Bring the named assets of a home up to date; their inputs must be there or among them.

    Parameters
    ----------
    home
        bound already, or with `data`, `start` and `end` bound now
    names
        asset names
    data
        folder of the files source
    start, end
        analysis months
    """
    if data is not None:
        home.mkdir(parents=True)
        last = shift_month(end, LOOK_AHEAD)
        span = {"start": start, "end": end, "market_start": shift_month(start, LOOK_BACK), "market_end": last}
        settings = load_settings(Settings, {"home": home, "source": "files", "data_dir": data})
        bind_home(settings, {**span, "grows_to": last})
    house = build_house(load_settings(Settings, {"home": home}))
    for declaration in house.declarations:
        if not set(declaration.names) & set(names):
            continue
        node = next(node for node in house.nodes if node.name == declaration.names[0])
        rebuild(house, declaration, node.partitions())
