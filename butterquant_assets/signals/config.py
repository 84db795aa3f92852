"""What a user may choose in the signal line, as frozen values that pure functions take.

What belongs here: the settings section. What does not: the constants of the reference, which are not choices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.calibration_ladder import Ladder
from butterquant_assets.signals.costs import Constant
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Cadence, Rules
from butterquant_assets.signals.thresholds import Search

SIMULATED = "SIM"
"""What the names of simulated coins begin with."""


@dataclass(frozen=True)
class SignalConfig:
    """Settings of the signal line.

    Parameters
    ----------
    leader, second
        coins whose trends are the state of the market; independence is measured against the first. In a simulated
        market, or one that has no such coin, those named SIMBTC and SIMETH
    execution
        fees, slippage, spread where no book is known, time-out and notional of paper trades
    ladder, search
        how probabilities are fitted and thresholds are looked for; their time-outs are that of the execution
    cadence
        when a round of learning is due
    thresholds
        of the gates before the first round
    cost_constant
        expected cost of a coin with fewer than ten executions: ``fees`` (14 bps) or ``document`` (6 bps)
    seed
        of every bootstrap

    Raises
    ------
    ConfigError
        for values outside their range, or different time-outs.
    """

    leader: str = "BTC"
    second: str = "ETH"
    execution: Execution = field(default_factory=Execution)
    ladder: Ladder = field(default_factory=Ladder)
    search: Search = field(default_factory=Search)
    cadence: Cadence = field(default_factory=Cadence)
    thresholds: Thresholds = field(default_factory=Thresholds)
    cost_constant: Constant = "fees"
    seed: int = 7

    def __post_init__(self) -> None:
        if not self.leader or not self.second or self.seed < 0:
            raise ConfigError(
                f"leader {self.leader!r} and second {self.second!r} must name coins, and seed {self.seed} be 0 or more"
            )
        self.rules()

    def rules(self) -> Rules:
        """How signals are executed and what is learned from them."""
        return Rules(
            self.execution, self.ladder, self.search, self.cadence, self.thresholds, cost_constant=self.cost_constant
        )

    def leaders(self, *, simulated: bool) -> tuple[str, str]:
        """Leader and second as the source names them."""
        prefix = SIMULATED if simulated else ""
        return prefix + self.leader, prefix + self.second
