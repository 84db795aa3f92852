"""The definitions of the product, but the retrain sensor looks every 5 s, so that a test need not wait."""

from __future__ import annotations

import dagster as dg

from butterquant_assets import definitions
from butterquant_assets.automation import retrain_sensor


@dg.definitions
def defs() -> dg.Definitions:
    """As the product's own."""
    vars(retrain_sensor)["INTERVAL_SECONDS"] = 5  # in the process of the code server only
    return definitions.defs()
