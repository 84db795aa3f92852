"""What every source of market data is, whichever market it is of and whatever it is cut into, months or days. Pure.

What belongs here: the protocol that all of them keep. What does not: what one market adds to it (`sources.base`,
`crypto_sources.base`), and any particular source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pandas as pd


@dataclass(frozen=True)
class Delivery:
    """What a source delivered for some keys of one dataset.

    Parameters
    ----------
    rows
        cleaned rows in the columns, types and order of the dataset's contract
    rejects
        rows left out, blanked or noted, in those of the contract of the source's rejects
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame


Delivered = TypeVar("Delivered", bound=Delivery, covariant=True)


class Source(Protocol[Delivered]):
    """A source of market data: cleaned months or days on demand, and cheap fingerprints of what it holds now."""

    @property
    def name(self) -> str:
        """Name under which it is opened."""
        ...

    @property
    def simulated(self) -> bool:
        """True when its bars are invented."""
        ...

    def describe(self) -> dict[str, str | int | float]:
        """What a reader of the data should know, for metadata."""
        ...

    def span(self) -> tuple[str, str]:
        """First and last key for which everything needed is to be had."""
        ...

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        """Keys with rows or rejects of a dataset, ascending; they may lie outside `span`."""
        ...

    def fingerprints(self, dataset: str, keys: Sequence[str], /) -> dict[str, str]:
        """Content hash of what the source would deliver for each key; equal only when the delivery is."""
        ...

    def fetch(self, dataset: str, keys: Sequence[str], /) -> Delivered:
        """Rows and rejects of `keys`. A key gives the same rows whether fetched alone or with others."""
        ...
