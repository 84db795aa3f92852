"""What has been asked for, and what is to be asked next.

How complete a day is stands in its file. Beside the files, `progress.json` remembers when each day was last asked for,
for which coins, and how often in vain, so that a gap the exchange itself has is not asked for for ever. Without it
everything is asked for again: nothing else is lost.

What belongs here: that file, and the rules of what is needed. What does not: asking (`collection.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.files import write_atomically
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, start_of

FILE = "progress.json"
FORMAT = 1

SETTLE_MS = 6 * HOUR_MS
"""A day is asked for until this long after its end: that is when corrections come."""

MOST_TRIES = 5
"""A gap that is there after so many collections is one of the exchange's own; only `full` asks for it again."""


@dataclass(frozen=True)
class Asked:
    """When and for whom a day was asked.

    Parameters
    ----------
    at
        exchange's time, ms
    tries
        collections since the day was settled that left something missing
    coins
        ascending
    """

    at: int
    tries: int
    coins: tuple[str, ...]


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
    again = frozenset(gaps) if 0 < asked.tries < MOST_TRIES else frozenset()
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
        if self._path.exists():
            self._load()

    def of(self, dataset: str, day: str) -> Asked | None:
        """What is remembered of a day."""
        return self._asked.get(dataset, {}).get(day)

    def note(self, dataset: str, day: str, coins: Iterable[str], at: int, *, missing: bool) -> None:
        """Remember that a day was asked for just now."""
        before = self.of(dataset, day)
        tries = (before.tries if before else 0) + 1 if missing and is_settled(day, at) else 0
        # Who was asked for before the day was settled was not asked for all of it.
        known = frozenset(before.coins if before and is_settled(day, before.at) else ())
        self._asked.setdefault(dataset, {})[day] = Asked(at, tries, tuple(sorted(known | frozenset(coins))))

    def save(self) -> None:
        """Write the file."""
        groups: dict[tuple[str, ...], int] = {}
        days = {
            dataset: {
                day: [asked.at, asked.tries, groups.setdefault(asked.coins, len(groups))]
                for day, asked in sorted(entries.items())
            }
            for dataset, entries in sorted(self._asked.items())
        }
        document = {"format": FORMAT, "coins": [list(coins) for coins in groups], "days": days}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, (json.dumps(document, sort_keys=True) + "\n").encode())

    def _load(self) -> None:
        try:
            document = json.loads(self._path.read_text())
            if document["format"] != FORMAT:
                raise SourceError(
                    f"{self._path} has format {document['format']}, expected {FORMAT}: use the version that wrote it, "
                    "or delete it: everything is asked for again then"
                )
            groups = [tuple(map(str, coins)) for coins in document["coins"]]
            self._asked = {
                dataset: {day: Asked(int(at), int(tries), groups[place]) for day, (at, tries, place) in entries.items()}
                for dataset, entries in document["days"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise SourceError(
                f"{self._path} cannot be read ({type(error).__name__}: {error}), expected the collector's memory: "
                "delete it, and everything is asked for again; stored rows stay"
            ) from error
