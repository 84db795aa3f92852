"""A month beside the reference as Evidently shows it: one HTML file that needs no network. An edge to that package.

Evidently's own statistics take every row as independent and know nothing of the VIX strata, so they call nearly every
month drifted. They are shown to look at; the verdict is that of `drift`.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import DataError

MAX_ROWS = 2000
NOTE = (
    "Evidently's own tests take every row as independent. The verdict of this project, which allows for what rows of a "
    "month have in common, for {month}: {verdict}"
)
_BODY = re.compile(r"<body[^>]*>")
_IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


def drift_html(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str], *, month: str, verdict: str, seed: int
) -> bytes:
    """Evidently's data drift report, self-contained.

    Parameters
    ----------
    reference, current
        rows with the columns; at most 2,000 of each are drawn
    columns
        to show; one without any value on a side is left out, since Evidently takes none
    month, verdict
        what the page says first
    seed
        of the draw

    Raises
    ------
    DataError
        if there is no row or no column to show.
    """
    sides = [_drawn(frame, seed) for frame in (reference, current)]
    shown = [name for name in columns if all(frame[name].notna().any() for frame in sides)]
    if not shown or min(map(len, sides)) == 0:
        raise DataError(
            f"{len(shown)} columns, {len(sides[0])} reference rows and {len(sides[1])} of {month}: nothing to show"
        )
    text = _report(*(frame[shown] for frame in sides))
    note = html.escape(NOTE.format(month=month, verdict=verdict))
    banner = f'<p style="margin:1em;padding:.8em;border:1px solid #b8473d;font-family:sans-serif">{note}</p>'
    body = _BODY.search(text)
    if body is None:
        raise DataError("the report of Evidently has no body element; check its version")
    return _settled(f"{text[: body.end()]}{banner}{text[body.end() :]}").encode()


def _settled(text: str) -> str:
    """The same page with its random identifiers replaced by their number, so that the same rows give the same bytes."""
    numbers: dict[str, str] = {}
    return _IDENTIFIER.sub(lambda found: numbers.setdefault(found[0], f"id{len(numbers):06d}"), text)


def _drawn(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    if len(frame) <= MAX_ROWS:
        return frame
    picked = np.sort(np.random.default_rng(seed).permutation(len(frame))[:MAX_ROWS])
    return frame.iloc[picked]


def _report(reference: pd.DataFrame, current: pd.DataFrame) -> str:
    with warnings.catch_warnings():
        # What Evidently imports calls deprecated names of its own dependencies, which no caller can help.
        warnings.simplefilter("ignore", DeprecationWarning)
        import evidently  # type: ignore[import-untyped]
        from evidently.presets import DataDriftPreset  # type: ignore[import-untyped]

    sides = []
    for frame in (current, reference):
        definition = evidently.DataDefinition(numerical_columns=list(frame.columns))
        sides.append(evidently.Dataset.from_pandas(frame.reset_index(drop=True), data_definition=definition))
    untyped: Any = evidently.Report([DataDriftPreset()])
    with np.errstate(all="ignore"):
        text: str = untyped.run(*sides).get_html_str(as_iframe=False)
    return text
