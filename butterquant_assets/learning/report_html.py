"""The pieces a self-contained HTML report is made of: text in, escaped HTML out.

What belongs here: escaping, number formats, tables, figures and the page around them. What does not: what a report
says. Nothing a page holds is fetched: no script, no font, no address outside it, and the page's own policy forbids it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from butterquant_assets.foundation.errors import DataError

MAX_PAGE_BYTES = 2_000_000
MISSING = "n/a"

Form = Literal["nats", "gain", "score", "percent", "signed_percent", "points", "count", "number"]
_FORMS: dict[Form, tuple[str, float]] = {
    "nats": ("{:.4f}", 1),
    "gain": ("{:+.4f}", 1),
    "score": ("{:.4f}", 1),
    "percent": ("{:.1f} %", 100),
    "signed_percent": ("{:+.1f} %", 100),
    "points": ("{:.2f}", 100),
    "count": ("{:,.0f}", 1),
    "number": ("{:.4g}", 1),
}

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .5rem; padding-top: .5rem; border-top: 1px solid #d9d9d9; }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .3rem; }
p, ul { margin: .4rem 0 .8rem; max-width: 48rem; }
.lead { color: #444; }
.verdict { border-left: 5px solid #3b6fa0; background: #f1f5f9; padding: .7rem 1rem; margin: 1rem 0; }
.verdict p { margin: .25rem 0; font-size: 1.08rem; max-width: none; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; max-width: none; }
a { color: #2a5a8a; }
.scroll { overflow-x: auto; margin: .6rem 0 1.1rem; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.35; }
caption { text-align: left; color: #444; padding: 0 0 .35rem; caption-side: top; }
th, td { padding: .34rem .7rem; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #8a8a8a; vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 500; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .n { white-space: normal; }
.n small { display: block; color: #555; font-size: .82em; }
tr.marked th, tr.marked td { background: #f1f5f9; font-weight: 600; }
tr.marked small { font-weight: 400; }
.facts td { overflow-wrap: anywhere; }
figure { margin: .8rem 0 1.2rem; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #444; font-size: .92rem; max-width: 44rem; }
details { margin: .6rem 0 1rem; }
summary { cursor: pointer; color: #2a5a8a; }
@media print {
  body { font-size: 10.5pt; max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, caption { break-after: avoid; }
  figure, tr, .verdict { break-inside: avoid; }
  .scroll { overflow: visible; }
  .verdict, tr.marked th, tr.marked td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""".strip()


@dataclass(frozen=True)
class Column:
    """Heading of a table column, its unit beneath, and whether it holds numbers (set to the right)."""

    heading: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """Text of a table cell and a smaller line beneath, such as an interval."""

    text: str
    detail: str = ""


Row = list[Cell | str]


def number(value: Any, form: Form = "number") -> str:
    """A number as text; ``n/a`` where it is missing or not finite.

    ``nats``, ``gain`` and ``score`` have four decimals (a gain its sign); ``percent``, ``signed_percent`` and
    ``points`` show a fraction times 100; ``count`` is whole with separators; ``number`` has four significant digits.
    """
    if value is None or not math.isfinite(float(value)):
        return MISSING
    pattern, factor = _FORMS[form]
    text = pattern.format(factor * float(value))
    is_zero = float(text.rstrip(" %").replace(",", "")) == 0
    return text.lstrip("+-") if is_zero else text  # no sign that rounding has made up


def interval(low: Any, high: Any, form: Form) -> str:
    """``low .. high``, or nothing where a bound is missing or infinite."""
    if any(bound is None or not math.isfinite(float(bound)) for bound in (low, high)):
        return ""
    return f"{number(low, form).removesuffix(' %')} .. {number(high, form)}"


def estimate(value: Any, low: Any, high: Any, form: Form) -> Cell:
    """A number with its interval beneath."""
    return Cell(number(value, form), interval(low, high, form))


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph; `kind` is a class of the style sheet."""
    return f"<p{_class(kind)}>{_text(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], marked: Sequence[int] = ()
) -> str:
    """A table whose first column names the row.

    Parameters
    ----------
    caption
        what it shows; read out by screen readers, so no heading is repeated
    columns
        headings
    rows
        cells, as many a row as columns
    marked
        rows that stand out

    Returns
    -------
    HTML
    """
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"table {caption!r} has {len(columns)} columns and a row of another length")
    head = "".join(
        f'<th scope="col"{_class("n" if column.numeric else "")}>{_text(column.heading)}'
        + (f"<br><small>{_text(column.unit)}</small>" if column.unit else "")
        + "</th>"
        for column in columns
    )
    body = "".join(_row(columns, row, place in marked) for place, row in enumerate(rows))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}"><table><caption>{_text(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(caption: str, values: Mapping[str, Any]) -> str:
    """A table of names and values; nested mappings become dotted names, sequences are joined."""
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(_plain(value))}</td></tr>' for name, value in _flat(values)
    )
    return (
        f'<div class="scroll"><table class="facts"><caption>{_text(caption)}</caption><thead><tr><th scope="col">name'
        f'</th><th scope="col">value</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def figure(png: bytes, alternative: str, caption: str = "") -> str:
    """A picture held inside the page; `alternative` says in words what it shows."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")  # of the PNG's first chunk
    data = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{_text(alternative)}">{below}</figure>'
    )


def details(summary: str, inner: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{_text(summary)}</summary>{inner}</details>"


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> bytes:
    """A whole page.

    Parameters
    ----------
    title
        of the page
    lead
        HTML above the sections
    sections
        heading and HTML of each

    Returns
    -------
    UTF-8

    Raises
    ------
    DataError
        if it takes more than 2 MB.
    """
    contents = "".join(f'<li><a href="#s{k}">{_text(name)}</a></li>' for k, (name, _) in enumerate(sections, start=1))
    body = "\n".join(
        f'<section aria-labelledby="s{k}"><h2 id="s{k}">{_text(name)}</h2>\n{inner}\n</section>'
        for k, (name, inner) in enumerate(sections, start=1)
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    content = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n<h1>{_text(title)}</h1>\n"
        f'{lead}\n<nav aria-label="Contents"><ul>{contents}</ul></nav>\n{body}\n</main>\n</body>\n</html>\n'
    ).encode("utf-8", "replace")
    if len(content) > MAX_PAGE_BYTES:
        raise DataError(f"the report takes {len(content):,} bytes, more than {MAX_PAGE_BYTES:,}; give it fewer rows")
    return content


def _row(columns: Sequence[Column], row: Sequence[Cell | str], marked: bool) -> str:
    cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
    html = ""
    for place, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        opening, closing = ('<th scope="row"', "</th>") if place == 0 else ("<td", "</td>")
        detail = f"<small>{_text(cell.detail)}</small>" if cell.detail else ""
        html += f"{opening}{_class('n' if column.numeric else '')}>{_text(cell.text)}{detail}{closing}"
    return f"<tr{_class('marked' if marked else '')}>{html}</tr>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, Mapping) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "none"
    return str(value)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _text(value: object) -> str:
    return escape(str(value), quote=True)
