"""Request bodies to a checked matrix, quickly; and when that fails, which field of which row is wrong.

What belongs here: the three forms of a request, and the checks of names, units, types and ranges. An acceptable request
is recognised by whole-array comparisons; only a refused one is looked at field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from butterquant_assets.serving.contract import GATES, LARGEST, Contract, Feature
from butterquant_assets.serving.errors import MAX_DETAILS, RequestError

_FORMS = {"features": {"features"}, "rows": {"rows"}, "columns": {"columns", "values"}}
_OPTIONS = {"gate", "units"}
_NUMBERS: frozenset[type] = frozenset((float, int, type(None)))

Matrix = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """A request that may be scored.

    Parameters
    ----------
    features
        shape (n, d), in the order of the contract; NaN is missing
    gate
        which decides
    tabular
        whether the request came, and the answer goes, by column
    """

    features: Matrix
    gate: str
    tabular: bool


def parse_request(body: bytes, contract: Contract, max_rows: int) -> Batch:
    """Read and check one request body.

    Parameters
    ----------
    body
        JSON object with ``features`` (one row by name), or ``rows`` (a list of such), or ``columns`` and ``values``
        (names once, then numbers row by row); optionally ``gate`` and ``units`` (name to unit, compared with the
        model's)
    contract
        of the model that will score it
    max_rows
        most rows in one request

    Returns
    -------
    Batch

    Raises
    ------
    RequestError
        400 if the body is no JSON, 422 naming row and field if it is not what the model takes.
    """
    document = _decode(body)
    form = _form(document)
    gate = _gate(document, contract)
    if "units" in document:
        _check_units(document["units"], contract)
    if form == "columns":
        return Batch(_from_table(document["columns"], document["values"], contract, max_rows), gate, tabular=True)
    rows = [document["features"]] if form == "features" else document["rows"]
    _check_count(rows, "rows", max_rows)
    return Batch(_from_rows(rows, contract), gate, tabular=False)


# ------------------------------------------------------------------------------------------------------- the frame


def _decode(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        tokens = [token for token in (b"NaN", b"Infinity") if token in body]
        hint = "; NaN and Infinity are no JSON: send null where a missing value is allowed" if tokens else ""
        raise RequestError(400, "invalid_json", f"the body is no JSON: {error}{hint}") from error
    if type(document) is not dict:
        raise _unprocessable(f"the body is a JSON {_kind(document)}, expected an object", "body", "is no object")
    return document


def _form(document: dict[str, Any]) -> str:
    keys = document.keys() - _OPTIONS
    for form, wanted in _FORMS.items():
        if keys == wanted:
            return form
    known = set().union(*_FORMS.values())
    unknown = sorted(keys - known)
    if unknown:
        details = [_detail(None, key, "is unknown") for key in unknown]
        raise _unprocessable(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known | _OPTIONS))}", details)
    raise _unprocessable(
        "give either features (one row), or rows, or columns with values",
        "body",
        f"has {', '.join(sorted(keys)) or 'none of them'}",
    )


def _gate(document: dict[str, Any], contract: Contract) -> str:
    gate = document.get("gate", contract.default_gate)
    if gate not in GATES:
        raise _unprocessable(f"gate is {_show(gate)}, expected {' or '.join(GATES)}", "gate", "is unknown")
    return str(gate)


def _check_units(units: Any, contract: Contract) -> None:
    if type(units) is not dict:
        raise _unprocessable(f"units is a JSON {_kind(units)}, expected an object", "units", "is no object")
    ours = {feature.name: feature.unit for feature in contract.features}
    details = [
        _detail(None, name, "is no feature of this model" if name not in ours else _wrong_unit(unit, ours[name]))
        for name, unit in units.items()
        if ours.get(name) != unit
    ]
    if details:
        raise _unprocessable("units differ from the model's", details)


def _wrong_unit(given: Any, ours: str) -> str:
    return f"has unit {_show(given)}, this model takes {ours!r}"


def _check_count(rows: Any, name: str, max_rows: int) -> None:
    if type(rows) is not list:
        raise _unprocessable(f"{name} is a JSON {_kind(rows)}, expected an array", name, "is no array")
    if not rows:
        raise _unprocessable(f"{name} is empty, expected at least one row", name, "is empty")
    if len(rows) > max_rows:
        raise _unprocessable(
            f"{len(rows)} rows in one request, at most {max_rows} are taken; send several requests",
            name,
            f"has {len(rows)} rows",
        )


# ---------------------------------------------------------------------------------------------------------- rows


def _from_rows(rows: list[Any], contract: Contract) -> Matrix:
    width = len(contract.features)
    pick: Callable[[Any], Any] = itemgetter(*contract.names)
    try:
        picked = [pick(row) for row in rows if type(row) is dict and len(row) == width]
    except KeyError:
        picked = []
    numbers = _numbers(picked, contract) if len(picked) == len(rows) else None
    if numbers is None:
        raise _refusal(_problems_of_rows(rows, contract))
    return numbers


def _problems_of_rows(rows: list[Any], contract: Contract) -> Iterator[dict[str, Any]]:
    wanted = set(contract.names)
    for place, row in enumerate(rows):
        if type(row) is not dict:
            yield _detail(place, "row", f"is a JSON {_kind(row)}, expected an object of features")
            continue
        yield from (_detail(place, name, "is unknown to this model") for name in sorted(row.keys() - wanted))
        for feature in contract.features:
            problem = _problem(row[feature.name], feature) if feature.name in row else "is missing"
            if problem:
                yield _detail(place, feature.name, problem)


# --------------------------------------------------------------------------------------------------------- table


def _from_table(columns: Any, values: Any, contract: Contract, max_rows: int) -> Matrix:
    order = _column_order(columns, contract)
    _check_count(values, "values", max_rows)
    shaped = set(map(type, values)) == {list} and set(map(len, values)) == {len(contract.features)}
    numbers = _numbers(values, contract, order) if shaped else None
    if numbers is None:
        raise _refusal(_problems_of_table(values, contract, order))
    return numbers


def _column_order(columns: Any, contract: Contract) -> list[int] | None:
    """Places of the contract's features among the columns; None where they are in order already."""
    names = contract.names
    if type(columns) is not list:
        raise _unprocessable(
            f"columns is a JSON {_kind(columns)}, expected an array of names", "columns", "is no array"
        )
    if tuple(columns) == names:
        return None
    texts = [name if type(name) is str else _show(name) for name in columns]
    details = [_detail(None, name, "is missing") for name in names if name not in texts]
    details += [_detail(None, name, "is unknown to this model") for name in texts if name not in names]
    details += [_detail(None, name, "is given more than once") for name in names if texts.count(name) > 1]
    if details:
        raise _refusal(details)
    return [texts.index(name) for name in names]


def _problems_of_table(values: list[Any], contract: Contract, order: list[int] | None) -> Iterator[dict[str, Any]]:
    width = len(contract.features)
    places = range(width) if order is None else order
    for row, cells in enumerate(values):
        if type(cells) is not list:
            yield _detail(row, "values", f"is a JSON {_kind(cells)}, expected an array of {width} numbers")
        elif len(cells) != width:
            yield _detail(row, "values", f"has {len(cells)} numbers, expected {width}")
        else:
            for feature, place in zip(contract.features, places, strict=True):
                problem = _problem(cells[place], feature)
                if problem:
                    yield _detail(row, feature.name, problem)


# --------------------------------------------------------------------------------------------------------- values


def _numbers(rows: Sequence[Sequence[Any]], contract: Contract, order: list[int] | None = None) -> Matrix | None:
    """The rows as a matrix in the order of the contract, or None if any value is unacceptable."""
    if not _NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
        return None
    numbers = np.array(rows, dtype=np.float64)  # None becomes NaN
    if order is not None:
        numbers = numbers[:, order]
    # Comparisons with NaN are false, so a missing value passes by the last term or not at all.
    good = (numbers >= contract.low) & (numbers <= contract.high)
    if not good.all() and not (good | (np.isnan(numbers) & contract.nullable)).all():
        return None
    return numbers.astype(np.float32, order="C")


def _problem(value: Any, feature: Feature) -> str | None:
    """What is wrong with one value; says the same as `_numbers`, in words."""
    unit = f" ({feature.unit})" if feature.unit else ""
    if value is None:
        return None if feature.nullable else "is null, but this feature must not be missing"
    if type(value) not in _NUMBERS:
        return f"is {_show(value)}, expected a number"
    if feature.low is not None and value < feature.low:
        return f"is {_show(value)}, must be at least {feature.low:g}{unit}"
    if feature.high is not None and value > feature.high:
        return f"is {_show(value)}, must be at most {feature.high:g}{unit}"
    return None if abs(value) <= LARGEST else f"is {_show(value)}, beyond what a 32-bit float holds"


# --------------------------------------------------------------------------------------------------------- refusals


def _refusal(problems: Any) -> RequestError:
    details = list(islice(problems, MAX_DETAILS + 1))
    first = details[0]
    where = first["field"] if first["row"] is None else f"row {first['row']}: {first['field']}"
    more = "" if len(details) == 1 else f" (and {'more' if len(details) > MAX_DETAILS else len(details) - 1} besides)"
    return RequestError(422, "invalid_request", f"{where} {first['problem']}{more}", details)


def _unprocessable(message: str, details: Any, problem: str = "") -> RequestError:
    listed = [_detail(None, details, problem)] if isinstance(details, str) else details
    return RequestError(422, "invalid_request", message, listed)


def _detail(row: int | None, field: str, problem: str) -> dict[str, Any]:
    return {"row": row, "field": field[:80], "problem": problem}


def _kind(value: Any) -> str:
    names: Mapping[type, str] = {
        dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"
    }  # fmt: skip
    return names.get(type(value), "null")


def _show(value: Any) -> str:
    """A value as JSON, shortened."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
