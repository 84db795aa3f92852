"""The label report: what the labels say under each definition, what they depend on, and how much of it is made up.

What belongs here: putting the sections together, a verdict in words for each, and its picture. What does not: the
figures themselves (`label_definitions`, `label_sensitivity`). Every verdict is built from the stored figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.butterfly import label_definitions, label_sensitivity, remarking
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.label_definitions import AGREEMENT, ALL, DEFINITIONS, DISTANCE, TENT
from butterquant_assets.butterfly.label_sensitivity import (
    MANUFACTURED,
    MIXED,
    PROXY,
    SENSITIVITY,
    SHIFTS,
    SPREAD,
    UNDER_PROXY,
    UNDER_PUBLISHED,
    WING_RULE,
)
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.report_rows import ReportRow, as_table, group_name, wide
from butterquant_assets.butterfly.sampling import STRATA
from butterquant_assets.foundation import report_plots

STRATUM_ORDER = (ALL, *STRATA)


@dataclass(frozen=True)
class LabelReport:
    """The report in three forms.

    Attributes
    ----------
    table
        columns of `report_schemas.LABEL_REPORT`
    facts
        plain values for the asset: counts, and under ``verdict_*`` one sentence a section
    plots
        PNG bytes by title
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    plots: dict[str, bytes] = field(repr=False)


def build(
    analyses: pd.DataFrame,
    labels: pd.DataFrame,
    published_vols: pd.DataFrame,
    config: AnalysisConfig,
    costs: CostConfig,
) -> LabelReport:
    """Report on the labels of a sample.

    Parameters
    ----------
    analyses, labels
        columns of `schemas.ANALYSES` and `schemas.ROI_LABELS`, of the same samples
    published_vols
        session, ticker, iv: published at-the-money volatility of one tenor (three months), per year; may be empty
    config
        with which the analyses were made: smile and strike rule are read
    costs
        for both ends of trades that are priced again

    Returns
    -------
    LabelReport
        Without any labelled trade the table and the plots are empty, and the facts say so; the section ``proxy`` is
        empty where no trade under a proxy has a published volatility at both ends.

    Raises
    ------
    DataError
        if labels lack their analyses, keys occur twice, or a published volatility is not positive.
    """
    trades = remarking.labelled_trades(analyses, labels)
    facts = _counts(trades, labels)
    if trades.empty:
        return LabelReport(as_table([]), facts | {"verdict": "No trade has a label yet: nothing to report."}, {})
    published = label_sensitivity.published_trades(trades, published_vols)
    rows: list[ReportRow] = [
        *label_definitions.definition_rows(trades),
        *label_definitions.agreement_rows(trades),
        *label_definitions.tent_rows(trades),
        *label_definitions.distance_rows(trades),
        *label_sensitivity.sensitivity_rows(trades, costs),
        *label_sensitivity.proxy_rows(published, config, costs),
        *label_sensitivity.wing_rule_rows(trades, config, costs),
    ]
    table = as_table(rows)
    return LabelReport(table, facts | verdicts(table), draw(table))


def _counts(trades: pd.DataFrame, labels: pd.DataFrame) -> dict[str, Any]:
    missing = labels.loc[labels["missing_reason"] != "", "missing_reason"].value_counts().sort_index()
    return {
        "labelled_trades": len(trades),
        "missing_labels": {str(reason): int(count) for reason, count in missing.items()},
        "episodes": int(trades["episode"].nunique()),
        "episodes_by_stratum": {
            stratum: int(trades.loc[trades["stratum"] == stratum, "episode"].nunique()) for stratum in STRATA
        },
    }


# ------------------------------------------------------------------------------------------------------------ words


def verdicts(table: pd.DataFrame) -> dict[str, str]:
    """One sentence a section, from the figures of `table` alone."""
    figures = _Figures(table)
    return {
        "verdict_classes": _classes_sentence(figures),
        "verdict_agreement": _agreement_sentence(figures),
        "verdict_sensitivity": _sensitivity_sentence(figures),
        "verdict_tent": _tent_sentence(figures),
        "verdict_proxy": _proxy_sentence(figures),
        "verdict_wing_rule": _wing_sentence(figures),
    }


