"""Which months a home covers, and how they grow as the source delivers later ones. Pure.

What belongs here: months from what is bound, delivered and held. What does not: asking the source or the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GROWS_TO = "grows_to"
"""Entry of a home's binding: last month its market axis may grow to, None for no end; without it nothing grows."""


def grown(binding: Mapping[str, Any], delivered: str, held: str | None, this_month: str) -> dict[str, str]:
    """The ends of both axes as they are now; they move forward only.

    Parameters
    ----------
    binding
        what the home is bound to: ``end``, ``market_end`` and, where it grows, ``grows_to``
    delivered
        last month the source has for all that is needed
    held
        last month that lies in the lake, so that a source that lost its newest file does not shrink the home; None
        for an empty lake
    this_month
        the current month: what a source says of later ones is not believed

    Returns
    -------
    ``end`` and ``market_end``, months as ``YYYY-MM``. With a last analysis month given by the user only the market
    axis grows, until that month's labels can be made.
    """
    limit = binding.get(GROWS_TO, binding["market_end"])
    last = max(binding["market_end"], min(delivered, this_month), held or "")
    if limit is None:
        return {"end": max(binding["end"], last), "market_end": last}
    return {"end": binding["end"], "market_end": min(limit, last)}


def may_grow(binding: Mapping[str, Any]) -> bool:
    """Whether the home can still gain months."""
    limit = binding.get(GROWS_TO, binding["market_end"])
    return limit is None or bool(binding["market_end"] < limit)
