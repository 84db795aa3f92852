from __future__ import annotations

from dataclasses import replace

import pytest

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.freshness import Freshness, Held, Key, Node, Snapshot, State, Window, plan
from butterquant_assets.foundation.lake import Footer

MONTHS = ("2018-01", "2018-02", "2018-03", "2018-04")
GOOD, BAD = Verdict({"schema": Outcome(True)}), Verdict({"schema": Outcome(False, 1, ("row 1",))})


class World:
    """Three assets in a chain over a source: bars (per ticker), analyses (look-back 1 month, per ticker), total."""

    def __init__(self) -> None:
        self.nodes = [
            Node("m/bars", MONTHS, (Window("source:bars"),), "c1", "k1"),
            Node("b/analyses", MONTHS[1:], (Window("m/bars", -1, 0, "group"),), "c2", "k2"),
            Node("b/total", None, (Window("b/analyses"),), "c3", "k3"),
        ]
        self.snapshot = Snapshot(source={"bars": dict.fromkeys(MONTHS, "v1")})
        for month in MONTHS:
            self.publish("m/bars", month, digests={"A": f"a{month}", "B": f"b{month}"})
        for month in MONTHS[1:]:
            self.publish("b/analyses", month)
        self.publish("b/total", None)

    def freshness(self) -> Freshness:
        return Freshness(self.nodes, self.snapshot)

    def publish(self, name: str, key: Key, content: str = "1", **extra) -> None:
        node = next(node for node in self.nodes if node.name == name)
        inputs = self.freshness().inputs(name, key)
        footer = Footer(f"{name}{key}{content}", inputs, node.code, node.config, GOOD, 1, **extra)
        self.snapshot.held.setdefault(name, {})[key] = Held(footer)

    def quarantine(self, name: str, key: Key) -> None:
        old = self.snapshot.entry(name, key)
        node = next(node for node in self.nodes if node.name == name)
        failed = Footer("bad", self.freshness().inputs(name, key), node.code, node.config, BAD, 1)
        self.snapshot.held[name][key] = Held(old.footer, failed)

    def states(self, name: str) -> dict[Key, State]:
        node = next(node for node in self.nodes if node.name == name)
        return {key: self.freshness().judge(name, key).state for key in node.partitions()}


def test_a_world_in_which_nothing_changed_is_current() -> None:
    found = plan(World().freshness())
    assert found.nothing_to_do
    assert found.assets() == []
    assert found.key_range() is None


def test_new_source_data_stales_its_month_and_reaches_its_readers() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    found = plan(world.freshness())
    assert {name: set(keys) for name, keys in found.stale.items() if keys} == {"m/bars": {"2018-02"}}
    assert found.affected["b/analyses"] == {"2018-02", "2018-03"}
    assert found.affected["b/total"] == {None}
    assert found.key_range() == ("2018-02", "2018-03")


def test_a_corrected_ticker_stales_only_its_own_rows_in_its_own_windows() -> None:
    world = World()
    world.publish("m/bars", "2018-02", "2", digests={"A": "corrected", "B": "b2018-02"})
    judged = {key: world.freshness().judge("b/analyses", key) for key in MONTHS[1:]}
    assert [j.state for j in judged.values()] == [State.STALE, State.STALE, State.CURRENT]
    assert judged["2018-03"].groups == {"A"}
    assert judged["2018-03"].reasons == ("m/bars changed for A",)


def test_a_ticker_that_is_new_to_an_old_month_stales_its_own_rows_there() -> None:
    world = World()
    world.publish("m/bars", "2018-02", "2", digests={"A": "a2018-02", "B": "b2018-02", "NEW": "n"})
    judged = {key: world.freshness().judge("b/analyses", key) for key in MONTHS[1:]}
    assert [j.state for j in judged.values()] == [State.STALE, State.STALE, State.CURRENT]
    assert judged["2018-03"].groups == {"NEW"}
    for month in ("2018-02", "2018-03"):
        world.publish("b/analyses", month, "2")  # without a row of its own it is recorded all the same
    assert set(world.states("b/analyses").values()) == {State.CURRENT}


