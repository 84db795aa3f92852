"""The front door: settings in, Dagster definitions out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg

from butterquant_assets.automation import retrain_inputs
from butterquant_assets.automation.alert_sensor import build_alert_sensor
from butterquant_assets.automation.failure_schedule import failed_partitions_job, failure_schedule
from butterquant_assets.automation.jobs import refresh_job
from butterquant_assets.automation.retrain_sensor import build_retrain_sensor
from butterquant_assets.automation.retraining import RetrainConfig
from butterquant_assets.automation.sensors import MAX_ATTEMPTS, build_freshness_sensor
from butterquant_assets.butterfly import assets as butterfly_assets
from butterquant_assets.butterfly import (
    decision_assets,
    feedback_assets,
    metrics_assets,
    short_term_assets,
    study_assets,
)
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, SamplingConfig, ScanConfig, TrainingConfig
from butterquant_assets.butterfly.decisions import DecisionRules
from butterquant_assets.butterfly.feedback import FeedbackConfig
from butterquant_assets.butterfly.short_term_training import ShortTermConfig
from butterquant_assets.butterfly.study import StudyConfig
from butterquant_assets.butterfly.update import UpdateConfig
from butterquant_assets.foundation.calendar import shift_month
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.settings import HomeSettings, bind_home, load_settings, read_binding
from butterquant_assets.market import assets as market_assets
from butterquant_assets.market.collect_progress import CollectConfig
from butterquant_assets.market.sources.base import MarketSource, open_source
from butterquant_assets.monitoring import assets as monitoring_assets
from butterquant_assets.monitoring.alert_config import AlertConfig, passwords_in
from butterquant_assets.monitoring.config import MonitoringConfig
from butterquant_assets.monitoring.failure_assets import build_failed_partitions
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets, build_checks
from butterquant_assets.orchestration.executors import executor_of
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_assets.orchestration.span import GROWS_TO

DECLARATIONS = (
    *market_assets.ASSETS,
    *butterfly_assets.ASSETS,
    *feedback_assets.ASSETS,
    *butterfly_assets.MODEL_ASSETS,
    *study_assets.ASSETS,
    *short_term_assets.ASSETS,
    *decision_assets.ASSETS,
    *metrics_assets.ASSETS,
    *monitoring_assets.ASSETS,
)
"""Every declared asset, inputs before their readers."""

LOOK_BACK_MONTHS = 26
LOOK_AHEAD_MONTHS = 2


class Settings(HomeSettings):
    """All settings: the home's, and one section per concern of the lines.

    Environment variables reach into sections with two underscores: ``BUTTERQUANT_SAMPLING__HIGH_DAYS=20``.
    """

    sampling: SamplingConfig = SamplingConfig()
    analysis: AnalysisConfig | None = None
    costs: CostConfig = CostConfig()
    training: TrainingConfig = TrainingConfig()
    study: StudyConfig = StudyConfig()
    short_term: ShortTermConfig = ShortTermConfig()
    scan: ScanConfig = ScanConfig()
    update: UpdateConfig = UpdateConfig()
    decisions: DecisionRules = DecisionRules()
    feedback: FeedbackConfig = FeedbackConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    retraining: RetrainConfig = RetrainConfig()
    alerts: AlertConfig = AlertConfig()
    collect: CollectConfig = CollectConfig()

    @property
    def analysis_in_use(self) -> AnalysisConfig:
        """The analysis section, or what suits the source.

        The simulated market publishes its own implied volatility; for files the level fitted on published volatilities
        is the proxy with the smallest error (`butterfly/iv_proxy_report`).
        """
        if self.analysis is not None:
            return self.analysis
        if self.source == "sample":
            return replace(AnalysisConfig(), iv_level="published", smile="flat")
        return replace(AnalysisConfig(), iv_level="fitted")


def open_market_source(settings: HomeSettings) -> MarketSource:
    """The source that the settings name."""
    return open_source(
        settings.source,
        data_dir=settings.data_dir,
        bars_dataset=settings.bars_dataset,
        seed=settings.seed,
        edge=settings.edge,
        tickers=settings.tickers,
    )


def build_house(settings: Settings) -> House:
    """The house of a home directory; binds a new home to its source and span first.

    Raises
    ------
    ConfigError
        if the months asked for lie outside what the source holds.
    SourceError
        if the source cannot be read.
    """
    source: MarketSource | None = None
    if not read_binding(settings.home):
        source = open_market_source(settings)
        bind_home(settings, _span(settings, source))
    opened = source
    return House(
        settings,
        read_binding(settings.home),
        DECLARATIONS,
        lambda: opened if opened is not None else open_market_source(settings),
        recent_months={"scan": max(1, settings.scan.months)},
    )


def _span(settings: HomeSettings, source: MarketSource) -> dict[str, str | None]:
    first, last = source.span()
    start, end = settings.start or first, settings.end or last
    if not first <= start <= end <= last:
        raise ConfigError(
            f"analysis months {start} .. {end} were asked for, but source {settings.source!r} holds prices and VIX for "
            f"{first} .. {last}: choose --start and --end within that"
        )
    return {
        "start": start,
        "end": end,
        "market_start": shift_month(start, -LOOK_BACK_MONTHS),
        "market_end": min(shift_month(end, LOOK_AHEAD_MONTHS), last),
        GROWS_TO: _grows_to(settings, last),
    }


def _grows_to(settings: HomeSettings, last: str) -> str | None:
    """Last month that may ever join the home: none for a source that is what it is, any where no end was asked for."""
    if settings.source == "sample":
        return last if settings.end is None else min(shift_month(settings.end, LOOK_AHEAD_MONTHS), last)
    return None if settings.end is None else shift_month(settings.end, LOOK_AHEAD_MONTHS)


def _collector(settings: Settings) -> tuple[list[dg.JobDefinition], list[dg.SensorDefinition]]:
    """Job and sensor that poll the services; none where no tickers are named."""
    if not settings.collect.enabled:
        return [], []
    from butterquant_assets.automation import collect_schedule  # brings an HTTP client, which most processes never need

    folder = collect_schedule.require_landing(settings.collect, settings.source, settings.data_dir)
    job = collect_schedule.build_collect_job(settings.collect, folder)
    return [job], [collect_schedule.build_collect_sensor(settings.collect, folder)]


def build_definitions(settings: Settings, house: House | None = None) -> dg.Definitions:
    """Everything Dagster needs to know about one home directory.

    Parameters
    ----------
    settings
        all settings
    house
        the house, if the caller has built it already
    """
    house = house or build_house(settings)
    secrets = (
        *settings.alerts.secrets(),
        *passwords_in(settings.warehouse_url, settings.lake_url, settings.broker_url),
    )
    collect_jobs, collect_sensors = _collector(settings)
    resources: dict[str, Any] = {IO_MANAGER_KEY: LakeIOManager(house.lake)}
    return dg.Definitions(
        assets=[*build_assets(house), build_failed_partitions(house, MAX_ATTEMPTS, secrets)],
        asset_checks=build_checks(house),
        resources=resources,
        jobs=[refresh_job, failed_partitions_job, *collect_jobs],
        schedules=[failure_schedule],
        sensors=[
            build_freshness_sensor(house, hold_training=True),
            build_retrain_sensor(
                house,
                settings.retraining,
                signals=lambda of: retrain_inputs.monitored(of, settings.monitoring.signals),
                take=retrain_inputs.take,
                updates=retrain_inputs.UPDATES,
            ),
            build_alert_sensor(
                house,
                settings.alerts,
                model_assets={"success": "butterfly/success_champion"},
                hold_training=True,
            ),
            *collect_sensors,
        ],
        executor=executor_of(settings.executor, settings.broker_url, lease_seconds=settings.lease_seconds),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dg`, the webserver and the daemon load; the home comes from ``BUTTERQUANT_HOME`` (default ``./home``)."""
    return build_definitions(load_settings(Settings, {}))
