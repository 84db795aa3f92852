"""The hourly job collects, tells what came of it, and never runs twice at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.automation.crypto_collect import (
    COLLECT_CRYPTO,
    build_crypto_collect_job,
    build_crypto_collect_schedule,
)
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.collection import CryptoCollection
from butterquant_assets.market.crypto_config import CryptoConfig

CONFIG = CryptoConfig(source="okx")
DONE = CryptoCollection(
    at="2024-05-01T12:02:03",
    coins=("BTC", "ETH"),
    changed={"crypto_bars": 2, "mark_prices": 1},
    incomplete={"crypto_bars": "2024-04-30: 1 of 48 rows did not come (ETH 2024-04-30T07:00)"},
    incomplete_days=1,
    requests=17,
    retried=2,
    problems=("order_books: market/books for ETH-USDT-SWAP got no usable answer",),
)


def test_the_job_tells_what_came_of_the_collection(tmp_path: Path) -> None:
    asked = []

    def collect(config: CryptoConfig, folder: Path) -> CryptoCollection:
        asked.append((config, folder))
        return DONE

    result = build_crypto_collect_job(CONFIG, tmp_path, collect).execute_in_process()
    assert asked == [(CONFIG, tmp_path)]
    (event,) = [each for each in result.all_node_events if each.is_successful_output]
    told = event.step_output_data.metadata
    assert (told["files changed"].value, told["days over but not complete"].value) == (3, 1)
    assert "ETH 2024-04-30T07:00" in str(told["not complete"].value)
    assert "no usable answer" in str(told["problems"].value)


def test_an_exchange_that_does_not_serve_us_fails_the_run_in_words(tmp_path: Path) -> None:
    def collect(config: CryptoConfig, folder: Path) -> CryptoCollection:
        raise SourceError("the exchange does not serve this address or region")

    job = build_crypto_collect_job(CONFIG, tmp_path, collect)
    result = job.execute_in_process(raise_on_error=False)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "does not serve this address or region" in str(failure.step_failure_data.user_failure_data)


@pytest.mark.parametrize(
    ("source", "status"),
    [("okx", dg.DefaultScheduleStatus.RUNNING), ("sample", dg.DefaultScheduleStatus.STOPPED)],
)
def test_it_runs_by_default_only_where_the_store_is_read(source: str, status: dg.DefaultScheduleStatus) -> None:
    schedule = build_crypto_collect_schedule(CryptoConfig(source=source))  # type: ignore[arg-type]
    assert schedule.default_status == status
    assert schedule.cron_schedule == "2 * * * *"


def test_each_hour_asks_for_one_run_and_none_beside_another(tmp_path: Path) -> None:
    schedule = build_crypto_collect_schedule(CONFIG)
    job = build_crypto_collect_job(CONFIG, tmp_path, lambda config, folder: DONE)
    moment = datetime(2024, 5, 1, 12, 2, tzinfo=UTC)
    # A context that is not left keeps its instance as the current one, for every test that follows.
    with dg.instance_for_test() as instance, dg.build_schedule_context(instance, moment) as context:
        ticked = schedule.evaluate_tick(context)
        assert len(ticked.run_requests or ()) == 1
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        ticked = schedule.evaluate_tick(context)
        assert not ticked.run_requests
        assert "is collecting" in (ticked.skip_message or "")
        assert job.name == COLLECT_CRYPTO
