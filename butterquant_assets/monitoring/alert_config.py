"""Where alerts go: the ``alerts`` section of the settings. Pure.

Every secret is a `SecretStr` and comes from the environment only; the command line has no option for one. No message
of this module repeats a value, because a mistyped secret is still a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

SLACK, TELEGRAM, EMAIL = "slack", "telegram", "e-mail"
_PREFIX = "BUTTERQUANT_ALERTS__"
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
_ADDRESS = re.compile(r"[^@\s<>,]+@[^@\s<>,]+")
_URL_PASSWORD = re.compile(r"://[^:/@\s]*:(\S+)@")  # up to the last @: a password may hold one itself
_URL = re.compile(r"https?://[^\s/]+\S*")
SECRET_VARIABLES = (
    "COINGECKO_API_KEY",
    "COINMARKETCAP_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Variables of other software that hold secrets and whose values an error may repeat."""
SHORTEST = 8  # characters; a shorter value is no real key, and would strike ordinary words out of every text


class AlertConfig(BaseModel):
    """Channels, links and patience. A channel is on when what it needs is set; with none, alerts are off.

    Parameters
    ----------
    slack_webhook_url
        incoming webhook of Slack or of anything that takes the same JSON (Mattermost, Rocket.Chat)
    telegram_bot_token, telegram_chat_id
        a bot, and the chat it writes to
    telegram_api
        where the bot API lies
    smtp_host, smtp_port
        mail server
    smtp_security
        ``starttls``, ``tls`` (from the first byte) or ``none``
    smtp_ca_file
        certificates to trust instead of the system's
    smtp_user, smtp_password
        login; both or neither
    smtp_from, smtp_to
        addresses; several receivers are separated by commas
    ui_url
        address of the Dagster UI, for links; without it messages carry none
    repeat_hours
        what still holds is told again after so many hours; runs that go on failing alike are told once in that time
    stale_hours
        an asset that stays stale for so many hours is an alert; until then its run is merely on its way
    behind_sessions
        closed sessions of the exchange that may be missing at the end of the market data before that is an alert
    behind_hours
        the same for closed hours of what the crypto collector stores
    timeout_seconds
        of one answer
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    slack_webhook_url: SecretStr | None = None
    telegram_bot_token: SecretStr | None = None
    telegram_chat_id: str | None = None
    telegram_api: str = "https://api.telegram.org"
    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_ca_file: Path | None = None
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from: str | None = None
    smtp_to: str | None = None
    ui_url: str | None = None
    repeat_hours: float = Field(default=24.0, gt=0)
    stale_hours: float = Field(default=2.0, ge=0)
    behind_sessions: int = Field(default=2, ge=0)
    behind_hours: int = Field(default=6, ge=0)
    timeout_seconds: float = Field(default=10.0, gt=0, le=20)

    @field_validator("slack_webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _URL.fullmatch(value.get_secret_value()):
            raise ValueError("is not an http(s) address (not shown: it is a secret); copy the webhook's URL again")
        return value

    @field_validator("telegram_bot_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("is not NUMBER:LETTERS (not shown: it is a secret); copy the token from BotFather again")
        return value

    @field_validator("telegram_api", "ui_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):
            raise ValueError(f"{value!r} is not an http(s) address; write it as https://host:port")
        return None if value is None else value.rstrip("/")

    @model_validator(mode="after")
    def _whole_channels(self) -> Self:
        self._all_or_none("telegram_bot_token", "telegram_chat_id")
        self._all_or_none("smtp_host", "smtp_from", "smtp_to")
        self._all_or_none("smtp_user", "smtp_password")
        if self.smtp_user is not None and self.smtp_security == "none":
            raise ValueError(
                f"{_PREFIX}SMTP_SECURITY is none, so the password would travel in the clear: set starttls or tls"
            )
        for address in (*self.receivers, *((self.smtp_from,) if self.smtp_from else ())):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not an e-mail address; write it as name@host, several with commas")
        return self

    def _all_or_none(self, *names: str) -> None:
        missing = [name for name in names if getattr(self, name) is None]
        if missing and len(missing) < len(names):
            given = ", ".join(f"{_PREFIX}{name.upper()}" for name in names if name not in missing)
            raise ValueError(f"{given} wants {', '.join(f'{_PREFIX}{name.upper()}' for name in missing)} beside it")

    @property
    def receivers(self) -> tuple[str, ...]:
        """Addresses the e-mails go to."""
        return tuple(part.strip() for part in (self.smtp_to or "").split(",") if part.strip())

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are on."""
        on = {SLACK: self.slack_webhook_url, TELEGRAM: self.telegram_bot_token}
        return (*(name for name, needed in on.items() if needed is not None), *self.mailboxes)

    @property
    def mailboxes(self) -> dict[str, str]:
        """Receivers of e-mails by the name of their channel: each has its own, so that one that is refused is told."""
        if self.smtp_host is None:
            return {}
        return {f"{EMAIL} to {receiver}": receiver for receiver in self.receivers}

    def secrets(self) -> tuple[str, ...]:
        """Every secret in the clear, for striking them out of texts. Never show it."""
        found = (self.slack_webhook_url, self.telegram_bot_token, self.smtp_password)
        return tuple(secret.get_secret_value() for secret in found if secret is not None)


def passwords_in(*urls: str | None) -> tuple[str, ...]:
    """Passwords that URLs (of the warehouse, of the lake) hold, as written there and as they are sent."""
    found = [password for url in urls if url for password in _URL_PASSWORD.findall(url)]
    return tuple(dict.fromkeys(form for password in found for form in (password, _decoded(password))))


def _decoded(text: str) -> str:
    """A part of a URL without its percent signs."""
    decoded = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return decoded.decode(errors="replace")


def secrets_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of `SECRET_VARIABLES`."""
    values = (environment.get(name, "") for name in SECRET_VARIABLES)
    return tuple(value for value in values if len(value) >= SHORTEST)