class _Figures:
    """Look-up of single figures."""

    def __init__(self, table: pd.DataFrame) -> None:
        keys = zip(table["section"], table["group"], table["metric"], strict=True)
        counts = zip(table["value"], table["n"], table["episodes"], strict=True)
        self.found = dict(zip(keys, counts, strict=True))

    def value(self, section: str, group: str, metric: str) -> float:
        return float(self.found[section, group, metric][0])

    def counts(self, section: str, group: str, metric: str) -> str:
        _, n, episodes = self.found[section, group, metric]
        return f"{n:,} trades from {episodes} {'episode' if episodes == 1 else 'episodes'}"

    def interval(self, section: str, group: str, metric: str) -> str:
        low, high = (self.value(section, group, f"{metric}_{side}") for side in ("low", "high"))
        if np.isnan(low):
            return "one episode, so no interval"
        return f"95 % over episodes {_percent(low)} .. {_percent(high)}"


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _classes_sentence(figures: _Figures) -> str:
    group = group_name(ALL, "mark")
    shares = [100 * figures.value(DEFINITIONS, group, f"share_{k}") for k in range(4)]
    strata = [
        f"{stratum} {figures.counts(DEFINITIONS, group_name(stratum, 'mark'), 'mean_roi')}"
        for stratum in STRATA
        if (DEFINITIONS, group_name(stratum, "mark"), "mean_roi") in figures.found
    ]
    return (
        f"By the mark the classes hold {shares[0]:.0f} / {shares[1]:.0f} / {shares[2]:.0f} / {shares[3]:.0f} % of "
        f"{figures.counts(DEFINITIONS, group, 'mean_roi')}: {shares[0] + shares[3]:.0f} % lie in the two outer ones. "
        f"Mean ROI {_percent(figures.value(DEFINITIONS, group, 'mean_roi'))} "
        f"({figures.interval(DEFINITIONS, group, 'mean_roi')}). Behind the strata: {'; '.join(strata)}."
    )


def _agreement_sentence(figures: _Figures) -> str:
    pairs = {
        "tent and mark": group_name("tent", "mark"),
        "expiry and mark": group_name("expiry", "mark"),
        "mark and net": group_name("mark", "net"),
    }
    same = {name: 100 * figures.value(AGREEMENT, group, "same_class") for name, group in pairs.items()}
    turned = 100 * figures.value(AGREEMENT, pairs["tent and mark"], "class_3_0")
    return (
        f"Same class: {', '.join(f'{name} {share:.0f} %' for name, share in same.items())} of trades; "
        f"{turned:.0f} % are the best class by the tent and the worst by the mark."
    )


def _sensitivity_sentence(figures: _Figures) -> str:
    def one(shift: str, where: str) -> str:
        groups = [f"{shift} {sign} | {where}" for sign in ("+1", "-1")]
        changed = max(100 * figures.value(SENSITIVITY, group, "changed_class") for group in groups)
        move = max(abs(100 * figures.value(SENSITIVITY, group, "roi_shift")) for group in groups)
        return f"{changed:.1f} % of classes and {move:.1f} points of mean ROI"

    return (
        f"One volatility point of level moves up to {one('level', 'both ends')} when it is off at both ends, "
        f"{one('level', 'exit only')} at the exit only; one point of wing convexity {one('convexity', 'both ends')} "
        "at both ends."
    )


def _tent_sentence(figures: _Figures) -> str:
    measured = {kind: figures.value(TENT, ALL, f"measured_{kind}") for kind in ("tent", "mark", "excess")}
    fair = {kind: figures.value(TENT, ALL, f"no_edge_{kind}") for kind in ("tent", "mark")}
    return (
        f"The tent says {_percent(measured['tent'])}, the mark {_percent(measured['mark'])} on the same "
        f"{figures.counts(TENT, ALL, 'measured_tent')}: {100 * measured['excess']:.1f} points are manufactured. In a "
        f"market without edge the tent would say {_percent(fair['tent'])} where the mark says {_percent(fair['mark'])}."
    )


