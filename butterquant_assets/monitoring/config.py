"""What a user may choose about monitoring, as frozen values that pure functions take."""

from __future__ import annotations

from dataclasses import dataclass, field

from butterquant_assets.monitoring.decay import DecayRules
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.retrain_signals import SignalConfig


@dataclass(frozen=True)
class MonitoringConfig:
    """Monitoring of the model in service.

    Parameters
    ----------
    drift
        when columns, regime or calibration count as having strayed
    decay
        when realised returns count as decayed
    signals
        which alarms speak for retraining
    html
        whether Evidently's page of the newest month is written; it takes some seconds and 5 MB
    seed
        of every draw
    """

    drift: DriftRules = field(default_factory=DriftRules)
    decay: DecayRules = field(default_factory=DecayRules)
    signals: SignalConfig = field(default_factory=SignalConfig)
    html: bool = True
    seed: int = 7
