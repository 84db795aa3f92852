"""Sending alerts: a Slack-compatible webhook, a Telegram bot, e-mail. An edge: network and clock, no Dagster.

A channel answers with an `Outcome` and raises nothing: the errors of urllib and smtplib carry the webhook's URL, the
bot's token, or what the server echoed, and an exception carries its causes into every log. What is kept of a failure is
a status code or the system's own words for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Protocol

from butterquant_assets.monitoring.alert_config import SLACK, TELEGRAM, AlertConfig
from butterquant_assets.monitoring.alert_state import AlertState, Message, Trouble, delivered, failed
from butterquant_assets.monitoring.alert_text import email_parts, slack_payload, telegram_payload

log = logging.getLogger(__name__)

TRIES = 3
BACK_OFF_SECONDS = 0.5  # doubled with every try
LONGEST_WAIT_SECONDS = 5.0  # within one look; a longer wait is spent between two looks
PAUSE = timedelta(seconds=30)  # doubled with every failed look
LONGEST_PAUSE = timedelta(minutes=15)
LONGEST_ASKED_PAUSE = timedelta(hours=1)
LONGEST_REFUSED = timedelta(hours=24)  # a message the channel itself refuses is then given up
BUDGET_SECONDS = 24.0  # of all channels together; a tick of a sensor must end within 60
ANSWER_BYTES = 4096
WRONG_ADDRESS = (301, 302, 303, 307, 308, 401, 403, 404, 407, 410)
BUSY = (408, 425, 429)


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Parameters
    ----------
    reason
        why it was not delivered; None when it was
    soon
        whether it may work within seconds
    wait_seconds
        how long the other side asked to be left alone; None where it did not say
    this_message
        the other side takes messages, but not this one
    """

    reason: str | None = None
    soon: bool = False
    wait_seconds: float | None = None
    this_message: bool = False


DELIVERED = Outcome()


class Channel(Protocol):
    """One way to reach people."""

    name: str

    def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
        """Try once, and wait so long for one answer, and so long for everything."""


class SlackWebhook:
    """A Slack-compatible incoming webhook."""

    name = SLACK

    def __init__(self, config: AlertConfig, now: Callable[[], datetime]) -> None:
        self._config, self._now = config, now

    def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
        """Try once."""
        url = self._config.slack_webhook_url
        if url is None:
            raise TypeError("the webhook is not configured")
        return _post(url.get_secret_value(), slack_payload(message), min(answer_seconds, seconds), self._now)


class TelegramBot:
    """A Telegram bot that writes to one chat."""

    name = TELEGRAM

    def __init__(self, config: AlertConfig, now: Callable[[], datetime]) -> None:
        self._config, self._now = config, now

    def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
        """Try once."""
        token, chat = self._config.telegram_bot_token, self._config.telegram_chat_id
        if token is None or chat is None:
            raise TypeError("the bot is not configured")
        url = f"{self._config.telegram_api}/bot{token.get_secret_value()}/sendMessage"
        return _post(url, telegram_payload(message, chat), min(answer_seconds, seconds), self._now)


class Mail:
    """E-mail by SMTP to one of the receivers; STARTTLS unless configured otherwise.

    Each receiver is a channel of its own: a server that takes a mail for one and refuses it for another would else
    leave the choice between losing the second and telling the first twice.
    """

    def __init__(self, config: AlertConfig, name: str, receiver: str) -> None:
        self._config, self.name, self._receiver = config, name, receiver

    def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
        """Try once."""
        try:
            smtp = self._connected(_Left(answer_seconds, time.monotonic() + seconds))
            try:
                self._logged_in(smtp)
                smtp.send_message(self._mail(message), to_addrs=[self._receiver])
            finally:
                # The mail is accepted or not by now; how the good-bye goes changes nothing about it.
                with contextlib.suppress(OSError):
                    smtp.quit()
                smtp.close()
        except smtplib.SMTPDataError as error:
            return Outcome(_what(error), soon=error.smtp_code < 500, this_message=error.smtp_code >= 500)
        except (OSError, ValueError) as error:
            temporary = isinstance(error, smtplib.SMTPResponseException) and error.smtp_code < 500
            return Outcome(_what(error), soon=temporary or isinstance(error, ConnectionError))
        return DELIVERED

    def _connected(self, left: _Left) -> smtplib.SMTP:
        config = self._config
        if config.smtp_host is None:
            raise TypeError("the mail server is not configured")
        if config.smtp_security == "tls":
            return _HurriedTls(config.smtp_host, config.smtp_port, left, context=self._trust())
        return _Hurried(config.smtp_host, config.smtp_port, left)

    def _logged_in(self, smtp: smtplib.SMTP) -> None:
        config = self._config
        if config.smtp_security == "starttls":
            smtp.starttls(context=self._trust())
        if config.smtp_user is not None and config.smtp_password is not None:
            smtp.login(config.smtp_user, config.smtp_password.get_secret_value())

    def _trust(self) -> ssl.SSLContext:
        own = self._config.smtp_ca_file
        return ssl.create_default_context(cafile=str(own) if own else None)

    def _mail(self, message: Message) -> EmailMessage:
        parts = email_parts(message)
        mail = EmailMessage()
        mail["Subject"], mail["From"] = parts["subject"], self._config.smtp_from
        mail["To"] = ", ".join(self._config.receivers)
        mail["Date"] = format_datetime(message.at)
        # A mail that was taken although its answer got lost is sent again; equal ids let readers see one.
        mail["Message-ID"] = f"<{message.identity}@butterquant.invalid>"
        mail.set_content(parts["body"])
        return mail


