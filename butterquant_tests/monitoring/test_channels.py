from __future__ import annotations

import email
import email.policy
import gc
import io
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from butterquant_assets.monitoring.alert_config import AlertConfig
from butterquant_assets.monitoring.alert_state import AlertState, Message, observe
from butterquant_assets.monitoring.alerts import Alert, Kind, Level, Phase
from butterquant_assets.monitoring.channels import PAUSE, Courier, Outcome, open_channels
from butterquant_tests.monitoring.receivers import Answer, Clocks, MailReceiver, WebReceiver, refusing_port

BOT = "123456:bot-secret"
HOOK = "/services/hook-secret"
LOGIN = ("robot-user", "mail-secret")
LINK = "http://ui:3000/runs/r1"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def slack() -> Iterator[WebReceiver]:
    receiver = WebReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def telegram() -> Iterator[WebReceiver]:
    receiver = WebReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailReceiver]:
    receiver = MailReceiver(tmp_path, LOGIN)
    yield receiver
    receiver.close()


def slack_section(receiver: WebReceiver) -> dict[str, Any]:
    return {"slack_webhook_url": receiver.url + HOOK}


def telegram_section(receiver: WebReceiver) -> dict[str, Any]:
    return {"telegram_api": receiver.url, "telegram_bot_token": BOT, "telegram_chat_id": "-100"}


def mail_section(receiver: MailReceiver, **changes: Any) -> dict[str, Any]:
    section = {
        "smtp_host": "127.0.0.1",
        "smtp_port": receiver.port,
        "smtp_user": LOGIN[0],
        "smtp_password": LOGIN[1],
        "smtp_from": "bot@example.org",
        "smtp_to": "a@example.org",
        "smtp_ca_file": receiver.certificate,
    }
    return section | changes


class Desk:
    """A courier over the channels of a configuration, and a state with messages in its outbox."""

    def __init__(self, clocks: Clocks, *names: str, **section: Any) -> None:
        self.config, self.clocks = AlertConfig(**section), clocks
        self.channels = open_channels(self.config, clocks.now)
        alerts = [Alert(Kind.RUN_FAILED, name, "no answer", LINK, Level.ERROR, name, lasting=False) for name in names]
        self.state = observe(
            AlertState(),
            alerts,
            now=clocks.now(),
            repeat=timedelta(days=1),
            channels=self.config.channels,
            seen=frozenset(Kind),
        )

    def deliver(self) -> list[tuple[str, tuple[str, ...]]]:
        """What waits, and for whom, after a look by a courier that has just been started."""
        courier = Courier(
            self.channels,
            self.config.timeout_seconds,
            now=self.clocks.now,
            sleep=self.clocks.sleep,
            elapsed=self.clocks.elapsed,
        )
        self.state = AlertState.from_json(courier.deliver(self.state).to_json())
        return [(w.message.subject, w.channels) for w in self.state.outbox]


def test_a_message_arrives_on_every_channel_with_its_link(
    clocks: Clocks, slack: WebReceiver, telegram: WebReceiver, mail: MailReceiver
) -> None:
    section = slack_section(slack) | telegram_section(telegram) | mail_section(mail)
    desk = Desk(clocks, "refresh r1", **section)
    assert desk.deliver() == []
    ((path, body),) = slack.requests
    assert path == HOOK
    assert body["text"] == f"*[ERROR] failed run: refresh r1*\nno answer\n<{LINK}|Open in the UI>"
    ((path, body),) = telegram.requests
    assert path == f"/bot{BOT}/sendMessage"
    assert (body["chat_id"], body["parse_mode"]) == ("-100", "HTML")
    assert f'<a href="{LINK}">' in body["text"]
    (raw,) = mail.mails
    parsed = email.message_from_string(raw, policy=email.policy.default)
    assert parsed["To"] == "a@example.org"
    assert parsed["Subject"] == "ButterQuant [ERROR] failed run: refresh r1"
    assert LINK in parsed.get_content()
    assert mail.logins == [LOGIN]
    assert not any("AUTH" in command for command in mail.clear_commands)
    assert clocks.slept == []
    assert desk.deliver() == []
    assert len(slack.requests) == 1


