from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.registry_events import ModelEvent
from butterquant_assets.monitoring.alert_state import Message
from butterquant_assets.monitoring.alert_text import (
    MAX_TEXT,
    body,
    email_parts,
    scrubbed,
    slack_payload,
    telegram_payload,
    title,
    without_secrets,
)
from butterquant_assets.monitoring.alerts import (
    Alert,
    Kind,
    Level,
    Phase,
    age,
    drift_alerts,
    events_after,
    marks_after,
    model_alerts,
    quarantine_alerts,
    stale_alerts,
)
from butterquant_tests.monitoring.alert_cases import BAD, BARS, DRIFT, FEATURES, MODEL, Lake

UI = "http://ui:3000"
AT = datetime(2026, 3, 2, 6, 30)


def model_event(sequence: int, action: str, model: str = "success") -> ModelEvent:
    return ModelEvent(
        model,
        sequence,
        AT,
        "abcdef0123456789",
        action,
        "fedcba9876543210",
        "butterquant",
        "better by 0.02",
        {},
        f"id{sequence}",
    )


def test_a_lake_in_which_all_is_well_is_silent() -> None:
    freshness = Lake().freshness()
    assert quarantine_alerts(freshness, UI) == []
    assert stale_alerts(freshness, UI, timedelta(0)) == []
    assert drift_alerts(freshness, UI) == []


def test_quarantined_partitions_of_an_asset_are_one_condition_with_their_reasons_and_a_link() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02")
    lake.quarantine(BARS, "2026-03", Verdict({"keys": Outcome(False, 1, ("A twice",))}))
    (alert,) = quarantine_alerts(lake.freshness(), UI)
    assert (alert.kind, alert.subject, alert.level) == (Kind.QUARANTINED, BARS, Level.ERROR)
    assert alert.text.startswith("2 partitions (2026-02 .. 2026-03) are quarantined")
    assert [item.line for item in alert.items] == [
        "2026-02: prices: 2 rows, for instance close -1.0; close -2.0",
        "2026-03: keys: 1 rows, for instance A twice",
    ]
    assert alert.link == "http://ui:3000/assets/toy/bars?view=partitions&partition=2026-02"


def test_a_quarantine_lasts_while_it_is_tried_again_and_ends_with_a_good_file() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02")
    before = quarantine_alerts(lake.freshness(), UI)
    lake.correct("2026-02")
    assert [a.items for a in quarantine_alerts(lake.freshness(), UI)] == [a.items for a in before]
    lake.publish(BARS, "2026-02")
    assert quarantine_alerts(lake.freshness(), UI) == []


def test_a_sibling_that_is_held_back_says_so() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02", Verdict({"prices": Outcome(True)}))
    (alert,) = quarantine_alerts(lake.freshness(), None)
    assert alert.items[0].line == "2026-02: held back with a table that is made together with it"
    assert alert.link is None


def test_stale_partitions_are_one_patient_condition_per_asset_and_what_waits_is_none() -> None:
    lake = Lake()
    lake.correct("2026-01")
    lake.correct("2026-02")
    (alert,) = stale_alerts(lake.freshness(), UI, timedelta(hours=2))
    assert alert.text == "2 partitions (2026-01 .. 2026-02) are stale and not rebuilt: source:bars changed"
    assert (alert.witnesses, alert.patience) == (("2026-01", "2026-02"), timedelta(hours=2))
    lake.quarantine(BARS, "2026-01")
    lake.quarantine(BARS, "2026-02")
    assert stale_alerts(lake.freshness(), UI, timedelta(0)) == []


def test_only_the_newest_month_of_a_monitoring_table_speaks() -> None:
    lake = Lake()
    lake.publish(DRIFT, "2026-02", alarm=True, reasons=["old"])
    lake.publish(DRIFT, "2026-03", alarm=False, reasons=[])
    assert drift_alerts(lake.freshness(), UI) == []
    lake.publish(DRIFT, "2026-03", alarm=True, reasons=["hv20 1.8 > 1.2", "vix 3.0 > 1.1", "c", "d", "e"])
    (alert,) = drift_alerts(lake.freshness(), UI)
    assert alert.items[0].line == "2026-03: hv20 1.8 > 1.2; vix 3.0 > 1.1; c; and 2 more"
    lake.publish(DRIFT, "2026-03", alarm=True, reasons="hv20 1.9 > 1.2")
    (later,) = drift_alerts(lake.freshness(), UI)
    assert later.items[0].identity == alert.items[0].identity


def test_a_new_month_without_a_verdict_does_not_end_the_alarm_of_the_month_before() -> None:
    lake = Lake()
    lake.publish(DRIFT, "2026-02", alarm=True, judged=True, reasons=["hv20"])
    lake.publish(DRIFT, "2026-03", alarm=False, judged=False, reasons=["not judged: 2 sessions"])
    (alert,) = drift_alerts(lake.freshness(), UI)
    assert alert.items[0].line == "2026-02: hv20"
    lake.publish(DRIFT, "2026-03", alarm=False, judged=True, reasons=[])
    assert drift_alerts(lake.freshness(), UI) == []


