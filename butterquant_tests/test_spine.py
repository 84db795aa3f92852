"""The graph from bars to ONNX, used as its user would, and what a change costs."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.definitions import DECLARATIONS, Settings
from butterquant_assets.foundation.calendar import month_range, shift_month
from butterquant_assets.foundation.code_version import closure
from butterquant_assets.foundation.settings import load_settings
from butterquant_tests import homes
from butterquant_tests.shared_data import ROOT

MONTHS = month_range(homes.START, homes.END)
MODELS = {f"butterfly/{name}_model" for name in ("success", "volatility", "direction", "quiet")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A home built once from files, its data folder, and the report of its first run."""
    return homes.shared(tmp_path_factory)


@pytest.fixture
def fresh(built: tuple[Path, Path, dict], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the built home and its data, for one test to disturb."""
    return homes.copy_of(built[0], built[1], tmp_path)


def table(home: Path, asset: str) -> pd.DataFrame:
    folder = home / "lake" / asset
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder.with_suffix(".parquet")]
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def frame_of(content: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content))


def test_the_first_run_makes_every_artefact_and_says_what_it_found(built: tuple[Path, Path, dict]) -> None:
    home, _, report = built
    assert report["status"] == "done"
    assert len(report["runs"]) == 1
    assert all(entry["current"] == entry["partitions"] for entry in report["assets"])
    found = report["findings"]
    assert found["strata"]["high"]["taken_days"] <= found["strata"]["high"]["found_days"]
    assert found["training_rows"] == len(table(home, "butterfly/training_set"))
    assert sum(found["labels"]["label_mark"].values()) == pytest.approx(1.0, abs=1e-3)
    assert set(found["model"]["out_of_sample"]) >= {
        "model",
        "geometry",
        "class_prior",
        "majority_class",
        "logistic_regression",
    }
    assert Path(found["model"]["onnx"]).is_file()


def test_every_sampled_row_is_analysed_or_rejected_with_a_reason(built: tuple[Path, Path, dict]) -> None:
    home = built[0]
    keys = ["session", "ticker"]
    samples, done = table(home, "butterfly/vix_samples"), table(home, "butterfly/analyses")
    rejected = table(home, "butterfly/analysis_rejects")
    both = pd.concat([done[keys], rejected[keys]]).sort_values(keys).reset_index(drop=True)
    pd.testing.assert_frame_equal(both, samples[keys].sort_values(keys).reset_index(drop=True))
    assert (rejected["reason"].str.len() > 0).all()


def test_the_onnx_file_gives_probabilities_for_the_stored_features(built: tuple[Path, Path, dict]) -> None:
    import onnxruntime as ort

    home, _, report = built
    features = table(home, "butterfly/features").drop(columns=["session", "ticker"])
    assert features.shape[1] == 23
    session = ort.InferenceSession(report["findings"]["model"]["onnx"])
    assert [i.name for i in session.get_inputs()] == ["features"]
    probabilities = session.run(["probabilities"], {"features": features.to_numpy(np.float32)})[0]
    assert probabilities.shape == (len(features), 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    card = json.loads((Path(report["findings"]["model"]["onnx"]).parent / "card.json").read_text())
    assert card["input"]["features"] == list(features.columns)


def test_a_second_run_launches_nothing(fresh: tuple[Path, Path]) -> None:
    report = homes.run(fresh[0])
    assert report["status"] == "current"
    assert report["runs"] == []
    assert homes.rebuilt(report) == {}


def months_of_rows(home: Path, ticker: str, first: str, last: str) -> list[str]:
    """Analysis months between `first` and `last` that hold sampled rows of a ticker."""
    samples = table(home, "butterfly/vix_samples")
    months = samples.loc[samples["ticker"] == ticker, "session"].dt.strftime("%Y-%m")
    return sorted(set(months[(months >= first) & (months <= last)]))


def test_one_changed_bar_rebuilds_its_own_rows_in_its_own_windows_and_nothing_else(fresh: tuple[Path, Path]) -> None:
    home, data = fresh
    before = homes.tree(home)
    bars = pd.read_parquet(data / "stocks_daily.parquet")
    ticker = table(home, "butterfly/analyses")["ticker"].iloc[0]
    row = bars.index[(bars["symbol"] == ticker) & (bars["timestamp"] == "2016-05-10")][0]
    bars.loc[row, "close"] = round((bars.loc[row, "high"] + bars.loc[row, "low"]) / 2 + 0.01, 2)
    bars.to_parquet(data / "stocks_daily.parquet")
    report = homes.run(home)
    assert report["status"] == "done"
    analysed = months_of_rows(home, ticker, "2016-05", shift_month("2016-05", 26))
    labelled = months_of_rows(home, ticker, shift_month("2016-05", -2), shift_month("2016-05", 3))
    counts = homes.rebuilt(report)
    assert counts["market/equity_bars"] == 1
    assert counts["butterfly/vix_samples"] == 1
    assert counts["butterfly/analyses"] == len(analysed) > 0
    assert counts["butterfly/roi_labels"] == len(set(labelled) | set(analysed))
    assert not {"market/vix", "market/bar_rejects", "market/index_bars", "market/implied_vols"} & counts.keys()
    reasons = {e["asset"]: e["reasons"][0]["reason"] for e in report["assets"] if e["rebuilt"]}
    assert reasons["butterfly/analyses"] == f"market/equity_bars changed for {ticker}"
    changed = {path for path, content in homes.tree(home).items() if before.get(path) != content}
    assert {p for p in changed if p.startswith("lake/butterfly/analyses/")} == {
        f"lake/butterfly/analyses/{month}.parquet" for month in analysed
    }
    old = pd.concat([frame_of(before[f"lake/butterfly/analyses/{month}.parquet"]) for month in MONTHS])
    new = table(home, "butterfly/analyses")
    others = new[new["ticker"] != ticker].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, old[old["ticker"] != ticker].reset_index(drop=True))


@pytest.mark.slow
def test_a_correction_that_is_taken_back_leads_to_the_same_bytes(fresh: tuple[Path, Path], tmp_path: Path) -> None:
    home, data = fresh
    before, good = homes.tree(home), (data / "stocks_daily.parquet").read_bytes()
    bars = pd.read_parquet(data / "stocks_daily.parquet")
    bars.loc[bars.index[500], "volume"] *= 1.5
    bars.to_parquet(data / "stocks_daily.parquet")
    assert homes.rebuilt(homes.run(home))["market/equity_bars"] == 1
    (data / "stocks_daily.parquet").write_bytes(good)
    assert homes.run(home)["status"] == "done"
    after = homes.tree(home)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lake/butterfly/features/2016-05.parquet", {"butterfly/features": 1}),
        ("lake/butterfly/analyses/2016-05.parquet", {"butterfly/analyses": 1, "butterfly/analysis_rejects": 1}),
        pytest.param("lake/market/vix/2016-04.parquet", {"market/vix": 1}, marks=pytest.mark.slow),
        pytest.param("lake/butterfly/vix_samples.parquet", {"butterfly/vix_samples": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_deleted_file_is_rebuilt_and_its_readers_stay(
    fresh: tuple[Path, Path], path: str, expected: dict[str, int]
) -> None:
    home, _ = fresh
    before = homes.tree(home)
    (home / path).unlink()
    report = homes.run(home)
    assert homes.rebuilt(report) == expected
    assert all(r["reason"] == "missing" for e in report["assets"] if e["rebuilt"] for r in e["reasons"])
    assert homes.tree(home) == before


def test_a_deleted_model_file_is_written_again(fresh: tuple[Path, Path]) -> None:
    home, _ = fresh
    before = homes.tree(home)
    onnx = next((home / "models" / "success").rglob("model.onnx"))
    onnx.unlink()
    report = homes.run(home)
    assert homes.rebuilt(report) == {"butterfly/success_onnx": 1}
    assert homes.tree(home) == before


def test_an_altered_model_file_is_found_by_its_hash_and_made_again(fresh: tuple[Path, Path]) -> None:
    home, _ = fresh
    before = homes.tree(home)
    onnx = next((home / "models" / "success").rglob("model.onnx"))
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"!")
    assert homes.rebuilt(homes.run(home)) == {"butterfly/success_onnx": 1}
    assert homes.tree(home) == before


def test_a_damaged_lake_file_is_rebuilt(fresh: tuple[Path, Path]) -> None:
    home, _ = fresh
    before = homes.tree(home)
    path = home / "lake/butterfly/roi_labels/2016-06.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = homes.run(home)
    assert homes.rebuilt(report) == {"butterfly/roi_labels": 1}
    assert homes.tree(home) == before


def copied_package(folder: Path) -> Path:
    """A copy of the package that a test may edit; returns the folder to import it from.

    What is compiled comes along, numba's half minute above all; what another process is just writing does not.
    """
    ignored = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")
    shutil.copytree(ROOT / "butterquant_assets", folder / "code" / "butterquant_assets", ignore=ignored)
    shutil.copytree(ROOT / "sql", folder / "code" / "sql")
    return folder / "code"


def reaching(module: str) -> set[str]:
    """Assets whose pure code reaches a module by import."""
    names = set()
    for declaration in DECLARATIONS:
        roots = [root.__name__ for root in declaration.code if hasattr(root, "__path__") or hasattr(root, "__spec__")]
        if module in closure(roots)[0]:
            names |= set(declaration.names)
    return names


def readers(names: set[str]) -> set[str]:
    """Assets that read some of these, directly or through others."""
    settings = load_settings(Settings, {"home": "/nowhere", "source": "files", "data_dir": "unused"}, {})
    found: set[str] = set()
    for declaration in DECLARATIONS:  # inputs before their readers
        if {window.asset for window in declaration.resolved(settings).windows} & (names | found):
            found |= set(declaration.names)
    return found


@pytest.mark.parametrize(
    "module",
    [
        "butterquant_assets.butterfly.features",
        pytest.param("butterquant_assets.market.cleaning", marks=pytest.mark.slow),
        pytest.param("butterquant_assets.quant.spectrum", marks=pytest.mark.slow),
    ],
)
def test_editing_one_pure_module_rebuilds_exactly_what_imports_it(
    fresh: tuple[Path, Path], tmp_path: Path, module: str
) -> None:
    home, _ = fresh
    before = homes.tree(home)
    package = copied_package(tmp_path)
    assert homes.run(home, package_root=package)["status"] == "current"
    edited = package / (module.replace(".", "/") + ".py")
    edited.write_text(edited.read_text() + "\n\ndef added_by_a_test() -> int:\n    return 1\n")
    report = homes.run(home, package_root=package)
    expected = reaching(module)
    assert len(expected) >= 2
    counts = homes.rebuilt(report)
    partitions = {entry["asset"]: entry["partitions"] for entry in report["assets"]}
    assert {name: counts[name] for name in expected} == {name: partitions[name] for name in expected}
    # A retrained model is a new version, so what reads it follows; all other contents come out as they were.
    assert set(counts) - expected <= readers(expected & MODELS)
    after = homes.tree(home)
    tables = [path for path in before if path.startswith(("lake/market", "lake/butterfly/features"))]
    for path in tables:
        pd.testing.assert_frame_equal(frame_of(after[path]), frame_of(before[path]))


def test_a_comment_or_docstring_makes_nothing_stale(fresh: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = fresh
    package = copied_package(tmp_path)
    for name in ("butterfly/features.py", "quant/spectrum.py", "market/cleaning.py"):
        file = package / "butterquant_assets" / name
        file.write_text(re.sub(r'^"""', '"""Edited. ', file.read_text(), count=1) + "\n# a comment\n")
    assert homes.run(home, package_root=package)["status"] == "current"


def spoil(data: Path, month: str) -> bytes:
    """Make the prices of a whole month negative; returns the good file."""
    path = data / "stocks_daily.parquet"
    good = path.read_bytes()
    bars = pd.read_parquet(path)
    inside = bars["timestamp"].dt.strftime("%Y-%m") == month
    bars.loc[inside, ["open", "high", "low", "close"]] *= -1.0
    bars.to_parquet(path)
    return good


def test_a_bad_month_is_quarantined_only_its_readers_wait_and_a_good_one_heals_it(fresh: tuple[Path, Path]) -> None:
    home, data = fresh
    before = homes.tree(home)
    good = spoil(data, "2016-07")
    done = homes.butterquant("run", "--json", home=home, check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["status"] == "incomplete"
    states = {entry["asset"]: entry for entry in report["assets"]}
    assert states["market/equity_bars"]["quarantined"] == 1
    assert states["market/vix"]["current"] == states["market/vix"]["partitions"]
    assert states["butterfly/analyses"]["waiting"] == 2  # July and August read July's bars
    assert any("2016-07 quarantined: reject_share" in problem for problem in report["problems"])
    now = homes.tree(home)
    kept = [path for path in before if path.startswith(("lake/butterfly", "models", "lake/market/equity_bars/2016-07"))]
    assert {path: now[path] for path in kept} == {path: before[path] for path in kept}  # the last good files stay
    rejects = table(home, "market/bar_rejects")
    assert set(rejects.loc[rejects["action"] == "rejected", "reason"]) == {"non_positive_price"}
    again = homes.butterquant("run", "--json", home=home, check=False)
    assert json.loads(again.stdout)["runs"] == []  # the same bad month is not tried again
    (data / "stocks_daily.parquet").write_bytes(good)
    assert homes.run(home)["status"] == "done"
    assert homes.tree(home) == before


@pytest.mark.slow
def test_a_month_without_any_vix_is_warned_about_and_what_needs_it_is_rejected_with_that_reason(
    tmp_path: Path, built
) -> None:
    home, data = homes.copy_of(built[0], built[1], tmp_path)
    path = data / "vix_daily.parquet"
    vix = pd.read_parquet(path)
    vix[vix["timestamp"].dt.strftime("%Y-%m") != "2016-06"].to_parquet(path)
    # The fitted level needs the VIX of the whole window, so many later rows go, and the model refuses so few of them.
    report = json.loads(homes.butterquant("run", "--json", home=home, check=False).stdout)
    vix_state = next(entry for entry in report["assets"] if entry["asset"] == "market/vix")
    assert "22 of 22 sessions have no row" in vix_state["warnings"]["complete 2016-06"]
    samples = table(home, "butterfly/vix_samples")
    assert "2016-06" not in set(samples["session"].dt.strftime("%Y-%m"))
    before = table(built[0], "butterfly/vix_samples")
    for stratum in ("low", "normal"):  # other months have enough days of these; the one high day was in June
        assert (samples["stratum"] == stratum).sum() == (before["stratum"] == stratum).sum()
    analysed, rejected = table(home, "butterfly/analyses"), table(home, "butterfly/analysis_rejects")
    assert len(analysed) + len(rejected) == len(samples)
    assert set(rejected["reason"]) >= {"no_vix_history"}


@pytest.mark.slow
def test_two_builds_of_the_same_data_are_byte_identical(built: tuple[Path, Path, dict], tmp_path: Path) -> None:
    homes.build(tmp_path / "home", built[1])
    assert homes.tree(tmp_path / "home") == homes.tree(built[0])
