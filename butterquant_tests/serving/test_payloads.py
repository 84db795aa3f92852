"""Request bodies: the three forms agree, and every refusal names the field."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.serving.contract import Contract, read_contract
from butterquant_assets.serving.errors import MAX_DETAILS, RequestError
from butterquant_assets.serving.payloads import Batch, parse_request
from butterquant_tests.serving import stores
from butterquant_tests.serving.test_contract import card

CONTRACT = read_contract(card())


def parse(document: Any, contract: Contract = CONTRACT, max_rows: int = 100) -> Batch:
    return parse_request(orjson.dumps(document), contract, max_rows)


def refusal(document: Any, **options: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(document, **options)
    return caught.value


def row(**changes: Any) -> dict[str, Any]:
    return stores.as_dicts(stores.rows(1))[0] | changes


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in row().items() if key != name}


def test_the_three_forms_give_the_same_matrix() -> None:
    values = stores.rows(5)
    dicts = stores.as_dicts(values)
    by_name, table = parse({"rows": dicts}), parse({"columns": list(FEATURES), "values": stores.as_lists(values)})
    np.testing.assert_array_equal(by_name.features, values.astype(np.float32))
    np.testing.assert_array_equal(table.features, by_name.features)
    np.testing.assert_array_equal(parse({"features": dicts[2]}).features[0], by_name.features[2])
    assert (by_name.tabular, table.tabular) == (False, True)
    assert by_name.features.dtype == np.float32
    assert by_name.features.flags.c_contiguous


def test_names_may_come_in_any_order() -> None:
    values = stores.rows(4, seed=3)
    order = np.random.default_rng(1).permutation(23)
    shuffled = {"columns": [FEATURES[i] for i in order], "values": stores.as_lists(values[:, order])}
    found = parse(shuffled).features
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(
        parse({"features": dict(reversed(row().items()))}).features, parse({"features": row()}).features
    )


def test_the_gate_is_the_card_s_unless_another_is_asked_for() -> None:
    assert parse({"features": row()}).gate == "training"
    assert parse({"features": row(), "gate": "document"}).gate == "document"


def test_units_that_agree_are_accepted() -> None:
    units = {"predicted_vol": "per year", "skew_estimate": ""}
    assert parse({"features": row(), "units": units}).features.shape == (1, 23)


def test_whole_numbers_and_the_bounds_themselves_are_accepted() -> None:
    found = parse({"rows": [row(dominant_period=7, iv_percentile=0), row(dominant_period=180.0, iv_percentile=1)]})
    assert found.features[:, FEATURES.index("dominant_period")].tolist() == [7.0, 180.0]


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ({"features": without("delta")}, "delta", "row 0: delta is missing"),
        ({"features": row(alpha=1.0)}, "alpha", "row 0: alpha is unknown to this model"),
        ({"rows": [row(), row(vix_level=None)]}, "vix_level", "row 1: vix_level is null"),
        ({"features": row(vix_level="20")}, "vix_level", 'is "20", expected a number'),
        ({"features": row(vix_level=True)}, "vix_level", "is true, expected a number"),
        ({"features": row(vix_level=[20.0])}, "vix_level", r"is \[20.0\], expected a number"),
        ({"features": row(dominant_period=250.0)}, "dominant_period", r"is 250.0, must be at most 180 \(sessions\)"),
        ({"features": row(predicted_vol=-0.1)}, "predicted_vol", r"is -0.1, must be at least 0 \(per year\)"),
        ({"features": row(delta=1e39)}, "delta", r"1e\+?39, beyond what a 32-bit float holds"),
        ({"features": [1.0]}, "row", "row 0: row is a JSON array"),
        ({"rows": [row(), 3]}, "row", "row 1: row is a JSON number"),
        ({"rows": {}}, "rows", "rows is a JSON object, expected an array"),
        ({"rows": []}, "rows", "rows is empty"),
        ({"features": row(), "gate": "hope"}, "gate", 'gate is "hope", expected document or training'),
        ({"features": row(), "gate": None}, "gate", "gate is null"),
        ({"features": row(), "units": {"predicted_vol": "per day"}}, "predicted_vol", "units differ"),
        ({"features": row(), "units": {"alpha": "per day"}}, "alpha", "units differ"),
        ({"features": row(), "units": []}, "units", "units is a JSON array"),
        ({"features": row(), "mode": 1}, "mode", "unknown key 'mode'"),
        ({"features": row(), "rows": []}, "body", "either features"),
        ({}, "body", "either features"),
        ([], "body", "the body is a JSON array"),
        ({"columns": list(FEATURES)}, "body", "either features"),
        ({"columns": list(FEATURES[:-1]), "values": [[0.0] * 22]}, "vix_level", "vix_level is missing"),
        ({"columns": [*FEATURES, "alpha"], "values": [[0.0] * 24]}, "alpha", "alpha is unknown"),
        ({"columns": [*FEATURES, "delta"], "values": [[0.0] * 24]}, "delta", "delta is given more than once"),
        ({"columns": [*FEATURES[:-1], 7], "values": []}, "vix_level", "vix_level is missing"),
        ({"columns": "all", "values": []}, "columns", "columns is a JSON string"),
        ({"columns": list(FEATURES), "values": [[1.0] * 22]}, "values", "row 0: values has 22 numbers, expected 23"),
        ({"columns": list(FEATURES), "values": [[1.0] * 22, 5]}, "values", "row 0: values has 22 numbers"),
        ({"columns": list(FEATURES), "values": []}, "values", "values is empty"),
        ({"columns": list(FEATURES), "values": 5}, "values", "values is a JSON number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(document: Any, field: str, message: str) -> None:
    error = refusal(document)
    assert (error.status, error.code) == (422, "invalid_request")
    assert field in [detail["field"] for detail in error.details]
    with pytest.raises(RequestError, match=message):
        raise error


def test_a_wrong_value_in_shuffled_columns_is_named_by_its_own_column() -> None:
    columns = list(reversed(FEATURES))
    values = stores.as_lists(stores.rows(2)[:, ::-1])
    values[1][columns.index("prob_profit")] = 1.5
    (detail,) = refusal({"columns": columns, "values": values}).details
    assert detail == {"row": 1, "field": "prob_profit", "problem": "is 1.5, must be at most 1 (0 .. 1)"}


def test_all_wrong_fields_are_told_at_once_up_to_a_limit() -> None:
    error = refusal({"rows": [row(vix_level="x", predicted_vol=-1.0, prob_profit=None), without("delta")]})
    assert [(d["row"], d["field"]) for d in error.details] == [
        (0, "predicted_vol"),
        (0, "prob_profit"),
        (0, "vix_level"),
        (1, "delta"),
    ]
    assert "and 3 besides" in error.message
    many = refusal({"rows": [row(vix_level=None)] * 50})
    assert len(many.details) == MAX_DETAILS
    assert "and more besides" in many.message


def test_more_rows_than_allowed_are_refused_with_the_limit() -> None:
    assert "101 rows in one request, at most 100" in refusal({"rows": [row()] * 101}).message
    table = {"columns": list(FEATURES), "values": stores.as_lists(stores.rows(101))}
    assert "101 rows in one request, at most 100" in refusal(table).message
    assert len(parse({"rows": [row()] * 100}).features) == 100


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused_with_advice(token: str) -> None:
    body = orjson.dumps({"features": row(delta=0.125)}).replace(b"0.125", token.encode())
    with pytest.raises(RequestError, match="NaN and Infinity are no JSON: send null") as caught:
        parse_request(body, CONTRACT, 10)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"features": 1e999}', b"[" * 5000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="the body is no JSON") as caught:
        parse_request(body, CONTRACT, 10)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def plainly_wrong(value: Any, name: str) -> bool:
    """One value judged the slow way."""
    if value is None:
        return name not in stores.NULLABLE
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low, high = stores.RANGES.get(name, (None, None))
    return (
        (low is not None and value < low)
        or (high is not None and value > high)
        or abs(value) > 3.4028234663852886e38  # the largest float32
    )


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(-1e38, 1e38),
    st.floats(-1.0, 2.0),
    st.sampled_from([7.0, 180.0, 200.0, 0, 1, -0.0, 1e300]),
)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(FEATURES), ODD), max_size=4), st.booleans())
def test_fast_acceptance_and_field_by_field_judgement_agree(changes: list[tuple[int, str, Any]], tabular: bool) -> None:
    values = stores.as_lists(stores.rows(4))
    for place, name, value in changes:
        values[place][FEATURES.index(name)] = value
    wrong = {
        (place, name)
        for place, cells in enumerate(values)
        for name, value in zip(FEATURES, cells, strict=True)
        if plainly_wrong(value, name)
    }
    rows = [dict(zip(FEATURES, cells, strict=True)) for cells in values]
    document = {"columns": list(FEATURES), "values": values} if tabular else {"rows": rows}
    if wrong:
        assert {(d["row"], d["field"]) for d in refusal(document).details} == wrong
    else:
        expected = np.array(values, dtype=np.float64).astype(np.float32)
        np.testing.assert_array_equal(parse(document).features, expected)