@dataclass(frozen=True)
class _Left:
    """How long an answer may still take: `answer_seconds`, and not past `end` of the growing clock."""

    answer_seconds: float
    end: float

    def seconds(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0.0:
            raise TimeoutError("the time for this mail is over")
        return min(self.answer_seconds, left)


class _Hurried(smtplib.SMTP):
    """A client that keeps to an end: smtplib's own timeout is that of each read, of which a mail has a dozen."""

    def __init__(self, host: str, port: int, left: _Left, **options: Any) -> None:
        self._left = left
        # The full name of this machine is not asked for: where DNS is broken the answer takes longer than the mail.
        super().__init__(host, port, socket.gethostname(), timeout=left.seconds(), **options)

    def send(self, s: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self._left.seconds())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock, self._left)
        return super().getreply()


class _HurriedTls(_Hurried, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


class _Lines:
    """Lines from a socket; byte by byte, because a line that trickles in is one read of smtplib's and has no end."""

    def __init__(self, sock: socket.socket, left: _Left) -> None:
        self._sock, self._left = sock, left

    def readline(self, size: int) -> bytes:
        line = bytearray()
        while len(line) < size and not line.endswith(b"\n"):
            self._sock.settimeout(self._left.seconds())
            if not (byte := self._sock.recv(1)):
                break
            line += byte
        return bytes(line)

    def close(self) -> None:
        """Nothing is held."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def open_channels(config: AlertConfig, now: Callable[[], datetime] = utc_now) -> tuple[Channel, ...]:
    """The channels that are on."""
    known: dict[str, Callable[[], Channel]] = {
        SLACK: lambda: SlackWebhook(config, now),
        TELEGRAM: lambda: TelegramBot(config, now),
    }
    mails = config.mailboxes
    return tuple(Mail(config, name, mails[name]) if name in mails else known[name]() for name in config.channels)


class Courier:
    """Delivers what waits in an outbox.

    Parameters
    ----------
    channels
        where to
    timeout_seconds
        of one answer
    now, sleep, elapsed
        clocks: UTC, waiting, and seconds that only grow
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        timeout_seconds: float,
        *,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channels = tuple(channels)
        self._timeout_seconds = timeout_seconds
        self._now, self._sleep, self._elapsed = now, sleep, elapsed

    def deliver(self, state: AlertState, seconds: float = BUDGET_SECONDS) -> AlertState:
        """Try every channel that is not paused, each within its share of time; what it cannot deliver stays.

        Messages of one channel keep their order. A message the other side does not take does not hold up the others.

        Parameters
        ----------
        state
            with an outbox
        seconds
            time there is, at most 24 s of which are used. With none left nothing is sent.
        """
        end = self._elapsed() + min(seconds, BUDGET_SECONDS)
        due = [channel for channel in self.channels if not self._paused(state.troubles.get(channel.name))]
        for number, channel in enumerate(due):
            # What one has taken beyond its share is not there for the next: a tick that lasts too long loses its
            # cursor, and what it delivered would be delivered again.
            if (left := end - self._elapsed()) > 0:
                state = self._emptied(state, channel, left / (len(due) - number))
        return state

    def _paused(self, trouble: Trouble | None) -> bool:
        # Nobody is left alone for longer than that: a pause that ends later was set by a clock that was ahead.
        return trouble is not None and self._now() < trouble.paused_until <= self._now() + LONGEST_ASKED_PAUSE

    def _emptied(self, state: AlertState, channel: Channel, seconds: float) -> AlertState:
        end = self._elapsed() + seconds
        for waiting in state.outbox:
            if channel.name not in waiting.channels:
                continue
            if self._elapsed() >= end:
                break
            outcome = self._tried(channel, waiting.message, end)
            if outcome.reason is None:
                state = delivered(state, waiting.message, channel.name)
                continue
            if outcome.this_message and self._now() - waiting.message.at >= LONGEST_REFUSED:
                log.warning("alert channel %s refuses a message, it is given up: %s", channel.name, outcome.reason)
                state = replace(delivered(state, waiting.message, channel.name), troubles=state.troubles)
                continue
            log.warning("alert channel %s does not deliver, the message is kept: %s", channel.name, outcome.reason)
            failures = state.troubles[channel.name].failures if channel.name in state.troubles else 0
            state = failed(state, channel.name, outcome.reason, self._now() + _pause(failures, outcome))
            if not outcome.this_message:
                break
        return state

    def _tried(self, channel: Channel, message: Message, end: float) -> Outcome:
        outcome = DELIVERED
        for number in range(TRIES):
            left = max(1.0, end - self._elapsed())
            outcome = _attempt(channel, message, self._timeout_seconds, left)
            if outcome.reason is None or not outcome.soon:
                break
            wait = BACK_OFF_SECONDS * 2**number if outcome.wait_seconds is None else outcome.wait_seconds
            if number + 1 == TRIES or wait > LONGEST_WAIT_SECONDS or self._elapsed() + wait >= end:
                break
            self._sleep(wait)
        return outcome


def _attempt(channel: Channel, message: Message, answer_seconds: float, seconds: float) -> Outcome:
    try:
        return channel.send(message, answer_seconds, seconds)
    except Exception as error:  # noqa: BLE001 - one broken channel must neither stop the others nor undo what they sent
        return Outcome(f"an error of programming, {type(error).__name__}", this_message=True)


def _pause(failures: int, outcome: Outcome) -> timedelta:
    pause = min(PAUSE * (1 << min(failures, 10)), LONGEST_PAUSE)
    asked = timedelta(seconds=min(outcome.wait_seconds or 0.0, LONGEST_ASKED_PAUSE.total_seconds()))
    return max(pause, asked)


# -- HTTP


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: following it would hand the secret in the path, or the text, to somebody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, payload: dict[str, Any], timeout_seconds: float, now: Callable[[], datetime]) -> Outcome:
    """POST JSON, once."""
    body = json.dumps(payload).encode()
    try:
        # AlertConfig takes http and https only.
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_seconds):
            return DELIVERED
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(error.code, error.headers, _answer(error), now)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(_what(error), soon=isinstance(_inner(error), ConnectionError))