def test_registry_events_are_told_once_by_their_number() -> None:
    history = {"success": [model_event(1, "registered"), model_event(2, "promoted"), model_event(3, "refused")]}
    fresh = model_alerts(events_after({"success": 1}, history), UI, {"success": MODEL})
    assert [(a.level, a.text) for a in fresh] == [
        (Level.INFO, "was promoted by butterquant: better by 0.02 (fedcba987654 served before)"),
        (Level.WARNING, "was refused by butterquant: better by 0.02 (fedcba987654 stays in service)"),
    ]
    assert fresh[0].link == f"{UI}/assets/{MODEL}"
    assert events_after(marks_after({"other": 4}, history), history) == []
    assert marks_after({"other": 4}, history) == {"other": 4, "success": 3}


@pytest.mark.parametrize(
    ("minutes", "words"), [(-5, "0 min"), (89, "89 min"), (90, "1 h"), (2879, "47 h"), (2880, "2 days")]
)
def test_ages_read_well(minutes: int, words: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert age(at, at + timedelta(minutes=minutes)) == words


# -- how they read


def message(text: str = "bad", *lines: str, phase: Phase = Phase.NEW, subject: str = BARS) -> Message:
    return Message(
        "0123456789abcdef",
        phase,
        Kind.QUARANTINED,
        subject,
        text,
        lines,
        f"{UI}/a?b=1&c=2",
        Level.ERROR,
        AT.replace(tzinfo=UTC),
    )


def test_a_message_reads_the_same_on_every_channel() -> None:
    assert slack_payload(message("2 < 3 & more", "2026-02: prices")) == {
        "text": "*[ERROR] quarantined: toy/bars*\n2 &lt; 3 &amp; more\n- 2026-02: prices\n"
        "<http://ui:3000/a?b=1&c=2|Open in the UI>"
    }
    telegram = telegram_payload(message("2 < 3 & more"), "-100")
    assert telegram["chat_id"] == "-100"
    assert telegram["text"] == (
        "<b>[ERROR] quarantined: toy/bars</b>\n2 &lt; 3 &amp; more\n"
        '<a href="http://ui:3000/a?b=1&amp;c=2">Open in the UI</a>'
    )
    mail = email_parts(message("2 < 3 & more"))
    assert mail["subject"] == "ButterQuant [ERROR] quarantined: toy/bars"
    assert mail["body"] == "2 < 3 & more\n\nhttp://ui:3000/a?b=1&c=2\n\n2026-03-02 06:30 UTC\n"


def test_the_phase_is_in_the_title() -> None:
    titles = [title(message(phase=phase)) for phase in (Phase.MORE, Phase.AGAIN, Phase.RESOLVED)]
    assert titles == [f"[{head}] quarantined: toy/bars" for head in ("ERROR, more", "ERROR, still", "RESOLVED")]


def test_no_text_breaks_a_line_of_a_header_or_outgrows_a_channel() -> None:
    long = message("x\r\nBcc: me@example.org", *(["y" * 5000] * 40), subject="a\nb")
    assert "\n" not in title(long)
    assert len(body(long)) <= MAX_TEXT + 4
    assert "\r" not in body(long)


def test_secrets_are_struck_out_of_texts() -> None:
    text = (
        "POST https://hooks/T0/secret-path failed, postgresql://me:pw@host/db, password=hunter2 api_key: k1, bot1:tok"
    )
    clean = scrubbed(text, ["https://hooks/T0/secret-path", "1:tok", ""])
    assert clean == "POST *** failed, postgresql://***@host/db, password=*** api_key: ***, bot***"
    assert scrubbed("a short secret inside a longer one: abcdef", ["abc", "abcdef"]).endswith("one: ***")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"user": "me", "password": "hunter two", "n": 1}', '{"user": "me", "password": "***", "n": 1}'),
        ("{'token': 'abc', 'n': 1}", "{'token': '***', 'n': 1}"),
        ("Authorization: Bearer abcdef", "Authorization: Bearer ***"),
        ("authorization: Basic bWU6cHc=", "authorization: Basic ***"),
        ("said Bearer x, twice", "said Bearer ***, twice"),
        ("X-CMC_PRO_API_KEY: 1234-5678", "X-CMC_PRO_API_KEY: ***"),
        ("x-api-key: k; n=1", "x-api-key: ***; n=1"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+g== AWS_REGION=eu", "AWS_SECRET_ACCESS_KEY=*** AWS_REGION=eu"),
        ("postgresql://me:p@ss@host/db", "postgresql://***@host/db"),
        ("column 'token_count' is missing; the key of 3 secrets is old", None),
    ],
)
def test_what_names_itself_a_secret_is_struck_out_however_it_is_written(text: str, clean: str | None) -> None:
    assert scrubbed(text, ()) == (clean or text)


def test_a_long_text_is_scrubbed_in_no_time() -> None:
    began = time.monotonic()
    scrubbed("a" * 200_000 + " password=" + "b" * 200_000, ())
    assert time.monotonic() - began < 2.0


def test_a_link_leads_where_it_did_without_user_and_password() -> None:
    link = "https://admin:hunter2@ui:3000/runs/r1?token=abcdefgh"
    alert = Alert(Kind.STALE, BARS, "bad", link, Level.ERROR, "f", lasting=True)
    assert without_secrets(alert, ("abcdefgh",)).link == "https://ui:3000/runs/r1?token=***"
    assert without_secrets(replace(alert, link=None), ()).link is None


def test_bad_verdicts_have_reasons() -> None:
    assert not BAD.passed
    lake = Lake()
    lake.quarantine(FEATURES, "2026-01", Verdict({name: Outcome(False, 1, ("x",)) for name in "abcde"}))
    (alert,) = quarantine_alerts(lake.freshness(), UI)
    assert alert.items[0].line.endswith("and 2 more checks")
