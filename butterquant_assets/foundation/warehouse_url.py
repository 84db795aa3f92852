"""URLs of warehouses: which are known, where an SQLite one lies, and how one is shown without its secrets. Pure.

What does not belong here: connecting to any (`warehouse`).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from butterquant_assets.foundation.errors import ConfigError

_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
}


def parse_url(url: str) -> sa.URL:
    """A warehouse URL with the driver this package uses.

    Raises
    ------
    ConfigError
        if it is neither SQLite's nor PostgreSQL's, or cannot be parsed; the message holds no password.
    """
    scheme = url.partition("://")[0]
    expected = "expected sqlite:///path/to/file or postgresql://user:password@host:port/database"
    if scheme not in _DRIVERS or "://" not in url:
        raise ConfigError(f"a warehouse URL starts with {scheme.partition(':')[0][:20]!r}; {expected}")
    try:
        return sa.make_url(url).set(drivername=_DRIVERS[scheme])
    except (sa.exc.ArgumentError, ValueError):
        # The cause quotes the URL, and with it the password.
        raise ConfigError(f"the {scheme} warehouse URL cannot be parsed; {expected}") from None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite warehouse; None for another database.

    Raises
    ------
    ConfigError
        as for `parse_url`.
    """
    parsed = parse_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def secrets_of(url: sa.URL) -> list[str]:
    """Passwords of a URL, as they are and as they are written in URLs."""
    values = [str(url.password)] if url.password else []
    for name, value in url.query.items():
        if "password" in name.lower():
            values += [value] if isinstance(value, str) else list(value)
    return [spelling for value in values if value for spelling in (value, quote(value, safe=""))]


def masked(url: sa.URL) -> str:
    """The URL as it may be shown: without its password."""
    # Parameters behind the question mark may hold secrets of their own and help nobody to find the database.
    return url.set(query={}).render_as_string(hide_password=True)
