"""The front door: settings in, Dagster definitions out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from pydantic import field_validator, model_validator

from butterquant_assets.automation import retrain_inputs
from butterquant_assets.automation.alert_sensor import build_alert_sensor, secrets_of
from butterquant_assets.automation.crypto_collect import build_crypto_collect_job, build_crypto_collect_schedule
from butterquant_assets.automation.failure_schedule import failed_partitions_job, failure_schedule
from butterquant_assets.automation.jobs import build_refresh_job
from butterquant_assets.automation.prune_schedule import build_prune_job, build_prune_schedule
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
from butterquant_assets.foundation.calendar import KEY_FORMATS, shift_key, shift_month
from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.settings import (
    SWITCHED_OFF,
    HomeSettings,
    SectionBinding,
    bind_home,
    bind_section,
    load_settings,
    read_binding,
    refuse_other_binding,
)
from butterquant_assets.market import assets as market_assets
from butterquant_assets.market import crypto_assets
from butterquant_assets.market.collect_progress import CollectConfig
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_sources.base import CryptoSource, open_crypto_source
from butterquant_assets.market.crypto_sources.okx import StoreTables
from butterquant_assets.market.sources.base import MarketSource, open_source
from butterquant_assets.monitoring import assets as monitoring_assets
from butterquant_assets.monitoring.alert_config import AlertConfig
from butterquant_assets.monitoring.behind import CRYPTO_FEED, EQUITY_FEED, Feed
from butterquant_assets.monitoring.config import MonitoringConfig
from butterquant_assets.monitoring.failure_assets import build_failed_partitions
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets, build_checks
from butterquant_assets.orchestration.axes import DayAxis, MonthAxes
from butterquant_assets.orchestration.executors import executor_of
from butterquant_assets.orchestration.house import CRYPTO, EQUITY, House, utc_now
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_assets.orchestration.span import GROWS_TO
from butterquant_assets.signals import assets as signal_assets
from butterquant_assets.signals.config import SignalConfig

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
"""Every declared asset of the equity house, inputs before their readers."""

CRYPTO_DECLARATIONS = (*crypto_assets.ASSETS, *signal_assets.ASSETS)
"""Every declared asset of the crypto house, inputs before their readers."""

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
    crypto: CryptoConfig = CryptoConfig()
    signals: SignalConfig = SignalConfig()

    bound_sections: ClassVar[Mapping[str, SectionBinding]] = {
        CRYPTO: SectionBinding(
            "crypto.json",
            (
                "source",
                "data_dir",
                "recording",
                "bars_dataset",
                "store",
                "start",
                "end",
                "coins",
                "days",
                "seed",
                "edge",
            ),
        )
    }

    @model_validator(mode="before")
    @classmethod
    def _no_invented_coins_beside_real_shares(cls, values: Any) -> Any:
        # Asked for, they may join any home; by default simulated coins keep company with simulated shares only.
        if isinstance(values, dict) and not values.get(CRYPTO) and values.get("source", "sample") != "sample":
            return {**values, CRYPTO: {"source": SWITCHED_OFF}}
        return values

    @field_validator("crypto")
    @classmethod
    def _absolute_folders(cls, value: CryptoConfig) -> CryptoConfig:
        # A daemon works from another directory than the command that bound the home.
        folders = {name: getattr(value, name) for name in ("data_dir", "store")}
        return replace(value, **{name: path.expanduser().absolute() for name, path in folders.items() if path})

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


def open_market_source(settings: HomeSettings, clock: Callable[[], datetime] = utc_now) -> MarketSource:
    """The source that the settings name; by the clock it refuses what is dated in the future."""
    return open_source(
        settings.source,
        data_dir=settings.data_dir,
        bars_dataset=settings.bars_dataset,
        seed=settings.seed,
        edge=settings.edge,
        tickers=settings.tickers,
        clock=clock,
    )


def build_house(settings: Settings, clock: Callable[[], datetime] = utc_now) -> House:
    """The house of a home directory; binds a new home to its source and span first.

    Parameters
    ----------
    settings
        all settings
    clock
        tells the time, which neither a growing house nor its source outruns

    Raises
    ------
    ConfigError
        if the months asked for lie outside what the source holds.
    SourceError
        if the source cannot be read.
    """
    source: MarketSource | None = None
    if not read_binding(settings.home):
        source = open_market_source(settings, clock)
        bind_home(settings, _span(settings, source))
    opened = source
    return House(
        settings,
        MonthAxes(read_binding(settings.home), {"scan": max(1, settings.scan.months)}),
        DECLARATIONS,
        lambda: opened if opened is not None else open_market_source(settings, clock),
        clock=clock,
        simulated=settings.source == "sample",
        landing=settings.data_dir,
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


def build_crypto_house(settings: Settings, clock: Callable[[], datetime] = utc_now) -> House | None:
    """The crypto house of a home directory, by UTC day; None where its source is ``none``.

    Binds a new home to its source and span first.

    Parameters
    ----------
    settings
        all settings
    clock
        tells the time, which neither a growing house nor its source outruns

    Raises
    ------
    ConfigError
        if the home is bound to another source, or the days asked for lie outside what the source holds.
    SourceError
        if the source cannot be read.
    """
    config = settings.crypto
    if config.source == "none":
        return None
    refuse_other_binding(settings, CRYPTO)
    file, opened = settings.bound_sections[CRYPTO].file, None
    if not read_binding(settings.home, file):
        opened = open_crypto_source(config, settings.home, clock)
        bind_section(settings, CRYPTO, _crypto_span(config, opened, clock()))
    found = opened
    bound = read_binding(settings.home, file)
    return House(
        settings,
        DayAxis({**bound, "end": bound["last"]}),
        CRYPTO_DECLARATIONS if config.bar == "1h" else (*crypto_assets.MINUTE_ASSETS, *CRYPTO_DECLARATIONS),
        lambda: found if found is not None else open_crypto_source(config, settings.home, clock),
        clock=clock,
        name=CRYPTO,
        simulated=_is_simulated(config, settings.home),
        landing=config.data_dir,
    )


def _is_simulated(config: CryptoConfig, home: Path) -> bool:
    """Whether the coins are: an exchange that was asked may be a simulated one too, which only its store shows."""
    return config.source == "sample" or (config.source == "okx" and StoreTables(config.store_in(home)).simulated)


def _crypto_span(config: CryptoConfig, source: CryptoSource, now: datetime) -> dict[str, str | None]:
    """First day, last day delivered so far (None for none) and last day that may ever join (None for no end)."""
    if config.source == "okx":
        # The collector fills its store from today backwards, so the store does not say yet where it will begin.
        today = now.strftime(KEY_FORMATS["day"])
        start = config.start or shift_key(today, 1 - config.history_days, "day")
        return {"start": start, "last": None, GROWS_TO: config.end}
    first, last = source.span()
    start, end = config.start or first, config.end or last
    if not first <= start <= end <= last:
        raise ConfigError(
            f"crypto days {start} .. {end} were asked for, but source {config.source!r} holds {first} .. {last}: "
            "choose BUTTERQUANT_CRYPTO__START and __END within that"
        )
    return {"start": start, "last": end, GROWS_TO: end if config.source == "sample" else config.end}


def build_houses(settings: Settings, failed: dict[str, SourceError] | None = None) -> tuple[House, ...]:
    """All houses of a home directory, the equity house first.

    Parameters
    ----------
    settings
        all settings
    failed
        takes up, by its name, a house beside the equity house that cannot be bound because its source cannot be read;
        by default that is raised

    Raises
    ------
    ConfigError, SourceError
        as by `build_house` and `build_crypto_house`.
    """
    try:
        crypto = build_crypto_house(settings)
    except SourceError as error:
        if failed is None:
            raise
        failed[CRYPTO], crypto = error, None
    return (build_house(settings), *([crypto] if crypto else []))


def _collector(settings: Settings) -> tuple[list[dg.JobDefinition], list[dg.SensorDefinition]]:
    """Job and sensor that poll the services; none where no tickers are named."""
    if not settings.collect.enabled:
        return [], []
    from butterquant_assets.automation import collect_schedule  # brings an HTTP client, which most processes never need

    folder = collect_schedule.require_landing(settings.collect, settings.source, settings.data_dir)
    job = collect_schedule.build_collect_job(settings.collect, folder)
    return [job], [collect_schedule.build_collect_sensor(settings.collect, folder)]


def _crypto_collector(settings: Settings) -> tuple[list[dg.JobDefinition], list[dg.ScheduleDefinition]]:
    """Job and schedule that fill the store which the crypto house reads; none where it reads something else."""
    if settings.crypto.source != "okx":
        return [], []
    job = build_crypto_collect_job(settings.crypto, settings.crypto.store_in(settings.home))
    return [job], [build_crypto_collect_schedule(settings.crypto)]


def feeds_of(settings: Settings) -> dict[str, Feed]:
    """Tables whose rows should keep coming, by house: where files land, or the collector fills its store."""
    comes = {EQUITY: settings.source == "files", CRYPTO: settings.crypto.source == "okx"}
    return {house: feed for house, feed in ((EQUITY, EQUITY_FEED), (CRYPTO, CRYPTO_FEED)) if comes[house]}


def told_missing(name: str, error: SourceError) -> str:
    """What is said of a house that a home has to do without."""
    return (
        f"the {name} house is missing, because its source cannot be read ({error}): mend it, and start again or reload "
        "the code location"
    )


def build_definitions(
    settings: Settings, houses: Sequence[House] | None = None, failed: Mapping[str, SourceError] | None = None
) -> dg.Definitions:
    """Everything Dagster needs to know about one home directory.

    Parameters
    ----------
    settings
        all settings
    houses
        the houses, the equity house first, if the caller has built them already
    failed
        houses that could not be built, see `build_houses`; the code location says so in its metadata
    """
    houses = houses or build_houses(settings)
    house, others = houses[0], houses[1:]
    secrets = secrets_of(settings, settings.alerts)
    collect_jobs, collect_sensors = _collector(settings)
    crypto_jobs, crypto_schedules = _crypto_collector(settings)
    # A poll of the services ends in one file, which the freshness sensor waits for. The crypto collector writes for
    # minutes into what the crypto house reads, and a run beside it would find the source changed between two batches;
    # it works for a small part of the hour, so that waiting for it starves nobody.
    polls, collections = ([job.name for job in jobs] for jobs in (collect_jobs, crypto_jobs))
    prune_job = build_prune_job(houses, settings.prune_after_days)
    resources: dict[str, Any] = {IO_MANAGER_KEY: LakeIOManager(house.lake)}
    return dg.Definitions(
        assets=[
            *(asset for each in houses for asset in build_assets(each)),
            build_failed_partitions(house, MAX_ATTEMPTS, secrets, others),
        ],
        asset_checks=[check for each in houses for check in build_checks(each)],
        resources=resources,
        jobs=[*map(build_refresh_job, houses), failed_partitions_job, prune_job, *collect_jobs, *crypto_jobs],
        schedules=[failure_schedule, build_prune_schedule(prune_job), *crypto_schedules],
        sensors=[
            build_freshness_sensor(house, hold_training=True, beside=[*polls, *collections]),
            *(build_freshness_sensor(each, name=f"{each.name}_freshness_sensor", beside=polls) for each in others),
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
                others=others,
                model_assets={"success": "butterfly/success_champion"},
                hold_training=True,
                feeds=feeds_of(settings),
            ),
            *collect_sensors,
        ],
        executor=executor_of(settings.executor, settings.broker_url, lease_seconds=settings.lease_seconds),
        metadata={f"{name} house": told_missing(name, error) for name, error in (failed or {}).items()},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dg`, the webserver and the daemon load; the home comes from ``BUTTERQUANT_HOME`` (default ``./home``).

    A house whose source cannot be read, and that was never bound, does not keep the equity house from them.
    """
    settings = load_settings(Settings, {})
    failed: dict[str, SourceError] = {}
    houses = build_houses(settings, failed)
    for name, error in failed.items():
        logging.getLogger(__name__).warning(told_missing(name, error))
    return build_definitions(settings, houses, failed)
