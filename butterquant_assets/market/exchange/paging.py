"""OKX's pages: newest first, `after` asks for earlier records than a mark, `before` for later ones, both exclusive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from butterquant_assets.market.exchange.answers import missing_parameter, parameter_error

Query = Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """Records with first <= mark < end, the newest `limit` of them.

    When more than `limit` records lie between `before` and `after`, OKX answers with the newest, not with those next to
    `before`: paging forward with a window that is too wide loses records silently.
    """

    first: int
    end: int
    limit: int


def page(query: Query, *, default: int, most: int, later: str = "before", earlier: str = "after") -> Page:
    """The page a query asks for; a limit beyond the most is cut to it, as OKX does.

    Parameters
    ----------
    query
        parameters
    default, most
        page sizes
    later, earlier
        names of the two marks; the statistics endpoints call them begin and end

    Returns
    -------
    Page

    Raises
    ------
    OkxError
        51000 for marks or limits that are not whole numbers, or a limit below 1.
    """
    first, end = whole(query, later, -1) + 1, whole(query, earlier, 2**62)
    limit = whole(query, "limit", default)
    if limit < 1:
        raise parameter_error("limit")
    return Page(max(first, 0), end, min(limit, most))


def whole(query: Query, name: str, default: int) -> int:
    """A whole number among the parameters."""
    value = query.get(name, "")
    if not value:
        return default
    try:
        return int(value)
    except ValueError as error:
        raise parameter_error(name) from error


def required(query: Query, name: str) -> str:
    """A parameter that must be there."""
    value = query.get(name, "")
    if not value:
        raise missing_parameter(name)
    return value
