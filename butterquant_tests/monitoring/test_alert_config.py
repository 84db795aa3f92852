from __future__ import annotations

import traceback

import pytest
from pydantic import ValidationError

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.settings import HomeSettings, load_settings
from butterquant_assets.monitoring.alert_config import AlertConfig, passwords_in, secrets_in

HOOK = "https://hooks.example.org/services/T000/B000/hook-secret"
BOT = "12345:token-secret"
MAIL = "mail-secret"
EVERYTHING = {
    "BUTTERQUANT_ALERTS__SLACK_WEBHOOK_URL": HOOK,
    "BUTTERQUANT_ALERTS__TELEGRAM_BOT_TOKEN": BOT,
    "BUTTERQUANT_ALERTS__TELEGRAM_CHAT_ID": "-100",
    "BUTTERQUANT_ALERTS__SMTP_HOST": "mail.example.org",
    "BUTTERQUANT_ALERTS__SMTP_USER": "bot",
    "BUTTERQUANT_ALERTS__SMTP_PASSWORD": MAIL,
    "BUTTERQUANT_ALERTS__SMTP_FROM": "bot@example.org",
    "BUTTERQUANT_ALERTS__SMTP_TO": "a@example.org, b@example.org",
    "BUTTERQUANT_ALERTS__UI_URL": "https://dagster.example.org/",
    "BUTTERQUANT_ALERTS__REPEAT_HOURS": "6",
}


class AllSettings(HomeSettings):
    alerts: AlertConfig = AlertConfig()


def settings_from(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AllSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings(AllSettings, {})


def test_nothing_configured_means_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from({}, monkeypatch).alerts.channels == ()


def test_every_channel_comes_from_the_environment_and_no_secret_is_in_any_representation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_from(EVERYTHING, monkeypatch)
    config = settings.alerts
    assert config.channels == ("slack", "telegram", "e-mail to a@example.org", "e-mail to b@example.org")
    assert config.receivers == ("a@example.org", "b@example.org")
    assert (config.ui_url, config.repeat_hours) == ("https://dagster.example.org", 6.0)
    assert set(config.secrets()) == {HOOK, BOT, MAIL}
    shown = f"{config} {config!r} {settings!r} {config.model_dump()} {config.model_dump_json()}"
    assert "secret'" not in shown
    assert not any(secret in shown for secret in config.secrets())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SLACK_WEBHOOK_URL": "file:///etc/hook-secret"}, "is not an http"),
        ({"TELEGRAM_BOT_TOKEN": "token-secret"}, "is not NUMBER:LETTERS"),
        ({"TELEGRAM_BOT_TOKEN": f"{BOT}\n"}, "is not NUMBER:LETTERS"),
        ({"TELEGRAM_CHAT_ID": None}, "wants BUTTERQUANT_ALERTS__TELEGRAM_CHAT_ID beside it"),
        ({"SMTP_TO": None}, "wants BUTTERQUANT_ALERTS__SMTP_TO beside it"),
        ({"SMTP_USER": None}, "wants BUTTERQUANT_ALERTS__SMTP_USER beside it"),
        ({"SMTP_TO": "nobody"}, "'nobody' is not an e-mail address"),
        ({"SMTP_SECURITY": "none"}, "the password would travel in the clear"),
        ({"UI_URL": "dagster.example.org"}, "is not an http"),
        ({"REPEAT_HOURS": "0"}, "greater than 0"),
        ({"SLACK_WEBHOK_URL": HOOK}, "slack_webhok_url"),
    ],
)
def test_what_cannot_work_is_refused_without_repeating_a_secret(
    changed: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {f"BUTTERQUANT_ALERTS__{name}": value for name, value in changed.items()}
    merged = {name: value for name, value in (EVERYTHING | changes).items() if value is not None}
    with pytest.raises(ConfigError, match=message) as caught:
        settings_from(merged, monkeypatch)
    assert "secret" not in str(caught.value).replace("it is a secret", "")
    assert "hook-secret" not in "".join(traceback.format_exception(caught.value))


def test_an_error_of_the_section_itself_hides_what_was_given() -> None:
    with pytest.raises(ValidationError) as caught:
        AlertConfig.model_validate({"slack_webhook_url": "ftp://hook-secret", "telegram_bot_token": "token-secret"})
    assert "secret;" not in str(caught.value).replace("it is a secret;", "")
    assert "-secret" not in str(caught.value)


def test_passwords_in_urls_are_known() -> None:
    assert passwords_in("postgresql://me:pw%21@host/db", "s3://bucket/lake", None) == ("pw%21", "pw!")
    assert passwords_in("postgresql://me:p@ss@host/db", "redis://:plain@host:6379/0") == ("p@ss", "plain")


def test_keys_of_vendors_and_of_the_object_store_are_secrets_and_a_placeholder_is_none() -> None:
    environment = {
        "COINGECKO_API_KEY": "CG-12345678",
        "COINMARKETCAP_API_KEY": "1234-5678-abcd",
        "AWS_SECRET_ACCESS_KEY": "abc/def+0123456789",
        "AWS_SESSION_TOKEN": "test",
        "HOME": "/home/somebody",
    }
    assert secrets_in(environment) == ("CG-12345678", "1234-5678-abcd", "abc/def+0123456789")


def test_each_receiver_is_a_channel_of_its_own_however_many_there_are() -> None:
    section = {"smtp_host": "mail", "smtp_from": "bot@example.org"}
    assert AlertConfig(**section, smtp_to="a@example.org").mailboxes == {"e-mail to a@example.org": "a@example.org"}
    several = AlertConfig(**section, smtp_to="a@example.org,b@example.org")
    assert several.mailboxes == {f"e-mail to {name}@example.org": f"{name}@example.org" for name in "ab"}
    assert AlertConfig().mailboxes == {}