def _answer(response: urllib.error.HTTPError) -> bytes:
    try:
        return response.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return b""  # the status says enough


def _refusal(status: int, headers: Any, answer: bytes, now: Callable[[], datetime]) -> Outcome:
    reason = f"HTTP {status} {http.client.responses.get(status, '')}".rstrip()
    if status in WRONG_ADDRESS:
        return Outcome(f"{reason}: the address, token or chat is not (or no longer) valid; set it anew")
    if status in BUSY or status >= 500:
        return Outcome(reason, soon=True, wait_seconds=_asked_wait(headers, answer, now))
    return Outcome(f"{reason}: this message was not taken", this_message=True)


def _asked_wait(headers: Any, answer: bytes, now: Callable[[], datetime]) -> float | None:
    """Seconds from ``Retry-After`` (a number or a date) or from Telegram's answer; None where neither is to be had."""
    stated = headers.get("Retry-After") if headers else None
    if stated is None:
        try:
            stated = json.loads(answer)["parameters"]["retry_after"]
        except (ValueError, KeyError, TypeError):
            return None
    try:
        return max(0.0, float(stated))
    except (ValueError, TypeError):
        pass
    try:
        date = parsedate_to_datetime(str(stated))
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now()).total_seconds())


def _inner(error: Exception) -> BaseException:
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, TimeoutError):
        return error.__context__  # smtplib calls it a lost connection
    reason = getattr(error, "reason", None)
    return reason if isinstance(error, urllib.error.URLError) and isinstance(reason, BaseException) else error


def _what(error: Exception) -> str:
    """A failure in words that hold nothing of an address or a login."""
    inner = _inner(error)
    if isinstance(inner, smtplib.SMTPRecipientsRefused):
        return f"{type(inner).__name__} {min((code for code, _ in inner.recipients.values()), default='')}".rstrip()
    if isinstance(inner, smtplib.SMTPResponseException):
        return f"{type(inner).__name__} {inner.smtp_code}"
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, OSError) and inner.errno is not None:
        return f"{type(inner).__name__}: {inner.strerror}"
    return type(inner).__name__
