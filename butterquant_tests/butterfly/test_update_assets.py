"""The weekly update as an asset: published, judged once, and what decides afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.butterfly import success, update_assets
from butterquant_assets.butterfly.config import CostConfig, TrainingConfig
from butterquant_assets.butterfly.stored_models import full_training, stored_models
from butterquant_assets.butterfly.update import UpdateConfig
from butterquant_assets.butterfly.update_assets import CHAMPION, IN_SERVICE, OUTCOMES, SCAN, UPDATE
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.learning.onnx_ensemble import check_ensemble_parity, export_ensemble
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import LakeAsset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import KEPT, REBUILT, Done, rebuild
from butterquant_tests.butterfly.market_cases import KEYS
from butterquant_tests.butterfly.update_cases import CONFIG, LABEL, SETTINGS, TRAINING, shifted_rows, update_case

BINDING = {"start": "2018-08", "end": "2018-12", "market_start": "2016-06", "market_end": "2018-12"}


class Settings(HomeSettings):
    """The sections that the asset asks for."""

    update: UpdateConfig = CONFIG
    training: TrainingConfig = replace(TRAINING, settings=SETTINGS)
    costs: CostConfig = CostConfig()


def given(name: str, frame: pd.DataFrame) -> LakeAsset:
    """An asset that holds this frame."""
    columns = {str(c): pa.Column(str(kind), nullable=True, description="given") for c, kind in frame.dtypes.items()}
    contract = Contract(name, pa.DataFrameSchema(columns), tuple(KEYS if "session" in frame else frame.columns), None)
    return LakeAsset(lambda work: frame, (contract,), (), (), lambda settings: None, None)


def house_of(home: Path, config: UpdateConfig = CONFIG) -> House:
    case, rows = update_case(), shifted_rows()
    keys = pd.MultiIndex.from_frame(rows[KEYS])
    scanned = case.given.analyses.set_index(KEYS).loc[keys].reset_index().assign(episode=rows["episode"].to_numpy())
    outcomes = rows[[*KEYS, "evaluation_session", LABEL]].assign(missing_reason="")
    champion = pd.DataFrame({"challenger": [case.parent.version]})
    sample = case.given.training_set
    tables = {SCAN: scanned, OUTCOMES: outcomes, update_assets.TRAINING: sample, CHAMPION: champion}
    tables[update_assets.FEEDBACK] = sample.iloc[:0]
    upstream = [given(name, frame) for name, frame in tables.items()]
    house = House(
        Settings(home=home, update=config), MonthAxes(BINDING), [*upstream, *update_assets.ASSETS], lambda: None
    )  # type: ignore[arg-type,return-value]
    for declaration in upstream:
        rebuild(house, declaration, [None])
    return house


def in_service(house: House, *, champion: bool = True) -> tuple[ModelStore, str]:
    """The parent published, and promoted where asked; the store and its version."""
    parent, store = update_case().parent, ModelStore(house.settings.models_location)
    store.write_weights(success.NAME, parent.version, {}, parent.training, {}, files=parent.files)
    final = parent.models[-1].ensemble
    exported = export_ensemble(final)
    parity = check_ensemble_parity(final, exported, success.rows_to_compare(update_case().given.training_set))
    shown = pd.DataFrame({"predictor": ["model"], "part": ["walk_forward"], "metric": ["log_loss"], "value": [1.0]})
    store.publish(success.NAME, parent.version, exported, success.card(parent.training, shown, parity))
    with Registry(house.settings.warehouse_location, store) as registry:
        registry.register(store.load_card(success.NAME, parent.version))
        if champion:
            registry.promote(success.NAME, parent.version, evidence={"promoted": True}, reason="the first")
    return store, parent.version


def made(house: House, *, force: bool = False) -> Done:
    return rebuild(house, house.declaration(UPDATE), [None], force=force).outcomes[UPDATE][None]


def facts(house: House) -> dict[str, Any]:
    footer = house.lake.footer(UPDATE)
    assert footer is not None
    return dict(footer.facts)


def deciding(house: House) -> list[str]:
    rebuild(house, house.declaration(IN_SERVICE), [None])
    return house.lake.read(IN_SERVICE).iloc[0].tolist()


def history(house: House, store: ModelStore) -> list[tuple[str, str]]:
    with Registry(house.settings.warehouse_location, store) as registry:
        return [(event.version, event.action) for event in registry.history(success.NAME)]


@pytest.fixture(autouse=True)
def features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of the case, whose analyses hold only what prices a contract."""
    rows = update_case().rows
    monkeypatch.setattr(update_assets.feature_module, "build_features", lambda scanned: rows)


