"""What is refused before a database is asked: names that do not fit a query, repeated keys, edited migrations. Pure.

What does not belong here: reading SQL files (`sql_files`), connections and transactions (`warehouse`).
"""

from __future__ import annotations

import pandas as pd

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import Migration, Query


def check_names(query: Query, given: list[str]) -> None:
    """Refuse names that are not exactly the parameters of a query.

    Raises
    ------
    WarehouseError
        naming those that are missing, and those the query does not know.
    """
    missing = [name for name in query.parameters if name not in given]
    unknown = [name for name in given if name not in query.parameters]
    if missing or unknown:
        raise WarehouseError(
            f"query {query.name} takes {', '.join(query.parameters) or 'no parameters'}; "
            f"missing: {', '.join(missing) or 'none'}; not known to it: {', '.join(unknown) or 'none'}"
        )


def check_keys(query: Query, frame: pd.DataFrame) -> None:
    """Refuse rows that share the key of a query.

    Raises
    ------
    WarehouseError
        if two do, or the query's file does not say what its key is.
    """
    if not query.key:
        raise WarehouseError(f"query {query.name} cannot take a frame: it needs a '-- key:' comment")
    keys = frame[list(query.key)]
    repeated = keys[keys.duplicated()]
    if len(repeated):
        first = ", ".join(f"{name}={value}" for name, value in repeated.iloc[0].items())
        raise WarehouseError(
            f"{len(repeated)} rows repeat a key of {query.name}, for instance {first}; which one is right is not "
            "the warehouse's to say: remove the others"
        )


def check_recorded(migrations: list[Migration], recorded: pd.DataFrame, url: str) -> None:
    """Refuse a database whose applied migrations are not the first of those this version has.

    Parameters
    ----------
    migrations
        all of this version, in order
    recorded
        rows of the query ``schema_migrations``: what was applied, in order
    url
        of the database, for the message

    Raises
    ------
    WarehouseError
        if one was edited or renamed after it was applied, or the database knows more than this version.
    """
    if len(recorded) > len(migrations):
        newest = recorded["name"].iloc[-1]
        raise WarehouseError(
            f"{url} was migrated to {newest} by a newer version; this one knows {len(migrations)} migrations: "
            "use the newer version, or another database"
        )
    for migration, (name, checksum) in zip(migrations, recorded[["name", "checksum"]].to_numpy(), strict=False):
        if (migration.name, migration.checksum) != (name, checksum):
            raise WarehouseError(
                f"migration {name} was edited after it was applied to {url} (now {migration.name}, "
                f"{migration.checksum[:12]}; applied as {checksum[:12]}): restore the file and add a new migration"
            )
