"""What has been asked for, and what is to be asked next.

How complete a day is stands in its file. Beside the files, `progress.json` remembers when each day was last asked for,
which coins the exchange answered for, and how often an answer lacked rows, so that a gap the exchange itself has is not
asked for for ever. Only answers count: what got none is asked for again however often that takes. It also remembers
when listed coins cease to trade, and from when to when those that are followed did. Without the file everything is
asked for again, and a day on which a coin was delisted is no longer known to be whole: nothing else is lost.

What belongs here: that file, and the rules of what is needed. What does not: asking (`collection.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.files import write_atomically
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, start_of
from butterquant_assets.market.collector.lives import Life

FILE = "progress.json"
FORMAT = 2
OLDER_FORMATS = (1,)
"""Took what got no answer for a gap of the exchange: such a memory is not believed, everything is asked for again."""

SETTLE_MS = 6 * HOUR_MS
"""A day is asked for until this long after its end: that is when corrections come."""

MOST_TRIES = 5
"""A gap that so many collections were answered with is one of the exchange's own; only `full` asks for it again."""


@dataclass(frozen=True)
class Asked:
    """What is remembered of a day.

    Parameters
    ----------
    at
        when it was last asked for, exchange's time, ms
    coins
        that were answered for since the day was settled, or, while it is not, the last time; ascending
    tries
        answers since the day was settled that lacked something, by coin; coins without any are left out
    """

    at: int
    coins: tuple[str, ...] = ()
    tries: Mapping[str, int] = field(default_factory=dict)

    def gives_up(self, coin: str) -> bool:
        """Whether what is missing of a coin is taken for a gap of the exchange."""
        return self.tries.get(coin, 0) >= MOST_TRIES


def is_settled(day: str, at: int) -> bool:
    """Whether what is asked for at a moment (ms) is the last that comes by itself for a day."""
    return at >= start_of(day) + DAY_MS + SETTLE_MS


def needed(
    day: str,
    wanted: Iterable[str],
    asked: Asked | None,
    gaps: Iterable[str] | None,
    *,
    full: bool = False,
) -> frozenset[str]:
    """Coins for which a day is to be asked.

    Parameters
    ----------
    day
        UTC day
    wanted
        coins that have a market on the day
    asked
        what is remembered of it; None for nothing
    gaps
        coins of which the stored day lacks something, or None where nothing is stored
    full
        ask for everything again, for late corrections
    """
    coins = frozenset(wanted)
    if full or asked is None or not is_settled(day, asked.at):
        return coins
    if gaps is None:
        return coins
    again = frozenset(coin for coin in gaps if coin in asked.tries and not asked.gives_up(coin))
    return coins & ((coins - frozenset(asked.coins)) | again)


class Progress:
    """The memory of one store.

    Parameters
    ----------
    folder
        of the store

    Raises
    ------
    SourceError
        if the file is there but cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._asked: dict[str, dict[str, Asked]] = {}
        self.ends: dict[str, int] = {}
        """When coins cease to trade, ms, as the exchange said while it listed them."""
        self.lives: dict[str, tuple[Life, ...]] = {}
        """Listings of each coin that is or was followed, oldest first."""
        if self._path.exists():
            self._load()

    def of(self, dataset: str, day: str) -> Asked | None:
        """What is remembered of a day."""
        return self._asked.get(dataset, {}).get(day)

    def life(self, coin: str, day: str) -> Life | None:
        """The listing a coin had on a UTC day, or has since."""
        known = [life for life in self.lives.get(coin, ()) if life.listed < start_of(day) + DAY_MS]
        return known[-1] if known else None

    def owing(self, day: str) -> Iterator[tuple[str, Life]]:
        """Coins that were followed and may have traded on some of a UTC day."""
        for coin, lives in sorted(self.lives.items()):
            yield from ((coin, life) for life in lives if life.owes(day))

    def unsettled(self, coin: str, datasets: Iterable[str]) -> bool:
        """Whether a coin is still to be asked for on some day on which it was asked for before.

        Parameters
        ----------
        datasets
            that are asked for until a day is settled; what is there on its own day only never is
        """
        for dataset in datasets:
            for day, asked in self._asked.get(dataset, {}).items():
                if coin in asked.coins and not is_settled(day, asked.at):
                    return True
                if coin in asked.tries and not asked.gives_up(coin):
                    return True
        return False

    def reopen(self, day: str) -> None:
        """Forget that a day was asked for."""
        for days in self._asked.values():
            days.pop(day, None)

    def note(
        self,
        dataset: str,
        day: str,
        asked: Iterable[str],
        at: int,
        *,
        answered: Iterable[str],
        lacking: Iterable[str] = (),
    ) -> None:
        """Remember that a day was asked for just now.

        Parameters
        ----------
        asked
            coins
        at
            exchange's time, ms
        answered
            coins among them for which every question got an answer
        lacking
            coins of which the day lacks something; only those that were answered for count
        """
        before, heard = self.of(dataset, day), frozenset(answered)
        # Who was asked for before the day was settled was not asked for all of it.
        settled = before is not None and is_settled(day, before.at)
        known = frozenset(before.coins) if before is not None and settled else frozenset()
        tries = dict(before.tries) if before is not None and settled else {}
        if is_settled(day, at):
            vain = heard & frozenset(lacking)
            tries = {coin: count for coin, count in tries.items() if coin not in heard - vain}
            tries |= {coin: tries.get(coin, 0) + 1 for coin in vain}
        coins = (known - frozenset(asked)) | heard
        self._asked.setdefault(dataset, {})[day] = Asked(at, tuple(sorted(coins)), tries)

    def save(self) -> None:
        """Write the file."""
        groups: dict[tuple[str, ...], int] = {}
        days = {
            dataset: {
                day: [asked.at, groups.setdefault(asked.coins, len(groups)), asked.tries]
                for day, asked in sorted(entries.items())
            }
            for dataset, entries in sorted(self._asked.items())
        }
        lives = {coin: [asdict(life) for life in several] for coin, several in self.lives.items()}
        coins = [list(several) for several in groups]
        document = {"format": FORMAT, "ends": self.ends, "lives": lives, "coins": coins, "days": days}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, (json.dumps(document, sort_keys=True) + "\n").encode())

    def _load(self) -> None:
        try:
            document = json.loads(self._path.read_text())
            if document["format"] in OLDER_FORMATS:
                return
            if document["format"] != FORMAT:
                raise SourceError(
                    f"{self._path} has format {document['format']}, expected {FORMAT}: use the version that wrote it, "
                    "or delete it: everything is asked for again then"
                )
            groups = [tuple(map(str, coins)) for coins in document["coins"]]
            self._asked = {
                dataset: {
                    day: Asked(int(at), groups[place], {str(coin): int(count) for coin, count in tries.items()})
                    for day, (at, place, tries) in entries.items()
                }
                for dataset, entries in document["days"].items()
            }
            self.ends = {str(coin): int(moment) for coin, moment in document["ends"].items()}
            # A file that was written before lives were noted has none.
            noted = document.get("lives", {})
            self.lives = {str(coin): tuple(Life(**life) for life in several) for coin, several in noted.items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise SourceError(
                f"{self._path} cannot be read ({type(error).__name__}: {error}), expected the collector's memory: "
                "delete it, and everything is asked for again; stored rows stay"
            ) from error
