"""What the retrain sensor is given in this product: the conditions monitoring measures, and the act of taking feedback.

What belongs here: reading tables and calling acts by name. What does not: measuring, deciding, and requesting runs.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from butterquant_assets.butterfly.feedback_assets import take_feedback
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.market.schemas import empty_rows
from butterquant_assets.monitoring import schemas
from butterquant_assets.monitoring.retrain_signals import Condition, SignalConfig, conditions
from butterquant_assets.orchestration.house import House

UPDATES = frozenset({"butterfly/success_update"})
"""What the weekly update releases."""


def monitored(house: House, config: SignalConfig) -> tuple[Condition, ...]:
    """The conditions as the newest monitoring tables tell them; tables that were never made fire nothing.

    Raises
    ------
    LakeError
        if a table cannot be read.
    """
    tables = (schemas.FEATURE_DRIFT, schemas.PREDICTION_DRIFT, schemas.CALIBRATION_DECAY, schemas.DECISION_DECAY)
    feature, prediction, calibration, decision = (_rows(house, table) for table in tables)
    return conditions(feature, prediction, calibration, decision, config)


def take(house: House, until: datetime) -> int:
    """Take outcomes known by then into the feedback ledger; returns how many trades were added."""
    return take_feedback(house, until).added


def _rows(house: House, contract: Contract) -> pd.DataFrame:
    name = contract.table
    if contract.time is None:
        return house.lake.read(name) if house.lake.exists(name) else empty_rows(contract)
    months = house.lake.partitions(name)
    return house.lake.read(name, months) if months else empty_rows(contract)
