"""What surrounds every request: an id, the token, the size limit, timing, and an answer even to a bug.

What belongs here: the outermost ASGI layer. It is plain ASGI because it lies on the path of every request: the usual
middleware classes cost more than the model.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect

from butterquant_assets.serving.errors import RequestError, error_document
from butterquant_assets.serving.telemetry import Telemetry

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset(("/health", "/ready", "/docs", "/openapi.json"))
"""Answered without a token: orchestrators probe them, and what they tell is no secret."""

CLIENT_CLOSED = 499
"""Counted where the caller left before the answer; nobody receives it."""

log = logging.getLogger("butterquant.serving")
access_log = logging.getLogger("butterquant.serving.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True)
class Limits:
    """Bounds on one request.

    Parameters
    ----------
    max_rows
        rows in one request
    max_body_bytes
        of the body as sent
    """

    max_rows: int = 4096
    max_body_bytes: int = 8 * 2**20


class Gateway:
    """Wraps the application.

    Parameters
    ----------
    inner
        the application
    telemetry
        counts requests
    limits
        body size
    token
        bearer token that callers must send; None asks for none
    log_requests
        whether to write one JSON line per request to the logger ``butterquant.serving.access``
    clock
        seconds, rising
    """

    def __init__(
        self,
        inner: Application,
        telemetry: Telemetry,
        limits: Limits,
        *,
        token: str | None = None,
        log_requests: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner, self._telemetry, self._limits = inner, telemetry, limits
        self._credentials = None if token is None else f"Bearer {token}".encode()
        self._log_requests, self._clock = log_requests, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, headers = self._clock(), dict(scope["headers"])
        request_id = _request_id(headers)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id.decode()}
        status = 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            self._admit(scope, headers)
            await self._inner(scope, self._bounded(receive), tell)
        except ClientDisconnect:
            status = CLIENT_CLOSED
        except RequestError as error:
            await _refuse(error, request_id.decode(), tell)
        except Exception:
            log.exception("request %s failed unexpectedly", request_id.decode())
            if status == 0:
                await _refuse(unexpected(request_id.decode()), request_id.decode(), tell)
        seconds = self._clock() - began
        self._telemetry.answered(scope["path"], status, seconds)
        if self._log_requests:
            access_log.info("%s", _access_line(scope, status, seconds))

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if self._credentials is not None and scope["path"] not in OPEN_PATHS:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._credentials):
                raise RequestError(
                    401,
                    "unauthorized",
                    "this server wants the header 'Authorization: Bearer <token>' with its token",
                    headers={"www-authenticate": "Bearer"},
                )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        """Bodies in chunks do not announce their length, so what arrives is counted as well."""
        taken, most = 0, self._limits.max_body_bytes

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > most:
                    raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> RequestError:
        return RequestError(
            413,
            "body_too_large",
            f"the body is larger than {self._limits.max_body_bytes} bytes; send fewer rows at a time",
            headers={"connection": "close"},
        )


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    """The caller's own id where it is harmless, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8).encode()


def unexpected(request_id: str) -> RequestError:
    """What a caller is told about a bug: nothing but where to look."""
    return RequestError(
        500, "internal_error", f"the server failed on this request; its log has the reason under id {request_id}"
    )


async def _refuse(error: RequestError, request_id: str, send: Send) -> None:
    body = orjson.dumps(error_document(error.code, error.message, request_id, error.details))
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _access_line(scope: Scope, status: int, seconds: float) -> str:
    state = scope["state"]
    line = {
        "request_id": state["request_id"],
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "milliseconds": round(1e3 * seconds, 3),
        "rows": state.get("rows"),
        "version": state.get("version"),
    }
    return orjson.dumps(line).decode()
