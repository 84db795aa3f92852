"""Reading a source that may change at any moment: what was read is what is recorded.

What belongs here: the wrapper through which a house reads its market source. What does not: any particular source.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from butterquant_assets.foundation.errors import SourceError

ATTEMPTS = 3


class Source(Protocol):
    """What the house needs of a market source."""

    def span(self) -> tuple[str, str]:
        """First and last key (month or day) for which everything needed is to be had."""

    def fingerprints(self, dataset: str, keys: Sequence[str]) -> Mapping[str, str]:
        """Content hash per key of what the source holds now."""

    def keys_held(self, dataset: str) -> Sequence[str]:
        """Keys for which the source has rows of a dataset."""

    def fetch(self, dataset: str, keys: Sequence[str]) -> Any:
        """Rows and rejects of those keys."""

    def describe(self) -> Mapping[str, Any]:
        """What it is, for metadata."""


class RecordingSource:
    """A source whose reads correct the fingerprints that a decision was made on.

    Between the look that found a partition stale and the read that rebuilds it, a new file may arrive. Recorded with
    the fingerprint of the first look, the rows of the second file would pass for current as soon as the first file is
    put back. So a read is made between two looks that agree, and what they saw is what is recorded.

    Parameters
    ----------
    source
        the source itself
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._seen: MutableMapping[str, dict[str, str]] = {}
        self._fetched = False

    def watch(self, seen: MutableMapping[str, dict[str, str]]) -> None:
        """Keep these fingerprints (dataset -> key -> hash) true to what is fetched from now on."""
        self._seen, self._fetched = seen, False

    def span(self) -> tuple[str, str]:
        """First and last key (month or day) for which everything needed is to be had."""
        return self._source.span()

    def fingerprints(self, dataset: str, keys: Sequence[str]) -> Mapping[str, str]:
        """Content hash per key of what the source holds now."""
        return self._source.fingerprints(dataset, keys)

    def keys_held(self, dataset: str) -> Sequence[str]:
        """Keys for which the source has rows of a dataset."""
        return self._source.keys_held(dataset)

    def describe(self) -> Mapping[str, Any]:
        """What it is, for metadata."""
        return self._source.describe()

    def fetch(self, dataset: str, keys: Sequence[str]) -> Any:
        """Rows and rejects of those keys, as one state of the source.

        Raises
        ------
        SourceError
            if the source changes during each of a few reads, or between this read and an earlier one for the same
            decision, so that the two would not belong together.
        """
        before = {name: dict(seen) for name, seen in self._seen.items()}
        if dataset in before:
            self._seen[dataset].update(dict.fromkeys(set(keys) - set(before[dataset]), ""))
        for _ in range(ATTEMPTS):
            delivery = self._source.fetch(dataset, keys)
            after = self._look()
            if after == before:
                self._fetched = True
                return delivery
            if self._fetched:
                break
            before = after
            for name, fingerprints in after.items():
                self._seen[name].update(fingerprints)
        raise SourceError(
            f"the source changed while {dataset} was read: something is still being written there; nothing was "
            "recorded, and the next run takes it up"
        )

    def _look(self) -> dict[str, dict[str, str]]:
        """Fingerprints of everything watched: rows of one dataset may be recorded under another (refused rows).

        A source that goes on delivering what it was when a decision was made tells them by ``fingerprints_delivered``.
        """
        look = getattr(self._source, "fingerprints_delivered", self._source.fingerprints)
        return {name: dict(look(name, sorted(seen))) for name, seen in self._seen.items()}
