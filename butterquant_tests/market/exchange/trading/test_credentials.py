"""Nobody gets in without the right key, signature, passphrase, time and environment, and nothing secret gets out."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from butterquant_assets.market.exchange.trading.credentials import demo_credentials
from butterquant_assets.market.exchange.trading.routes import PRIVATE
from butterquant_tests.market.exchange.trading.scripted import KEY, START, ScriptedVenue, order, signed, trading_app

BALANCE = ("GET", "account/balance")
WRONG = replace(KEY, secret=demo_credentials(1).secret)


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]  # type: ignore[attr-defined]


def test_the_right_key_is_admitted() -> None:
    assert code(signed(trading_app(ScriptedVenue()), *BALANCE)) == (200, "0")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("OK-ACCESS-KEY", "50103"),
        ("OK-ACCESS-PASSPHRASE", "50104"),
        ("OK-ACCESS-SIGN", "50106"),
        ("OK-ACCESS-TIMESTAMP", "50107"),
        ("x-simulated-trading", "50101"),
    ],
)
def test_a_missing_header_is_named(header: str, expected: str) -> None:
    assert code(signed(trading_app(ScriptedVenue()), *BALANCE, without=(header,))) == (401, expected)


def test_wrong_credentials_are_told_apart() -> None:
    app = trading_app(ScriptedVenue())
    assert code(signed(app, *BALANCE, credentials=replace(KEY, key="another-key"))) == (401, "50111")
    assert code(signed(app, *BALANCE, credentials=WRONG)) == (401, "50113")
    assert code(signed(app, *BALANCE, credentials=replace(KEY, passphrase=KEY.key))) == (401, "50105")
    assert code(signed(app, *BALANCE, x_simulated_trading="0")) == (401, "50101")


def test_an_expired_a_frozen_and_a_foreign_key_are_refused() -> None:
    def asked(**changes: object) -> tuple[int, str]:
        return code(signed(trading_app(ScriptedVenue(), credentials=replace(KEY, **changes)), *BALANCE))  # type: ignore[arg-type]

    assert asked(expires=START) == (401, "50111")
    assert asked(expires=START + 1) == (200, "0")
    assert asked(frozen=True) == (401, "50100")
    assert asked(addresses=("10.0.0.1",)) == (401, "50110")
    assert asked(addresses=("127.0.0.1",)) == (200, "0")


@pytest.mark.parametrize(("off", "expected"), [(30_000, "0"), (-30_000, "0"), (30_001, "50102"), (-30_001, "50102")])
def test_a_timestamp_may_be_thirty_seconds_off(off: int, expected: str) -> None:
    assert code(signed(trading_app(ScriptedVenue()), *BALANCE, moment=START + off))[1] == expected


@pytest.mark.parametrize("stamp", ["soon", "2021-09-01T00:00:00.000", "1630454400000x"])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    assert code(signed(trading_app(ScriptedVenue()), *BALANCE, timestamp=stamp)) == (401, "50112")


def test_a_signature_covers_query_body_and_path() -> None:
    app = trading_app(ScriptedVenue())
    good = signed(app, "GET", "account/positions", {"instId": "SIMX-USDT-SWAP"})
    assert code(good) == (200, "0")
    taken = good.request.headers["OK-ACCESS-SIGN"]
    assert code(signed(app, "GET", "account/positions", {"instId": "OTHER"}, OK_ACCESS_SIGN=taken)) == (401, "50113")
    assert code(signed(app, "GET", "account/balance", OK_ACCESS_SIGN=taken)) == (401, "50113")
    placed = signed(app, "POST", "trade/order", order("buy", 1, clOrdId="a"))
    taken = placed.request.headers["OK-ACCESS-SIGN"]
    assert code(signed(app, "POST", "trade/order", order("buy", 9, clOrdId="b"), OK_ACCESS_SIGN=taken))[1] == "50113"
    assert app.trading is not None
    assert len(app.trading.desk.orders) == 1


@pytest.mark.parametrize(("method", "path"), list(PRIVATE))
def test_no_private_endpoint_answers_a_stranger(method: str, path: str) -> None:
    app = trading_app(ScriptedVenue())
    answer = signed(app, method, path, {} if method == "GET" else [{}], credentials=WRONG)
    assert code(answer) == (401, "50113")
    assert answer.json()["data"] == []


def test_without_an_account_there_are_no_private_endpoints() -> None:
    app = trading_app(ScriptedVenue())
    app.trading = None
    assert code(signed(app, *BALANCE)) == (404, "404")


def test_nothing_secret_is_answered_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = trading_app(ScriptedVenue())
    answers = [
        signed(app, method, path, {"instId": "X"} if method == "GET" else [{}], credentials=key).text
        for method, path in PRIVATE
        for key in (KEY, WRONG)
    ]
    told = "".join(answers) + caplog.text + repr(KEY) + str(KEY) + repr(app.trading)
    for secret in (KEY.secret, KEY.passphrase, KEY.key, WRONG.secret):
        assert secret not in told


def test_demo_credentials_say_that_they_are_simulated_and_follow_the_seed() -> None:
    assert demo_credentials(1) == demo_credentials(1)
    assert demo_credentials(1) != demo_credentials(2)
    assert all("simulated" in value for value in (KEY.key, KEY.secret, KEY.passphrase))
