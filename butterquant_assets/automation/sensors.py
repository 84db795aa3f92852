"""Sensors: plain ones with cursors, on the same freshness the command line uses."""

from __future__ import annotations

import json

import dagster as dg

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import FINGERPRINT_TAG, request_of
from butterquant_assets.automation.runs import UNFINISHED, fail_dead_runs
from butterquant_assets.foundation.freshness import plan
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import House

MAX_ATTEMPTS = 3
INTERVAL_SECONDS = 30


def build_freshness_sensor(house: House) -> dg.SensorDefinition:
    """A sensor that requests ONE run for everything stale.

    One run in flight at a time; at most `MAX_ATTEMPTS` for the same stale partitions with the same inputs, so that a
    failure is not repeated for ever, while anything new starts a fresh count. No ``run_key``: it would deduplicate for
    ever, and a correction that is later reverted and made again must be seen again.
    """

    @dg.sensor(
        name="freshness",
        job_name=REFRESH,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests one run over everything stale: new or corrected data, changed code, deleted files.",
    )
    def freshness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        fail_dead_runs(context.instance)
        active = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)
        if active:
            return dg.SkipReason(f"run {active[0].run_id[:8]} is under way")
        found = plan(house.freshness())
        if found.nothing_to_do:
            return dg.SensorResult(skip_reason="everything is current", cursor=json.dumps({}))
        if house.code_has_changed():
            return dg.SkipReason("the code on disk is newer than the code loaded here: reload the code location")
        causes = {
            reason for keys in found.stale.values() for judgement in keys.values() for reason in judgement.reasons
        }
        if causes == {"configuration changed"}:
            return dg.SkipReason(
                "only the configuration of this process differs from the one the home was built with: set the same "
                "BUTTERQUANT_* variables, or rebuild with `butterquant run`"
            )
        request = request_of(found, house)
        tried = json.loads(context.cursor or "{}")
        attempts = int(tried.get("attempts", 0)) if tried.get("fingerprint") == request.fingerprint else 0
        if attempts >= MAX_ATTEMPTS:
            return dg.SkipReason(
                f"{attempts} runs have not cured the same stale partitions; look at the newest failed run "
                f"(tag {FINGERPRINT_TAG}={request.fingerprint}), mend the cause, or launch a run by hand"
            )
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(asset_selection=[asset_key(name) for name in request.assets], tags=request.tags)
            ],
            cursor=json.dumps({"fingerprint": request.fingerprint, "attempts": attempts + 1}),
        )

    return freshness
