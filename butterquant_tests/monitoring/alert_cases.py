"""Small freshness states for alerts: two months of raw bars, a table made from each, and a monitoring table."""

from __future__ import annotations

from typing import Any

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.freshness import Freshness, Held, Key, Node, Snapshot, Window
from butterquant_assets.foundation.lake import Footer, combine

MONTHS = ("2026-01", "2026-02", "2026-03")
BARS, FEATURES, MODEL, DRIFT = "toy/bars", "toy/features", "toy/model", "monitoring/feature_drift"
NODES = (
    Node(BARS, MONTHS, (Window("source:bars"),), "code", "config"),
    Node(FEATURES, MONTHS, (Window(BARS),), "code", "config"),
    Node(MODEL, None, (Window(FEATURES),), "code", "config"),
    Node(DRIFT, MONTHS, (), "code", "config"),
)
BAD = Verdict({"prices": Outcome(False, 2, ("close -1.0", "close -2.0"))})
GOOD = Verdict({"prices": Outcome(True)})


class Lake:
    """A lake in which everything is current, for tests to damage."""

    def __init__(self) -> None:
        self.source = dict.fromkeys(MONTHS, "good")
        self.held: dict[str, dict[Key, Held]] = {node.name: {} for node in NODES}
        for node in NODES:
            for key in node.partitions():
                self.publish(node.name, key)

    def freshness(self) -> Freshness:
        return Freshness(NODES, Snapshot(self.held, {"bars": dict(self.source)}))

    def publish(self, name: str, key: Key, **facts: Any) -> None:
        self.held[name][key] = Held(self._footer(name, key, GOOD, facts))

    def quarantine(self, name: str, key: Key, verdict: Verdict = BAD) -> None:
        """Something bad arrives, is built, and is refused."""
        self.source[str(key)] = f"bad {verdict}"
        good = self.held[name].get(key, Held()).footer
        self.held[name][key] = Held(good, self._footer(name, key, verdict, {}))

    def correct(self, key: str) -> None:
        """The source delivers something else for a month; nothing is built yet."""
        self.source[key] = "corrected"

    def _footer(self, name: str, key: Key, verdict: Verdict, facts: dict[str, Any]) -> Footer:
        inputs = self.freshness().inputs(name, key)
        return Footer(
            combine([name, str(key), self.source.get(str(key), "")]), inputs, "code", "config", verdict, 1, facts=facts
        )