@pytest.mark.slow
def test_an_update_that_follows_the_market_is_published_judged_once_and_decides_from_its_first_week_on(
    tmp_path: Path,
) -> None:
    house = house_of(tmp_path)
    store, parent = in_service(house)
    assert made(house).action == REBUILT
    told = facts(house)
    version = told["version"]
    assert told["promoted"], told["reason"]
    assert deciding(house) == [version, parent]
    assert len(house.lake.read(UPDATE)) > 10
    assert store.verify(success.NAME, version)["training"]["update"]["parent"] == parent
    before = history(house, store)
    assert before == [(parent, "registered"), (parent, "promoted"), (version, "registered"), (version, "promoted")]
    assert made(house).action == KEPT
    # Now that the update is in service itself, the same rows lead to the same version, which is not judged again.
    content = made(house, force=True).footer.content  # type: ignore[union-attr]
    assert content == house.lake.footer(UPDATE).content  # type: ignore[union-attr]
    assert facts(house) == told
    assert history(house, store) == before
    labels = [model.label for model in stored_models(store, version)]
    assert labels[0].startswith(f"{parent}@")
    assert labels[-1] == version
    assert full_training(store, version).version == full_training(store, parent).version == parent
    # What was lost of a published update is made again.
    onnx = store.onnx_path(success.NAME, version)
    lost = onnx.read_bytes()
    onnx.unlink()
    assert made(house).action == REBUILT
    assert onnx.read_bytes() == lost
    # Another update is judged against the one in service, and starts from the same full training.
    other = house_of(tmp_path, replace(CONFIG, seed=8))
    assert made(other).action == REBUILT
    assert facts(other)["parent"] == parent
    assert facts(other)["version"] not in ("", version)
    with Registry(house.settings.warehouse_location, store) as registry:
        evidence = registry.history(success.NAME)[-1].evidence
    assert (evidence["champion"], evidence["challenger"]) == (version, facts(other)["version"])
    assert deciding(other) == [version, parent]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(CONFIG, enabled=False), "updates are switched off (BUTTERQUANT_UPDATE__ENABLED)"),
        (replace(CONFIG, minimum_rows=9000), "at least 9000 rows of 2 episodes are needed"),
    ],
)
def test_without_an_update_the_model_in_service_stays_with_the_reason_and_no_weeks(
    tmp_path: Path, config: UpdateConfig, reason: str
) -> None:
    house = house_of(tmp_path, config)
    store, parent = in_service(house)
    assert made(house).action == REBUILT
    assert reason in facts(house)["reason"]
    assert facts(house)["version"] == ""
    assert house.lake.read(UPDATE).empty
    assert deciding(house) == [parent, parent]
    assert history(house, store) == [(parent, "registered"), (parent, "promoted")]
    assert made(house).action == KEPT


def test_without_a_model_in_service_nothing_is_updated(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    in_service(house, champion=False)
    assert made(house).action == REBUILT
    assert facts(house)["reason"] == "no update: no model is in service"
    assert deciding(house) == ["", ""]


def test_an_update_whose_full_training_was_lost_says_so(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    store, parent = in_service(house)
    (store.directory(success.NAME, parent) / "ensemble" / "ensemble.json").unlink()
    with pytest.raises(ModelStoreError, match=r"ensemble\.json is missing"):
        made(house)


def test_a_role_that_changes_by_hand_changes_what_decides_and_nothing_else(tmp_path: Path) -> None:
    house = house_of(tmp_path, replace(CONFIG, enabled=False))
    store, parent = in_service(house, champion=False)
    made(house)
    assert deciding(house) == ["", ""]
    serving = house.declaration(IN_SERVICE)
    assert rebuild(house, serving, [None]).outcomes[IN_SERVICE][None].action == KEPT
    with Registry(house.settings.warehouse_location, store) as registry:
        registry.promote(success.NAME, parent, evidence={}, reason="tried by hand")
    done = rebuild(house, serving, [None]).outcomes[IN_SERVICE][None]
    assert (done.action, done.reasons) == (REBUILT, ("source:model_roles changed",))
    assert deciding(house) == [parent, parent]
    assert made(house).action == KEPT
