"""Money, prices and sizes as decimals, so that what goes out of one pocket arrives in the other to the last digit."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation

from butterquant_assets.market.exchange.answers import parameter_error

ZERO = Decimal(0)
_MONEY = Decimal("1e-10")
_LONGEST = 32


def exact(value: float) -> Decimal:
    """The decimal that a float is written as."""
    return Decimal(repr(float(value)))


def money(value: Decimal) -> Decimal:
    """USDT, to the ten decimals in which the account is kept."""
    return value.quantize(_MONEY)


def words(value: Decimal | None) -> str:
    """As OKX writes it: plain decimals without trailing zeros; "" for a missing one."""
    return "" if value is None else format((value + 0).normalize(), "f")


def brief(value: Decimal) -> Decimal:
    """To fifteen significant digits: for quotients, which need not end."""
    return Context(prec=15).plus(value)


def number(value: object, name: str) -> Decimal:
    """A number from a parameter, text or JSON number.

    Raises
    ------
    OkxError
        51000 for anything else, infinities and NaN included.
    """
    written = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(written) > _LONGEST:
        raise parameter_error(name)
    try:
        found = Decimal(written)
    except InvalidOperation as error:
        raise parameter_error(name) from error
    if not found.is_finite():
        raise parameter_error(name)
    return found