def _proxy_sentence(figures: _Figures) -> str:
    kinds = (UNDER_PROXY, UNDER_PUBLISHED, MIXED, MANUFACTURED)
    spreads = {kind: group_name(kind, SPREAD) for kind in kinds}
    if (PROXY, spreads[UNDER_PROXY], "mean_roi_mark") not in figures.found:
        return "No trade under a proxy has a published volatility at both ends: the proxy's part cannot be told."
    ends = {
        kind: [figures.value(PROXY, group_name(kind, f"Q{k}"), "mean_roi_mark") for k in (1, 5)]
        for kind in (UNDER_PROXY, UNDER_PUBLISHED)
    }
    said = {kind: f"{_percent(low)} to {_percent(high)}" for kind, (low, high) in ends.items()}
    ranges = {kind: figures.interval(PROXY, spreads[kind], "mean_roi_mark") for kind in kinds}
    return (
        f"From the lowest to the highest quintile of vol_mispricing mean roi_mark goes from {said[UNDER_PROXY]} under "
        f"the proxy (spread: {ranges[UNDER_PROXY]}) and from {said[UNDER_PUBLISHED]} under published volatility "
        f"({ranges[UNDER_PUBLISHED]}), on the same "
        f"{figures.counts(PROXY, group_name(UNDER_PROXY, ALL), 'mean_roi_mark')}: {_what_remains(figures, spreads)} "
        f"Chosen by the proxy and paid at published volatility the spread is "
        f"{_percent(figures.value(PROXY, spreads[MIXED], 'mean_roi_mark'))} ({ranges[MIXED]})."
    )


def _what_remains(figures: _Figures, spreads: dict[str, str]) -> str:
    proxy, published = (figures.value(PROXY, spreads[kind], "mean_roi_mark") for kind in (UNDER_PROXY, UNDER_PUBLISHED))
    if proxy <= 0:
        return f"the proxy shows no spread to explain ({_percent(proxy)})."
    remains = f"of the proxy's spread of {100 * proxy:.1f} points {max(100 * published / proxy, 0.0):.0f} % remain"
    sure = figures.value(PROXY, spreads[MANUFACTURED], "mean_roi_mark_low")
    if not sure > 0:
        return f"{remains}, though too few episodes stand behind it to call the rest an artefact of the proxy."
    return f"{remains}, the rest is an artefact of the proxy."


def _wing_sentence(figures: _Figures) -> str:
    def one(rule: str) -> str:
        buckets = sorted(
            group
            for section, group, metric in figures.found
            if section == WING_RULE and metric == "width_over_spot" and group.startswith(rule) and not _is_all(group)
        )
        widths = [100 * figures.value(WING_RULE, group, "width_over_spot") for group in buckets]
        debit = 100 * figures.value(WING_RULE, group_name(rule, ALL), "debit_over_width")
        worst = [100 * figures.value(WING_RULE, group, "share_0") for group in buckets]
        return (
            f"median widths of {min(widths):.0f} to {max(widths):.0f} % of spot between price buckets, a debit of "
            f"{debit:.0f} % of the width and {min(worst):.0f} to {max(worst):.0f} % of trades in the lowest class"
        )

    return f"Our wings give {one('ours')}; the document's {one('document')}."


def _is_all(group: str) -> bool:
    return group.endswith(group_name("", ALL))


# --------------------------------------------------------------------------------------------------------- pictures


