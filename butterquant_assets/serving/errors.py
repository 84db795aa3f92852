"""What a caller is told when a request cannot be answered.

What belongs here: HTTP refusals as one exception and their JSON form. What does not: errors of stored models, which are
foundation's and never reach a caller in words of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_DETAILS = 20


class RequestError(Exception):
    """A request is refused.

    Parameters
    ----------
    status
        HTTP status
    code
        short stable word for programs
    message
        one sentence for people: what is wrong, what was expected
    details
        each with ``row`` (from 0, or None), ``field`` and ``problem``; the first 20 are sent
    headers
        of the response
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.details, self.headers = list(details[:MAX_DETAILS]), headers or {}


def error_document(code: str, message: str, request_id: str, details: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The JSON body of every answer that is no success."""
    return {"error": {"code": code, "message": message, "request_id": request_id, "details": list(details)}}
