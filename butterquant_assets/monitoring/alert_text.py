"""How an alert reads on each channel. Pure.

Texts come from anywhere (an exception, a vendor's file). `without_secrets` strips an alert before anything remembers
or logs it; rendering strips control characters and whatever the channel would take for markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from butterquant_assets.monitoring.alert_state import Message
from butterquant_assets.monitoring.alerts import Alert, Level, Phase

MAX_LINE = 300
MAX_TEXT = 3000  # Telegram takes 4,096 characters
STRUCK = "***"
_USERINFO = re.compile(r"://[^/\s]*@")  # a password may hold an @ itself
_AUTHORIZATION = re.compile(r"(?i)\b(authorization[\"']?\s*[=:]\s*[\"']?(?:\w+\s+)?)[^\s\"',;]+")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;]+")
_SECRET_PARAMETER = re.compile(
    # The name, which may go on (SECRET_ACCESS_KEY) or be quoted, and what stands between it and the value;
    r"(?i)((?:password|passwd|passphrase|pwd|token|api[_-]?key|access[_-]?key|secret)[\w-]*[\"']?\s*[=:]\s*)"
    # the value: in quotes up to the closing one, otherwise up to what ends a parameter.
    r"(\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[^\s&;,'\"}\])]+)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_MARKS = {Level.INFO: "INFO", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """A text without the given secrets, without user and password in URLs, and without what names itself a secret.

    That is ``password=...``, in JSON and in headers too, ``AWS_SECRET_ACCESS_KEY=...``, ``Bearer ...`` and their like.
    """
    text = _USERINFO.sub(f"://{STRUCK}@", _struck(text, secrets))
    text = _BEARER.sub(rf"\1{STRUCK}", _AUTHORIZATION.sub(rf"\1{STRUCK}", text))
    return _SECRET_PARAMETER.sub(_without_value, text)


def _struck(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, STRUCK)
    return text


def _without_value(found: re.Match[str]) -> str:
    mark = found[2][0]
    return f"{found[1]}{mark}{STRUCK}{mark}" if mark in "\"'" else f"{found[1]}{STRUCK}"


def without_secrets(alert: Alert, secrets: Iterable[str]) -> Alert:
    """The same alert with its texts and its link scrubbed. Its identity stays, and so does where the link leads."""
    secrets = tuple(secrets)
    items = tuple(replace(item, line=scrubbed(item.line, secrets)) for item in alert.items)
    subject, text = (scrubbed(part, secrets) for part in (alert.subject, alert.text))
    link = alert.link and _struck(_USERINFO.sub("://", alert.link), secrets)
    return replace(alert, subject=subject, text=text, items=items, link=link)


def title(message: Message) -> str:
    """One line: what happened to what."""
    head = {
        Phase.EVENT: _MARKS[message.level],
        Phase.NEW: _MARKS[message.level],
        Phase.MORE: f"{_MARKS[message.level]}, more",
        Phase.AGAIN: f"{_MARKS[message.level]}, still",
        Phase.RESOLVED: "RESOLVED",
    }
    return _line(f"[{head[message.phase]}] {message.kind}: {message.subject}")


def body(message: Message) -> str:
    """The text below the title, without the link, short enough for every channel."""
    lines = [_line(message.text), *(f"- {_line(line)}" for line in message.lines)]
    text = "\n".join(lines)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."


def slack_payload(message: Message) -> dict[str, Any]:
    """JSON of an incoming webhook: ``text`` in Slack's markup."""
    link = f"\n<{message.link}|Open in the UI>" if message.link else ""
    return {"text": f"*{_slack(title(message))}*\n{_slack(body(message))}{link}"}


def telegram_payload(message: Message, chat_id: str) -> dict[str, Any]:
    """JSON of ``sendMessage``, in Telegram's HTML."""
    head, text = title(message), body(message)
    link = f'\n<a href="{html.escape(message.link)}">Open in the UI</a>' if message.link else ""
    return {
        "chat_id": chat_id,
        "text": f"<b>{html.escape(head, quote=False)}</b>\n{html.escape(text, quote=False)}{link}",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }


def email_parts(message: Message) -> Mapping[str, str]:
    """Subject and plain body."""
    link = f"\n\n{message.link}" if message.link else ""
    when = f"\n\n{message.at:%Y-%m-%d %H:%M} UTC"
    return {
        "subject": f"ButterQuant {title(message)}",
        "body": f"{body(message)}{link}{when}\n",
    }


def _line(text: str) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} ..."


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
