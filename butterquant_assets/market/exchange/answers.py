"""How the exchange words what it says: the envelope, numbers as text, and refusals."""

from __future__ import annotations

import math
from typing import Any

Row = dict[str, Any] | list[Any]


class OkxError(Exception):
    """A request the exchange turns down.

    Parameters
    ----------
    code
        OKX's error code, for instance "51001"
    message
        OKX's wording
    status
        HTTP status
    """

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status


def parameter_error(name: str) -> OkxError:
    """51000: a parameter has a value it cannot have."""
    return OkxError("51000", f"Parameter {name} error", 400)


def missing_parameter(name: str) -> OkxError:
    """50014: a required parameter is absent."""
    return OkxError("50014", f"Parameter {name} can not be empty.", 400)


def unknown_instrument() -> OkxError:
    """51001: never listed, not yet listed, or delisted."""
    return OkxError("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


def envelope(data: list[Row]) -> dict[str, Any]:
    """A successful answer."""
    return {"code": "0", "msg": "", "data": data}


def refusal_envelope(refusal: OkxError) -> dict[str, Any]:
    """The answer that carries a refusal."""
    return {"code": refusal.code, "msg": refusal.message, "data": []}


def text(value: float) -> str:
    """A number as OKX writes it: plain decimals, no exponent, no trailing zeros; "" for a missing one."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ""
    written = repr(float(value))
    if "e" in written:
        written = f"{value:.16f}".rstrip("0").rstrip(".")
        return "0" if written in ("", "-0") else written
    return written.removesuffix(".0")
