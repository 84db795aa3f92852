"""The description of the interface: every field with its title, its unit and range, and an example.

What belongs here: OpenAPI, written out rather than derived from validation classes, because requests are validated
against the card of the served model, whose features, units and ranges appear here while it is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from butterquant_assets.serving.contract import GATES, Contract, Feature
from butterquant_assets.serving.gateway import OPEN_PATHS
from butterquant_assets.serving.model import ServedModel

Schema = dict[str, Any]

ABOUT: dict[str, Any] = {
    "title": "ButterQuant success model",
    "version": "1",
    "description": (
        "Probabilities of the four ROI classes of an option butterfly, the expected ROI they imply, and whether a gate "
        "would execute it. All rows of one answer come from one model version, which the answer names."
    ),
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(title: str, properties: dict[str, Schema], *, optional: Sequence[str] = (), **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {
        "title": title, "type": "object", "properties": properties, "required": required, "additionalProperties": False
    } | more  # fmt: skip


def _array(items: Schema, title: str, **more: Any) -> Schema:
    return {"title": title, "type": "array", "items": items} | more


def _text(title: str, example: str, **more: Any) -> Schema:
    return {"title": title, "type": "string", "examples": [example]} | more


def _number(title: str, example: float, *, nullable: bool = False, **more: Any) -> Schema:
    return {"title": title, "type": ["number", "null"] if nullable else "number", "examples": [example]} | more


_VERSION = _text("Model version, a hash of its content", "0123456789abcdef", pattern="^[0-9a-f]{16}$")
_GATE = {
    "title": "Gate that decides",
    "type": "string",
    "enum": list(GATES),
    "description": "document: the document's class values (0, .05, .20, .40) and threshold (.15). training: the mean "
    "net ROI of each class on the training rows, and the threshold chosen on earlier data. Default: as on the card.",
    "examples": ["training"],
}
_UNITS = {
    "title": "Units you send, by feature",
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Optional. Compared with the model's; a difference refuses the request.",
    "examples": [{"predicted_vol": "per year"}],
}
_OPTIONS: dict[str, Schema] = {"gate": _GATE, "units": _UNITS}
_DECISION = {
    "title": "Whether expected ROI exceeds the gate's threshold",
    "type": "string",
    "enum": ["execute", "pass"],
    "examples": ["pass"],
}
_MODEL = _object(
    "The version all rows come from",
    {
        "name": _text("Model", "success"),
        "version": _VERSION,
        "calibration": _object(
            "Calibration", {"method": _text("Method", "isotonic"), "version": _text("Version", "0123456789abcdef")}
        ),
    },
)
_GATE_USED = _object(
    "Gate that decided",
    {
        "name": _GATE,
        "threshold": _number(
            "Expected ROI above which it executes", 0.15, nullable=True, description="null: nothing is executed"
        ),
        "class_values": _array({"type": "number"}, "ROI that stands for each class", examples=[[0.0, 0.05, 0.2, 0.4]]),
    },
)
_HEAD = {
    "model": _MODEL,
    "gate": _GATE_USED,
    "classes": _array({"type": "string"}, "Names of the classes", examples=[["loss", "small", "good", "excellent"]]),
}
_EXPECTED = {
    "document": _number("Expected ROI by the document's class values", 0.1625),
    "training": _number("Expected ROI by the training rows' class means", -0.0121),
}

_SCHEMAS: dict[str, Schema] = {
    "OneRow": _object("One row by name", {"features": _ref("Row"), **_OPTIONS}, optional=tuple(_OPTIONS)),
    "Rows": _object(
        "Rows by name",
        {"rows": _array(_ref("Row"), "Rows", minItems=1), **_OPTIONS},
        optional=tuple(_OPTIONS),
    ),
    "Table": _object(
        "Names once, then numbers; the fastest form",
        {
            "columns": _array({"type": "string"}, "Feature names, in any order"),
            "values": _array(
                _array({"type": ["number", "null"]}, "One row, in the order of columns"), "Rows", minItems=1
            ),
            **_OPTIONS,
        },
        optional=tuple(_OPTIONS),
    ),
    "RowAnswer": _object(
        "Answer to rows by name",
        {
            **_HEAD,
            "predictions": _array(
                _object(
                    "One row's answer",
                    {
                        "probabilities": {
                            "title": "Probability of each class",
                            "type": "object",
                            "additionalProperties": {"type": "number"},
                            "examples": [{"loss": 0.55, "small": 0.1, "good": 0.1, "excellent": 0.25}],
                        },
                        "expected_roi": _object("Expected ROI by gate", _EXPECTED),
                        "decision": _DECISION,
                    },
                ),
                "In the order of the rows",
            ),
        },
    ),
    "TableAnswer": _object(
        "Answer to a table",
        {
            **_HEAD,
            "probabilities": _array(_array({"type": "number"}, "By class"), "By row"),
            "expected_roi": _object(
                "Expected ROI by gate, then by row",
                {gate: _array({"type": "number"}, schema["title"]) for gate, schema in _EXPECTED.items()},
            ),
            "decisions": _array(_DECISION, "By row"),
        },
    ),
    "Models": _object(
        "What is served",
        {
            "name": _text("Model", "success"),
            "served": {"title": "Summary of the served card, null before the first", "type": ["object", "null"]},
            "problem": {"title": "Why the champion is not served; null when all is well", "type": ["string", "null"]},
            "other_versions": _array(_VERSION, "Published versions that are not served"),
        },
    ),
    "Status": _object(
        "Status",
        {
            "status": {"title": "State", "type": "string", "enum": ["alive", "ready", "unready"]},
            "model": {"title": "Served model and version", "type": ["object", "null"]},
            "problem": {"title": "What is wrong, null when nothing is", "type": ["string", "null"]},
        },
        optional=("model", "problem"),
    ),
    "Error": _object(
        "Error",
        {
            "error": _object(
                "What went wrong",
                {
                    "code": _text("Stable word for programs", "invalid_request"),
                    "message": _text("Sentence for people", "row 3: delta is 'x', expected a number"),
                    "request_id": _text("Id, also in X-Request-ID and the log", "9f2c4e0a1b3d5f77"),
                    "details": _array(
                        _object(
                            "One wrong field",
                            {
                                "row": {"title": "Row, from 0; null where it is about the whole request",
                                        "type": ["integer", "null"], "examples": [3]},
                                "field": _text("Feature or key", "predicted_vol"),
                                "problem": _text("What is wrong with it", "is -0.2, must be at least 0 (per year)"),
                            },
                        ),
                        "The first 20 wrong fields",
                    ),
                },
            )
        },
    ),
}  # fmt: skip


def _json_answer(description: str, *schemas: str) -> Schema:
    schema = _ref(schemas[0]) if len(schemas) == 1 else {"anyOf": [_ref(name) for name in schemas]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ERRORS: dict[str, Schema] = {
    "400": _json_answer("The body is no JSON (NaN and Infinity are none)", "Error"),
    "401": _json_answer("The bearer token is missing or wrong", "Error"),
    "413": _json_answer("The body is too large", "Error"),
    "415": _json_answer("The content type is not JSON", "Error"),
    "422": _json_answer("A field is unknown, missing, of another unit, no number or out of range", "Error"),
    "500": _json_answer("The server failed; its log has the reason under the id", "Error"),
    "503": _json_answer("No model is loaded", "Error"),
}

_PATHS: dict[str, Schema] = {
    "/v1/success": {
        "post": {
            "operationId": "success",
            "summary": "Score butterflies",
            "description": "Give one row (`features`), several (`rows`), or a table (`columns` and `values`).",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"anyOf": [_ref(n) for n in ("OneRow", "Rows", "Table")]}}},
            },
            "responses": {
                "200": _json_answer("Scored", "RowAnswer", "TableAnswer")
                | {"headers": {"X-Model-Version": {"description": "Version that scored", "schema": _VERSION}}}
            }
            | _ERRORS,
        }
    },
    "/v1/models": {
        "get": {
            "operationId": "models",
            "summary": "Served version, its card, other versions",
            "responses": {"200": _json_answer("What is served", "Models"), "401": _ERRORS["401"]},
        }
    },
    "/health": {
        "get": {
            "operationId": "health",
            "summary": "Liveness",
            "responses": {"200": _json_answer("The process answers", "Status")},
        }
    },
    "/ready": {
        "get": {
            "operationId": "ready",
            "summary": "Readiness",
            "responses": {
                "200": _json_answer("A model is loaded", "Status"),
                "503": _json_answer("None is loaded, and why", "Status"),
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Metrics for Prometheus",
            "responses": {
                "200": {"description": "Text format 0.0.4", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "401": _ERRORS["401"],
            },
        }
    },
}


def document(model: ServedModel | None, *, secured: bool) -> dict[str, Any]:
    """The OpenAPI document.

    Parameters
    ----------
    model
        whose features are described; without one, rows are objects of numbers
    secured
        whether callers must send a bearer token

    Returns
    -------
    dict of plain values
    """
    row = {"title": "Features by name", "type": "object", "additionalProperties": {"type": ["number", "null"]}}
    paths = deepcopy(_PATHS)
    components: Schema = {"schemas": _SCHEMAS | {"Row": row if model is None else _row(model.contract)}}
    if model is not None:
        body = paths["/v1/success"]["post"]["requestBody"]["content"]["application/json"]
        body["examples"] = _examples(model.contract)
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in paths.keys() - OPEN_PATHS:
            for operation in paths[path].values():
                operation["security"] = [{"token": []}]
    return {"openapi": "3.1.0", "info": ABOUT, "paths": paths, "components": components}


def _row(contract: Contract) -> Schema:
    return _object("Features by name", {feature.name: _feature(feature) for feature in contract.features})


def _feature(feature: Feature) -> Schema:
    unit = f" ({feature.unit})" if feature.unit else ""
    schema = _number(f"{feature.description}{unit}", feature.example, nullable=feature.nullable)
    bounds = {"minimum": feature.low, "maximum": feature.high, "x-unit": feature.unit or None}
    return schema | {name: value for name, value in bounds.items() if value is not None}


def _examples(contract: Contract) -> Schema:
    row = {feature.name: feature.example for feature in contract.features}
    forms: dict[str, Schema] = {
        "one row": {"features": row},
        "rows": {"rows": [row, row], "gate": "document"},
        "table": {"columns": list(row), "values": [list(row.values())]},
    }
    return {name: {"value": value} for name, value in forms.items()}