def draw(table: pd.DataFrame) -> dict[str, bytes]:
    """A plot a section, from the figures of `table` alone."""
    definitions = _ordered(wide(table, DEFINITIONS, ("stratum", "kind")), stratum=STRATUM_ORDER, kind=ROI_KINDS)
    counts = definitions["n"].map("{:,}".format) + " trades, " + definitions["episodes"].map("{} episodes".format)
    first = definitions["kind"] == ROI_KINDS[0]
    blocks = definitions.assign(
        block=definitions["stratum"],
        name=(definitions["stratum"] + " (" + counts + ")  ").where(first, "") + definitions["kind"],
        series=definitions["kind"],
        value=definitions["mean_roi"],
        low=definitions["mean_roi_low"],
        high=definitions["mean_roi_high"],
    )
    plots = {
        "classes by definition": report_plots.stacked_classes(blocks, "Classes by VIX stratum and definition"),
        "mean ROI by definition": report_plots.means_with_intervals(
            blocks, "Mean ROI by VIX stratum and definition", "% of the debit; bars: 95 % over episodes"
        ),
        "agreement of definitions": _draw_agreement(table),
        "sensitivity to volatility": _draw_sensitivity(table),
        "what the tent manufactures": _draw_tent(table),
        "wings by price": _draw_wings(table),
    }
    if (table["section"] == PROXY).any():
        plots["edge under proxy and published volatility"] = _draw_proxy(table)
    return plots


def _ordered(frame: pd.DataFrame, **orders: tuple[str, ...]) -> pd.DataFrame:
    """Rows sorted by the given orders of their columns."""
    ranks = pd.DataFrame({name: frame[name].map(order.index) for name, order in orders.items()})
    return frame.loc[ranks.sort_values(list(orders)).index].reset_index(drop=True)


def _draw_agreement(table: pd.DataFrame) -> bytes:
    pairs = wide(table, AGREEMENT, ("first", "second"))
    same = np.eye(len(ROI_KINDS))
    i, j = (pairs[name].map(ROI_KINDS.index).to_numpy(np.int64) for name in ("first", "second"))
    same[i, j] = same[j, i] = pairs["same_class"]
    row = pairs[(pairs["first"] == "tent") & (pairs["second"] == "mark")]
    joint = row[[f"class_{i}_{j}" for i in range(4) for j in range(4)]].to_numpy(np.float64).reshape(4, 4)
    return report_plots.agreement(same, joint, ROI_KINDS, ("tent", "mark"))


def _draw_sensitivity(table: pd.DataFrame) -> bytes:
    frame = wide(table, SENSITIVITY, ("shift", "where"))
    frame["name"] = frame["shift"] + ", " + frame["where"]
    return report_plots.label_sensitivity(_ordered(frame, name=tuple(name.replace(" | ", ", ") for name in SHIFTS)))


def _draw_tent(table: pd.DataFrame) -> bytes:
    frame = _ordered(wide(table, TENT, ("stratum",)), stratum=STRATUM_ORDER)
    bars = pd.DataFrame(
        {
            "name": [*frame["stratum"], "no edge"],
            "tent": [*frame["measured_tent"], frame["no_edge_tent"].iloc[0]],
            "mark": [*frame["measured_mark"], frame["no_edge_mark"].iloc[0]],
        }
    )
    distances = wide(table, DISTANCE, ("distance_bin",)).sort_values("distance")
    return report_plots.tent_against_mark(bars, distances)


def _draw_proxy(table: pd.DataFrame) -> bytes:
    frame = wide(table, PROXY, ("series", "part"))
    frame = frame[frame["part"].str.fullmatch(r"Q\d")].assign(quintile=lambda rows: rows["part"].str[1].astype("int64"))
    frame = frame.rename(columns={"mean_roi_mark": "value", "mean_roi_mark_low": "low", "mean_roi_mark_high": "high"})
    ordered = _ordered(frame.reset_index(drop=True), series=(UNDER_PROXY, UNDER_PUBLISHED, MIXED))
    return report_plots.roi_by_quintile(ordered, f"Edge by quintile ({frame['n'].sum() // 3:,} trades)")


def _draw_wings(table: pd.DataFrame) -> bytes:
    frame = wide(table, WING_RULE, ("rule", "bucket"))
    frame = frame[(frame["bucket"] != ALL) & frame["width_over_spot"].notna()]
    names = frame["bucket"].str.replace(r"\b0+(?=\d)", "", regex=True)
    return report_plots.wing_rules(frame.assign(bucket=names))