def test_a_short_retry_after_is_waited_for(clocks: Clocks, slack: WebReceiver) -> None:
    slack.script = [Answer(429, {"Retry-After": "3"})]
    assert Desk(clocks, "r1", **slack_section(slack)).deliver() == []
    assert clocks.slept == [3.0]
    assert len(slack.requests) == 2


@pytest.mark.parametrize("form", ["seconds", "date", "telegram"])
def test_a_long_retry_after_is_kept_to_between_looks(clocks: Clocks, telegram: WebReceiver, form: str) -> None:
    until = clocks.now() + timedelta(minutes=7)
    header = {"seconds": "420", "date": format_datetime(until.astimezone(UTC), usegmt=True)}
    body = b'{"ok": false, "parameters": {"retry_after": 420}}' if form == "telegram" else b"slow down"
    telegram.script = [Answer(429, {"Retry-After": header[form]} if form in header else {}, body)]
    desk = Desk(clocks, "r1", **telegram_section(telegram))
    assert desk.deliver() == [("r1", ("telegram",))]
    clocks.pass_(minutes=6, seconds=59)
    desk.deliver()
    assert len(telegram.requests) == 1
    clocks.pass_(seconds=1)
    assert desk.deliver() == []
    assert (len(telegram.requests), clocks.slept) == (2, [])


def test_an_absurd_retry_after_does_not_silence_a_channel_for_ever(clocks: Clocks, slack: WebReceiver) -> None:
    slack.script = [Answer(503, {"Retry-After": "99999999"})]
    desk = Desk(clocks, "r1", **slack_section(slack))
    desk.deliver()
    clocks.pass_(hours=1)
    assert desk.deliver() == []


def test_server_errors_are_tried_three_times_with_back_off_and_again_at_the_next_look(
    clocks: Clocks, slack: WebReceiver
) -> None:
    slack.script = [Answer(500)] * 4
    desk = Desk(clocks, "r1", "r2", **slack_section(slack))
    assert len(desk.deliver()) == 2
    assert (len(slack.requests), clocks.slept) == (3, [0.5, 1.0])
    assert desk.state.troubles["slack"].reason == "HTTP 500 Internal Server Error"
    clocks.pass_(minutes=1)
    assert desk.deliver() == []
    assert desk.state.troubles == {}
    assert [": r1*" in text for text in slack.texts[-2:]] == [True, False]  # in order


def test_pauses_grow_while_a_channel_stays_away(clocks: Clocks) -> None:
    with refusing_port() as port:
        desk = Desk(clocks, "r1", slack_webhook_url=f"http://127.0.0.1:{port}{HOOK}")
        pauses = []
        for _ in range(8):
            desk.deliver()
            pauses.append(desk.state.troubles["slack"].paused_until - clocks.now())
            clocks.at = desk.state.troubles["slack"].paused_until
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert pauses[-1] == timedelta(minutes=15)
    assert desk.state.troubles["slack"].reason == "ConnectionRefusedError: Connection refused"


def test_a_silent_server_costs_one_timeout_and_the_others_are_served(
    clocks: Clocks, slack: WebReceiver, telegram: WebReceiver
) -> None:
    slack.script = [Answer(silent=True)]
    desk = Desk(clocks, "r1", timeout_seconds=0.2, **slack_section(slack), **telegram_section(telegram))
    assert desk.deliver() == [("r1", ("slack",))]
    assert len(slack.requests) == len(telegram.requests) == 1
    assert desk.state.troubles["slack"].reason == "no answer in time"
    clocks.pass_(minutes=1)
    assert desk.deliver() == []
    assert (len(slack.requests), len(telegram.requests)) == (2, 1)


def test_a_message_that_is_not_taken_does_not_hold_up_the_next(clocks: Clocks, slack: WebReceiver) -> None:
    slack.script = [Answer(400)]
    desk = Desk(clocks, "r1", "r2", **slack_section(slack))
    assert desk.deliver() == [("r1", ("slack",))]
    assert len(slack.requests) == 2


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_wrong_address_or_token_is_not_hammered_and_no_redirect_is_followed(
    clocks: Clocks, slack: WebReceiver, telegram: WebReceiver, status: int
) -> None:
    slack.script = [Answer(status, {"Location": telegram.url + HOOK})]
    desk = Desk(clocks, "r1", "r2", **slack_section(slack))
    assert len(desk.deliver()) == 2
    assert (len(slack.requests), telegram.requests) == (1, [])
    assert "is not (or no longer) valid" in desk.state.troubles["slack"].reason