def test_a_file_that_recorded_only_groups_with_rows_is_made_again_for_the_others_once() -> None:
    world = World()
    footer = world.snapshot.held["b/analyses"]["2018-03"].footer
    assert footer is not None
    only_a = {name: content for name, content in footer.inputs.items() if name.endswith("|A")}
    world.snapshot.held["b/analyses"]["2018-03"] = Held(replace(footer, inputs=only_a))
    assert world.freshness().judge("b/analyses", "2018-03").groups == {"B"}
    world.publish("b/analyses", "2018-03")
    assert world.states("b/analyses")["2018-03"] is State.CURRENT


def test_a_ticker_that_is_gone_from_its_inputs_stales_its_rows() -> None:
    world = World()
    for month in MONTHS[:2]:
        world.publish("m/bars", month, "2", digests={"A": f"a{month}"})
    judged = world.freshness().judge("b/analyses", "2018-02")
    assert (judged.state, judged.groups) == (State.STALE, {"B"})


def test_windows_over_days_count_days() -> None:
    days = ("2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02")
    nodes = [
        Node("m/hours", days, (Window("source:hours"),), "c", "k", "day"),
        Node("s/factors", days, (Window("m/hours", -2, 0),), "c", "k", "day"),
        Node("s/trades", days, (Window("m/hours", 0, 1),), "c", "k", "day"),
    ]
    freshness = Freshness(nodes, Snapshot())
    back, ahead = nodes[1].reads[0], nodes[2].reads[0]
    assert freshness.window_keys(back, "2024-03-01") == days[:3]
    assert freshness.window_keys(back, "2024-02-28") == days[:1]
    assert freshness.window_keys(ahead, "2024-02-29") == days[1:3]
    assert freshness.judge("s/trades", "2024-02-27").reasons == ("outside the days this asset covers",)


def test_tables_in_force_are_that_of_the_day_and_the_last_before_it() -> None:
    days = tuple(f"2024-03-{day:02d}" for day in range(1, 11))
    reads = (Window("s/tables", by="in_force"),)
    nodes = [Node("s/tables", None, (), "c", "k"), Node("s/scored", days, reads, "c", "k", "day")]
    snapshot = Snapshot()
    held = {"2024-03-03": "x", "2024-03-06": "y"}
    snapshot.held["s/tables"] = {None: Held(Footer("1", {}, "c", "k", GOOD, 2, digests=held))}
    freshness = Freshness(nodes, snapshot)
    in_force = {day: freshness.in_force(reads[0], day) for day in days}
    assert in_force["2024-03-02"] == ()
    assert in_force["2024-03-03"] == in_force["2024-03-05"] == ("2024-03-03",)
    assert in_force["2024-03-06"] == ("2024-03-03", "2024-03-06")
    assert in_force["2024-03-07"] == in_force["2024-03-10"] == ("2024-03-06",)
    inputs = {day: freshness.inputs("s/scored", day) for day in days}
    assert inputs["2024-03-07"] == inputs["2024-03-10"] != inputs["2024-03-05"]


def test_two_graphs_are_judged_together_unless_they_share_a_dataset() -> None:
    first, second = World(), World()
    second.nodes = [Node("c/bars", ("2024-03-01",), (Window("source:hours"),), "c", "k", "day")]
    second.snapshot = Snapshot(source={"hours": {"2024-03-01": "v"}})
    both = Freshness.joined([first.freshness(), second.freshness()])
    assert set(both.nodes) == {"m/bars", "b/analyses", "b/total", "c/bars"}
    assert both.judge("c/bars", "2024-03-01").reasons == ("missing",)
    assert both.judge("b/total", None).state is State.CURRENT
    second.snapshot.source = {"bars": {}}
    with pytest.raises(ConfigError, match="same name"):
        Freshness.joined([first.freshness(), second.freshness()])


