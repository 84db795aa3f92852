"""The HTTP application: routes and what they answer.

What belongs here: the route functions and the making of the application. What does not: reading requests (payloads.py),
what surrounds every request (gateway.py), the description of the interface (openapi.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.serving import openapi
from butterquant_assets.serving.answers import render
from butterquant_assets.serving.errors import RequestError, error_document
from butterquant_assets.serving.gateway import Gateway, Limits, unexpected
from butterquant_assets.serving.model import ServedModel
from butterquant_assets.serving.payloads import parse_request
from butterquant_assets.serving.summaries import models_document
from butterquant_assets.serving.telemetry import Telemetry
from butterquant_assets.serving.watcher import ChampionWatcher

INLINE_BODY_BYTES = 64 * 1024
"""Larger bodies are worked on in a thread, so that they do not hold up the small ones: a hop costs some 50 us."""

log = logging.getLogger("butterquant.serving")


@dataclass(frozen=True)
class ServingOptions:
    """How to serve.

    Parameters
    ----------
    models
        folder of the model store
    model
        name of the model whose champion is served
    poll_seconds
        time between two looks at the champion pointer
    limits
        bounds on one request
    token
        bearer token callers must send; None asks for none. Kept out of every representation.
    log_requests
        one JSON line per request
    """

    models: Path
    model: str = "success"
    poll_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    log_requests: bool = False

    def __repr__(self) -> str:
        return f"ServingOptions(models={self.models}, model={self.model}, token={'set' if self.token else 'none'})"


def create_app(options: ServingOptions) -> Gateway:
    """The ASGI application; it looks for the champion when the server starts it, and follows it until it stops.

    Parameters
    ----------
    options
        how to serve

    Returns
    -------
    Gateway
        an ASGI application
    """
    telemetry = Telemetry()
    watcher = ChampionWatcher(ModelStore(options.models), options.model, telemetry)
    workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="scoring")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(watcher.check)
        following = asyncio.create_task(watcher.watch(options.poll_seconds))
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        workers.shutdown()

    app = FastAPI(lifespan=lifespan, redoc_url=None, docs_url="/docs", **openapi.ABOUT)
    _add_routes(app, Service(watcher, telemetry, options.limits, workers))
    app.openapi = lambda: openapi.document(watcher.current, secured=options.token is not None)  # type: ignore[method-assign]
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(Exception, _failed)
    return Gateway(app, telemetry, options.limits, token=options.token, log_requests=options.log_requests)


class Service:
    """What the routes do."""

    def __init__(
        self, watcher: ChampionWatcher, telemetry: Telemetry, limits: Limits, workers: ThreadPoolExecutor
    ) -> None:
        self._watcher, self._telemetry, self._limits, self._workers = watcher, telemetry, limits, workers

    async def success(self, request: Request) -> Response:
        """Probabilities, expected ROI and decision for each row."""
        _require_json(request)
        body = await request.body()
        model = self._watcher.current
        if model is None:
            raise RequestError(503, "not_ready", self._watcher.problem or "no model is loaded")
        if len(body) <= INLINE_BODY_BYTES:
            rows, answer = self._answer(body, model)
        else:
            loop = asyncio.get_running_loop()
            rows, answer = await loop.run_in_executor(self._workers, self._answer, body, model)
        self._telemetry.scored(rows)
        request.scope["state"].update(rows=rows, version=model.version)
        return Response(answer, media_type="application/json", headers={"X-Model-Version": model.version})

    def _answer(self, body: bytes, model: ServedModel) -> tuple[int, bytes]:
        batch = parse_request(body, model.contract, self._limits.max_rows)
        try:
            scores = model.score(batch.features)
        except DataError as error:
            raise RequestError(422, "not_finite", str(error)) from error
        return len(batch.features), render(model, scores, batch.gate, tabular=batch.tabular)

    def models(self, _: Request) -> Response:
        """The served version and the other published ones."""
        return _json(models_document(self._watcher))

    async def health(self, _: Request) -> Response:
        """Liveness: the process answers."""
        return _json({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Readiness: a model is loaded."""
        model, problem = self._watcher.current, self._watcher.problem
        if model is None:
            return _json({"status": "unready", "model": None, "problem": problem}, 503)
        return _json(
            {"status": "ready", "model": {"name": model.name, "version": model.version}, "problem": problem},
        )

    def metrics(self, _: Request) -> Response:
        """Counters in Prometheus' text format."""
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_routes(app: FastAPI, service: Service) -> None:
    routes: list[tuple[str, str, Any]] = [
        ("POST", "/v1/success", service.success),
        ("GET", "/v1/models", service.models),
        ("GET", "/health", service.health),
        ("GET", "/ready", service.ready),
        ("GET", "/metrics", service.metrics),
    ]
    for method, path, function in routes:
        # Plain routes: FastAPI's own resolve dependencies and response models for each request, which takes longer than
        # the model does, and this interface is described by the served card instead.
        app.add_route(path, function, methods=[method])


def _require_json(request: Request) -> None:
    given = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if given != "application/json":
        raise RequestError(
            415, "not_json", f"the content type is {given[:80]}; send JSON with 'Content-Type: application/json'"
        )


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    document = error_document(error.code, error.message, request.scope["state"]["request_id"], error.details)
    return _json(document, error.status, error.headers)


async def _failed(request: Request, _: Exception) -> Response:
    """The gateway, which sees the exception as well, writes it to the log."""
    return await _refused(request, unexpected(request.scope["state"]["request_id"]))


async def _not_routed(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    codes = {404: "not_found", 405: "method_not_allowed"}
    message = f"{request.method} {request.url.path[:80]}: {error.detail}; /docs lists what there is"
    document = error_document(codes.get(error.status_code, "refused"), message, request.scope["state"]["request_id"])
    return _json(document, error.status_code, dict(error.headers or {}))


def _json(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, "application/json")
