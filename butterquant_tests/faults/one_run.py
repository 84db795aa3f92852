"""One run over a range of months, as the daemon launches it: ``python -m butterquant_tests.faults.one_run ORDER``."""

from __future__ import annotations

import json
import sys

import dagster as dg

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import RANGE_END, RANGE_START
from butterquant_assets.automation.runs import process_tags
from butterquant_assets.definitions import Settings, build_definitions
from butterquant_assets.foundation.settings import load_settings


def refresh_job() -> dg.JobDefinition:
    """The job of the equity house, as configured by the environment."""
    return build_definitions(load_settings(Settings, {})).resolve_job_def(REFRESH)


def main(order: str) -> int:
    """Execute it in this process, with the executor of the job as the daemon does; 0 when it succeeded."""
    asked = json.loads(order)
    job = dg.reconstructable(refresh_job)
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(
            job,
            instance=instance,
            asset_selection=[dg.AssetKey(name.split("/")) for name in asked["assets"]],
            tags={RANGE_START: asked["months"][0], RANGE_END: asked["months"][1], **process_tags()},
            raise_on_error=False,
        )
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