def test_a_change_of_code_or_configuration_concerns_all_rows_and_says_which() -> None:
    world = World()
    world.nodes[1] = Node("b/analyses", MONTHS[1:], world.nodes[1].reads, "new", "new")
    judged = world.freshness().judge("b/analyses", "2018-02")
    assert judged.reasons == ("code changed", "configuration changed")
    assert judged.groups is None


def test_descendants_of_a_rebuilt_partition_stay_current_when_its_content_did_not_change() -> None:
    world = World()
    del world.snapshot.held["b/analyses"]["2018-02"]
    assert world.states("b/analyses")["2018-02"] is State.STALE
    world.publish("b/analyses", "2018-02")
    assert world.states("b/total") == {None: State.CURRENT}


def test_a_deleted_file_is_stale_because_it_is_missing() -> None:
    world = World()
    del world.snapshot.held["m/bars"]["2018-04"]
    assert world.freshness().judge("m/bars", "2018-04").reasons == ("missing",)


def test_a_damaged_file_is_stale_and_says_so() -> None:
    world = World()
    world.snapshot.held["m/bars"]["2018-04"] = Held(damage="damaged: not parquet")
    assert world.freshness().judge("m/bars", "2018-04").reasons == ("damaged: not parquet",)


def test_missing_artifacts_stale_the_partition_they_belong_to() -> None:
    world = World()
    held = world.snapshot.held["b/total"][None]
    world.snapshot.held["b/total"][None] = Held(held.footer, None, None, ("models/x/model.onnx",))
    assert world.freshness().judge("b/total", None).reasons == ("missing or altered models/x/model.onnx",)


def test_a_quarantined_month_holds_back_its_readers_and_nobody_else() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    world.quarantine("m/bars", "2018-02")
    assert world.states("m/bars")["2018-02"] is State.QUARANTINED
    assert world.states("b/analyses") == {
        "2018-02": State.WAITING, "2018-03": State.WAITING, "2018-04": State.CURRENT,
    }  # fmt: skip
    assert world.states("b/total") == {None: State.CURRENT}
    assert plan(world.freshness()).nothing_to_do


def test_what_reads_an_asset_that_waits_and_was_never_made_waits_too() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    world.quarantine("m/bars", "2018-02")
    del world.snapshot.held["b/analyses"]["2018-03"]
    judged = world.freshness().judge("b/total", None)
    assert (judged.state, judged.reasons) == (State.WAITING, ("waits for b/analyses 2018-03 (waiting)",))


def test_a_quarantined_month_is_tried_again_when_its_source_changes() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    world.quarantine("m/bars", "2018-02")
    world.snapshot.source["bars"]["2018-02"] = "v3"
    assert world.states("m/bars")["2018-02"] is State.STALE


def test_a_reverted_correction_makes_the_last_good_file_current_again() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    world.quarantine("m/bars", "2018-02")
    world.snapshot.source["bars"]["2018-02"] = "v1"
    assert world.states("m/bars")["2018-02"] is State.CURRENT


def test_months_outside_the_axis_of_an_asset_are_unwanted() -> None:
    assert World().freshness().judge("b/analyses", "2018-01").state is State.UNWANTED


def test_a_dependence_on_one_months_digest_concerns_that_month_only() -> None:
    world = World()
    samples = Node("b/samples", None, (Window("m/bars"),), "c", "k")
    picks = Node("b/picks", MONTHS, (Window("b/samples", by="partition"),), "c", "k")
    world.nodes += [samples, picks]
    world.publish("b/samples", None, digests={"2018-01": "x", "2018-03": "y"})
    for month in MONTHS:
        world.publish("b/picks", month)
    world.publish("b/samples", None, "2", digests={"2018-01": "x", "2018-03": "z"})
    assert [key for key, state in world.states("b/picks").items() if state is State.STALE] == ["2018-03"]


def test_a_selection_limits_the_plan() -> None:
    world = World()
    world.snapshot.source["bars"]["2018-02"] = "v2"
    assert plan(world.freshness(), ["b/analyses"]).nothing_to_do
    assert plan(world.freshness(), ["m/bars"]).assets() == ["m/bars"]