def test_a_slow_channel_ends_in_time_and_goes_on_at_the_next_look(clocks: Clocks) -> None:
    sent: list[str] = []

    class Slow:
        name = "slack"

        def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
            clocks.pass_(seconds=9)
            sent.append(message.subject)
            return Outcome()

    desk = Desk(clocks, *(f"r{n}" for n in range(5)), slack_webhook_url="http://127.0.0.1:1/x")
    desk.channels = (Slow(),)
    assert len(desk.deliver()) == 2  # of 24 seconds, three begun
    assert desk.deliver() == []
    assert sent == [f"r{n}" for n in range(5)]


def test_without_time_left_nothing_is_sent_and_nothing_is_lost(clocks: Clocks, slack: WebReceiver) -> None:
    desk = Desk(clocks, "r1", **slack_section(slack))
    courier = Courier(desk.channels, 1.0, now=clocks.now, sleep=clocks.sleep, elapsed=clocks.elapsed)
    assert courier.deliver(desk.state, 0.0) == desk.state
    assert courier.deliver(desk.state, -5.0) == desk.state
    assert slack.requests == []
    assert courier.deliver(desk.state, 1.0).outbox == ()


def test_a_pause_that_a_clock_ahead_has_set_does_not_outlast_it(clocks: Clocks, slack: WebReceiver) -> None:
    slack.script = [Answer(401)]
    desk = Desk(clocks, "r1", **slack_section(slack))
    now = clocks.at
    clocks.pass_(days=365)
    desk.deliver()
    clocks.at = now + timedelta(minutes=1)
    assert desk.deliver() == []


def test_an_error_of_programming_in_one_channel_stops_neither_the_others_nor_what_was_sent(
    clocks: Clocks, telegram: WebReceiver
) -> None:
    class Broken:
        name = "slack"

        def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
            raise RuntimeError("hook-secret")

    desk = Desk(clocks, "r1", slack_webhook_url="http://127.0.0.1:1/x", **telegram_section(telegram))
    desk.channels = (Broken(), desk.channels[1])
    assert desk.deliver() == [("r1", ("slack",))]
    assert desk.state.troubles["slack"].reason == "an error of programming, RuntimeError"


def test_what_a_channel_takes_beyond_its_share_is_not_there_for_the_next(clocks: Clocks) -> None:
    class Late:
        def __init__(self, name: str) -> None:
            self.name = name

        def send(self, message: Message, answer_seconds: float, seconds: float) -> Outcome:
            given.append((self.name, seconds))
            clocks.pass_(seconds=takes[self.name])
            return Outcome()

    given: list[tuple[str, float]] = []
    takes = {"slack": 20.0, "telegram": 1.0, "e-mail": 9.0}
    desk = Desk(clocks, "r1", slack_webhook_url="http://127.0.0.1:1/x")
    desk.channels = tuple(Late(name) for name in takes)
    waiting = replace(desk.state.outbox[0], channels=tuple(takes))
    state = replace(desk.state, outbox=(waiting,))
    courier = Courier(desk.channels, 10.0, now=clocks.now, sleep=clocks.sleep, elapsed=clocks.elapsed)
    assert courier.deliver(state).outbox == ()
    assert given == [("slack", 8.0), ("telegram", 2.0), ("e-mail", 3.0)]
    given.clear()
    takes["slack"] = 30.0
    assert courier.deliver(state).outbox[0].channels == ("telegram", "e-mail")
    assert [name for name, _ in given] == ["slack"]


# -- e-mail


