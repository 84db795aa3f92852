"""Who may ask: API keys, signatures and their refusals, as OKX v5 checks them.

A request is signed with base64(HMAC-SHA256(secret, timestamp + method + path with query + body)).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from butterquant_assets.market.exchange.answers import OkxError

VALID_MS = 30_000
"""A timestamp may be off by so much."""

_HEADERS = {
    "ok-access-key": "50103",
    "ok-access-passphrase": "50104",
    "ok-access-sign": "50106",
    "ok-access-timestamp": "50107",
}


@dataclass(frozen=True)
class Credentials:
    """A key of the demo environment and what it takes to use it. Its text form shows nothing of it.

    Parameters
    ----------
    key, secret, passphrase
        what a client is configured with
    expires
        ms from which the key is no longer known; None: never
    frozen
        whether the key is blocked
    addresses
        client addresses it may be used from; all if empty
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)
    expires: int | None = None
    frozen: bool = False
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class SignedRequest:
    """What is signed, and the headers (lower-case names) that came with it; `target` is the path with its query."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    address: str = ""


def demo_credentials(seed: int) -> Credentials:
    """The credentials of a simulated account; they open nothing else, and say so."""
    digest = hashlib.sha256(f"simulated exchange {seed}".encode()).hexdigest()
    return Credentials(f"simulated-key-{digest[:12]}", f"simulated-secret-{digest[12:28]}", "simulated-passphrase")


def authenticate(credentials: Credentials, request: SignedRequest, now: int) -> None:
    """Admit a request or refuse it.

    Parameters
    ----------
    credentials
        the only ones there are
    request
        as it came
    now
        ms, the exchange's clock

    Raises
    ------
    OkxError
        with HTTP 401: 50103, 50104, 50106, 50107 for a missing header; 50112 for a timestamp that is none; 50102 for
        one more than 30 s off; 50111 for an unknown or expired key; 50100 for a frozen one; 50101 for a request that
        does not name the demo environment (x-simulated-trading: 1); 50110 for a foreign address; 50113 for a wrong
        signature; 50105 for a wrong passphrase.
    """
    for name, code in _HEADERS.items():
        if not request.headers.get(name):
            raise _refusal(code, f'Request header "{name.upper()}" can\'t be empty.')
    if abs(_moment(request.headers["ok-access-timestamp"]) - now) > VALID_MS:
        raise _refusal("50102", "Timestamp request expired.")
    known = hmac.compare_digest(request.headers["ok-access-key"].encode(), credentials.key.encode())
    if not known or (credentials.expires is not None and now >= credentials.expires):
        raise _refusal("50111", "Invalid OK-ACCESS-KEY.")
    if credentials.frozen:
        raise _refusal("50100", "API frozen, please contact customer service.")
    if request.headers.get("x-simulated-trading") != "1":
        raise _refusal("50101", "APIKey does not match current environment.")
    if credentials.addresses and request.address not in credentials.addresses:
        raise _refusal("50110", "Your IP is not included in your API key's IP whitelist.")
    if not hmac.compare_digest(request.headers["ok-access-sign"].encode(), signature(credentials.secret, request)):
        raise _refusal("50113", "Invalid Sign")
    if not hmac.compare_digest(request.headers["ok-access-passphrase"].encode(), credentials.passphrase.encode()):
        raise _refusal("50105", "Request header OK-ACCESS-PASSPHRASE incorrect.")


def signature(secret: str, request: SignedRequest) -> bytes:
    """What the request should have been signed with."""
    signed = (request.headers["ok-access-timestamp"] + request.method + request.target).encode() + request.body
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())


def _moment(words: str) -> int:
    try:
        moment = datetime.fromisoformat(words)
    except ValueError as error:
        raise _refusal("50112", "Invalid OK-ACCESS-TIMESTAMP.") from error
    if moment.tzinfo is None:
        raise _refusal("50112", "Invalid OK-ACCESS-TIMESTAMP.")
    return round(moment.timestamp() * 1000)


def _refusal(code: str, message: str) -> OkxError:
    return OkxError(code, message, 401)
