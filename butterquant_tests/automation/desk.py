"""A sensor at work: its ticks, its cursor, its clock, and the runs it asks for, in this process."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from butterquant_assets.automation.jobs import build_refresh_job, refresh_name
from butterquant_assets.automation.sensors import FULL_LOOK_SECONDS, build_freshness_sensor
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets, build_checks
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.io_manager import LakeIOManager

Build = Callable[[House, "Desk"], dg.SensorDefinition]


class Desk:
    """A sensor, its cursor, and the runs it asked for; time passes from tick to tick."""

    def __init__(
        self,
        house: House,
        instance: dg.DagsterInstance,
        *,
        cursor: str | None = None,
        now: float = 1.6e9,
        build: Build = lambda house, desk: build_freshness_sensor(house, clock=lambda: desk.now),
    ) -> None:
        self.house, self.instance, self.cursor, self.now, self.said = house, instance, cursor, now, ""
        # Somebody may edit the checkout while the tests run; what the sensor makes of that has a test of its own.
        self.code_has_changed = False
        vars(house)["code_has_changed"] = lambda: self.code_has_changed
        self.sensor = build(house, self)

    def definitions(self) -> dg.Definitions:
        """As a process that executes a run loads them."""
        return dg.Definitions(
            assets=build_assets(self.house),
            asset_checks=build_checks(self.house),
            jobs=[build_refresh_job(self.house)],
            sensors=[self.sensor],
            resources={IO_MANAGER_KEY: LakeIOManager(self.house.lake)},
        )

    def tick(self, after: float = FULL_LOOK_SECONDS) -> list[dg.RunRequest]:
        """One tick, some time after the last one."""
        self.now += after
        repository = self.definitions().get_repository_def()
        with dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor, self.said = data.cursor, data.skip_message or ""
        return list(data.run_requests)

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that was asked for."""
        job = self.definitions().resolve_job_def(refresh_name(self.house))
        return job.execute_in_process(
            instance=self.instance,
            tags=request.tags,
            asset_selection=request.asset_selection,
            raise_on_error=False,
        )