@pytest.mark.parametrize("slow", ["by the answer", "by the byte"])
@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_a_slow_mail_server_takes_no_more_than_the_time_of_the_mail(
    clocks: Clocks, tmp_path: Path, slow: str, security: str
) -> None:
    delay = 0.02 if slow == "by the byte" else 0.2  # of what a timeout of one second for a read allows
    receiver = MailReceiver(tmp_path, tls=security == "tls", delay=delay, by_byte=slow == "by the byte")
    login = {"smtp_user": None, "smtp_password": None}
    desk = Desk(clocks, "r1", **mail_section(receiver, smtp_security=security, **login))
    ((mail,), (waiting,)) = desk.channels, desk.state.outbox
    begun = time.monotonic()
    outcome = mail.send(waiting.message, 1.0, 0.5)
    took = time.monotonic() - begun
    receiver.close()
    assert outcome.reason == "no answer in time"
    assert (receiver.mails, took < 0.9) == ([], True)


def test_a_mail_server_that_is_slow_and_in_time_is_waited_for(clocks: Clocks, tmp_path: Path) -> None:
    receiver = MailReceiver(tmp_path, delay=0.05)
    desk = Desk(clocks, "r1", **mail_section(receiver, smtp_user=None, smtp_password=None))
    ((mail,), (waiting,)) = desk.channels, desk.state.outbox
    assert mail.send(waiting.message, 0.2, 20.0).reason is None
    receiver.close()
    assert len(receiver.mails) == 1


@pytest.mark.parametrize(
    ("command", "answer", "reason"),
    [
        ("AUTH", "535 robot-user mail-secret is wrong", "SMTPAuthenticationError 535"),
        ("MAIL", "451 mail-secret: later", "SMTPSenderRefused 451"),
        ("DATA", "554 mail-secret: spam", "SMTPDataError 554"),
        ("RCPT", "550 mail-secret: nobody here", "SMTPRecipientsRefused 550"),
    ],
)
def test_a_mail_server_that_refuses_keeps_the_message_waiting(
    clocks: Clocks, mail: MailReceiver, command: str, answer: str, reason: str
) -> None:
    mail.refuse[command] = answer
    desk = Desk(clocks, "r1", **mail_section(mail))
    assert desk.deliver() == [("r1", ("e-mail to a@example.org",))]
    assert desk.state.troubles["e-mail to a@example.org"].reason == reason
    assert "mail-secret" not in desk.state.to_json()
    mail.refuse.clear()
    clocks.pass_(minutes=1)
    assert desk.deliver() == []


def test_a_refused_receiver_is_a_failed_channel_of_its_own_and_the_others_are_told_once(
    clocks: Clocks, mail: MailReceiver
) -> None:
    mail.refuse["RCPT TO:<B@EXAMPLE.ORG>"] = "550 nobody here"
    desk = Desk(clocks, "r1", **mail_section(mail, smtp_to="a@example.org, b@example.org"))
    for _ in range(3):
        assert desk.deliver() == [("r1", ("e-mail to b@example.org",))]
        clocks.pass_(minutes=16)
    (raw,) = mail.mails
    assert email.message_from_string(raw)["To"] == "a@example.org, b@example.org"
    (trouble,) = desk.state.troubles.items()
    assert (trouble[0], trouble[1].reason) == ("e-mail to b@example.org", "SMTPRecipientsRefused 550")
    assert trouble[1].failures == 3
    mail.refuse.clear()
    assert desk.deliver() == []
    assert (len(mail.mails), desk.state.troubles) == (2, {})


def configured_anew(state: AlertState, clocks: Clocks, mail: MailReceiver, receivers: str) -> Desk:
    """A desk with other receivers that goes on from a state."""
    desk = Desk(clocks, **mail_section(mail, smtp_to=receivers))
    desk.state = observe(
        state, [], now=clocks.now(), repeat=timedelta(days=1), channels=desk.config.channels, seen=frozenset(Kind)
    )
    return desk


def test_what_waits_for_a_receiver_reaches_it_whoever_else_is_told_now(clocks: Clocks, mail: MailReceiver) -> None:
    both, one = "a@example.org,b@example.org", "b@example.org"
    for before, now in ((both, one), (one, both)):
        mail.mails.clear()
        waiting = Desk(clocks, "r1", **mail_section(mail, smtp_to=before)).state
        assert configured_anew(waiting, clocks, mail, now).deliver() == []
        assert len(mail.mails) == 1  # for the receiver that was there before and is now


def test_what_a_former_version_kept_for_all_receivers_together_reaches_each(clocks: Clocks, mail: MailReceiver) -> None:
    state = Desk(clocks, "r1", **mail_section(mail)).state
    (waiting,) = state.outbox
    former = replace(state, outbox=(replace(waiting, channels=("e-mail",)),))
    assert configured_anew(former, clocks, mail, "a@example.org,b@example.org").deliver() == []
    assert len(mail.mails) == 2


def test_a_server_without_encryption_is_given_neither_login_nor_mail(clocks: Clocks, tmp_path: Path) -> None:
    receiver = MailReceiver(tmp_path, LOGIN, offers_tls=False)
    try:
        desk = Desk(clocks, "r1", **mail_section(receiver))
        desk.deliver()
        assert desk.state.troubles["e-mail to a@example.org"].reason == "SMTPNotSupportedError"
        assert (receiver.mails, receiver.logins) == ([], [])
    finally:
        receiver.close()


def test_a_certificate_nobody_vouches_for_is_refused(clocks: Clocks, mail: MailReceiver) -> None:
    desk = Desk(clocks, "r1", **mail_section(mail, smtp_ca_file=None))
    desk.deliver()
    assert desk.state.troubles["e-mail to a@example.org"].reason.startswith("the certificate is not trusted")
    assert mail.logins == []


def test_without_login_mail_goes_in_the_clear_where_that_was_asked_for(clocks: Clocks, mail: MailReceiver) -> None:
    section = mail_section(mail, smtp_user=None, smtp_password=None, smtp_security="none")
    assert Desk(clocks, "r1", **section).deliver() == []
    assert len(mail.mails) == 1


def test_both_copies_of_a_mail_whose_answer_got_lost_have_one_id(clocks: Clocks, mail: MailReceiver) -> None:
    desk = Desk(clocks, "r1", **mail_section(mail))
    before = desk.state
    desk.deliver()
    desk.state = before
    desk.deliver()
    first, second = (email.message_from_string(raw)["Message-ID"] for raw in mail.mails)
    assert first == second != ""


# -- secrets


def _among(one: object, others: list[BaseException]) -> bool:
    return any(one is other for other in others)


def test_no_failure_prints_a_secret_anywhere(
    clocks: Clocks,
    slack: WebReceiver,
    mail: MailReceiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    # Other tests of this process leave exceptions behind whose own source names secrets.
    former = [known for known in gc.get_objects() if isinstance(known, BaseException)]
    mail.refuse["AUTH"] = "535 robot-user mail-secret is wrong"
    gathered = io.StringIO()
    hold = [Answer(500), Answer(401), Answer(400), Answer(429, {"Retry-After": "100"}), Answer(silent=True)]
    with refusing_port() as port:
        for api in [slack.url] * len(hold) + [f"http://127.0.0.1:{port}", "http://no-such-host.invalid"]:
            slack.script = [hold.pop(0)] * 3 if hold else []
            section = telegram_section(slack) | {"telegram_api": api, "slack_webhook_url": f"{api}{HOOK}"}
            desk = Desk(clocks, "r1", timeout_seconds=0.2, **section, **mail_section(mail))
            desk.deliver()
            gathered.write(desk.state.to_json())
            gathered.write(" ".join(map(repr, [desk.config, *desk.channels])))
    # Exceptions that are still alive: a chain would keep the URL of a request within reach of any log.
    gc.collect()
    for alive in gc.get_objects():
        if isinstance(alive, BaseException) and alive.__traceback__ is not None and not _among(alive, former):
            gathered.write("".join(traceback.format_exception(alive)))
    captured = capfd.readouterr()
    everything = gathered.getvalue() + caplog.text + captured.out + captured.err
    assert "the message is kept" in caplog.text
    for secret in (*desk.config.secrets(), "hook-secret", "bot-secret", "mail-secret"):
        assert secret not in everything


def test_a_message_is_told_at_its_own_time(clocks: Clocks, mail: MailReceiver) -> None:
    desk = Desk(clocks, "r1", **mail_section(mail))
    (waiting,) = desk.state.outbox
    assert waiting.message.phase is Phase.EVENT
    assert waiting.message.at == datetime(2026, 3, 2, 6, tzinfo=UTC)
    clocks.pass_(hours=5)
    desk.deliver()
    assert email.message_from_string(mail.mails[0])["Date"] == "Mon, 02 Mar 2026 06:00:00 +0000"
