"""A bundle as a web service: `/healthz`, `/schema`, `/predict` and the OpenAPI document of just this bundle.

A request's body is read and its rows are parsed outside the event loop, one at a time, so that the service answers how
it is while it works. What is wrong is told as a problem (RFC 9457); what goes wrong inside is told to the log alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import TypeAdapter

from raytrain.deploy.forecaster import Forecaster, Runtime
from raytrain.deploy.limits import ServiceLimits
from raytrain.deploy.problems import Problem, Refused, add_errors, parse, problems
from raytrain.deploy.remote import ModelEnded
from raytrain.deploy.schema import Schema
from raytrain.deploy.wire import (
    ModelCard,
    answer_type,
    instances_type,
    predictions_type,
    request_type,
    to_rows,
    to_table,
)
from raytrain.errors import UserError

if TYPE_CHECKING:  # of the extra `serve`
    from fastapi import FastAPI, Request


class Service:
    """One bundle, loaded, and the bounds within which it answers."""

    def __init__(self, forecaster: Forecaster, runtime: Runtime, limits: ServiceLimits) -> None:
        self.schema: Schema = forecaster.bundle.schema
        self.model = ModelCard.of(forecaster.bundle, runtime)
        self.limits = limits
        self.is_broken = False
        """Whether a process that it needs has ended: whoever watches should start it again."""
        self.request: TypeAdapter[Any] = TypeAdapter(request_type(self.schema, limits.max_rows))
        self.instances: TypeAdapter[Any] = TypeAdapter(instances_type(self.schema, limits.max_rows))
        self._forecaster = forecaster
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._inside = 0

    async def predict(self, request: "Request") -> bytes:
        """The answer to `/predict`."""
        return await self._answer(request, self._predict)

    async def vertex(self, request: "Request") -> bytes:
        """The answer to Vertex AI."""
        return await self._answer(request, self._instances)

    async def _answer(self, request: "Request", work: Callable[[bytes], bytes]) -> bytes:
        with self._place():
            body = await self._body(request)
            future = self._worker.submit(work, body)
            try:
                return await asyncio.wait_for(asyncio.wrap_future(future), self.limits.forecast_s)
            except TimeoutError:
                raise Refused(504, f"no forecast within {self.limits.forecast_s:g} s; send fewer rows") from None

    @contextmanager
    def _place(self) -> Any:
        """One of the places for requests."""
        if self._inside >= self.limits.max_requests:
            raise Refused(503, f"{self.limits.max_requests} requests are under way, which is the most; come back")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _body(self, request: "Request") -> bytes:
        """The body, in bounded time and space."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, f"the body must be application/json, got {kind or 'nothing'}")
        most = self.limits.max_body_bytes
        announced = request.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > most:
            raise self._too_long()
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > most:
                        raise self._too_long()
                    body += chunk
        except TimeoutError:
            raise Refused(408, f"the body must arrive within {self.limits.body_s:g} s") from None
        return bytes(body)

    def _too_long(self) -> Refused:
        return Refused(413, f"a body may have {self.limits.max_body_mib:g} MiB; send the newest rows only")

    def _predict(self, body: bytes) -> bytes:
        asked = parse(self.request, body)
        if asked.bundle not in ("any", self.model.bundle):
            raise Refused(409, f"this service has the bundle {self.model.bundle}, not {asked.bundle}; ask its schema")
        told, notes = self._forecast(asked, asked.new_categories)
        return _as_json({"model": self.model.model_dump(), "forecasts": told, "notes": notes})

    def _instances(self, body: bytes) -> bytes:
        told, _ = self._forecast(parse(self.instances, body), "refuse")
        return _as_json({"predictions": told})

    def _forecast(self, asked: Any, new_categories: str) -> tuple[list[dict[str, Any]], list[str]]:
        try:
            made = self._forecaster.explain(to_table(self.schema, asked, new_categories))
        except UserError as error:
            raise Refused(422, str(error)) from None
        except ModelEnded:
            self.is_broken = True
            raise
        return to_rows(made.table), list(made.notes)

    def health(self) -> dict[str, str]:
        """What `/healthz` says.

        Raises:
            Refused: it cannot forecast any more.
        """
        if self.is_broken:
            raise Refused(503, "a model of this bundle has ended; start the service again")
        return {"status": "ok", "bundle": self.model.bundle}

    def warm_up(self, rows: pl.DataFrame) -> None:
        """Forecast once, so that the first request need not wait for libraries to load."""
        self._worker.submit(self._forecaster.explain, rows).result()

    def close(self) -> None:
        """Wait for the forecast under way, then end what was started."""
        self._worker.shutdown(cancel_futures=True)
        self._forecaster.close()


def _as_json(values: Any) -> bytes:
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def make_app(service: Service, predict_routes: Mapping[str, str] | None = None) -> "FastAPI":
    """The application.

    Args:
        service: what answers.
        predict_routes: of Vertex AI, `predict` and `health`: where it wants to find both.
    """
    from fastapi import FastAPI

    app = FastAPI(
        title=f"{service.model.family} for {', '.join(service.model.targets)}",
        version=service.model.version,
        summary="Forecasts from the newest row of each series",
        # Their pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(service),
    )
    add_errors(app)
    _add_routes(app, service, predict_routes or {})
    _add_request_schemas(app, service)
    return app


def _lifespan(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        service.close()

    return lifespan


def _add_routes(app: "FastAPI", service: Service, vertex: Mapping[str, str]) -> None:
    from fastapi import Request, Response

    async def healthz() -> Any:
        return service.health()

    async def schema() -> Schema:
        return service.schema

    async def predict(request: Request) -> Response:
        return Response(await service.predict(request), media_type="application/json")

    async def instances(request: Request) -> Response:
        return Response(await service.vertex(request), media_type="application/json")

    told = [400, 408, 413, 415, 422, 500, 503, 504]
    answer = {200: {"model": answer_type(service.schema)}, **problems(409, *told)}
    for place in dict.fromkeys(["/healthz", vertex.get("health", "/healthz")]):
        app.get(place, response_model=dict[str, str], responses=problems(503), summary="Whether it can forecast")(
            healthz
        )
    app.get("/schema", response_model=Schema, summary="What the bundle takes and gives")(schema)
    if "predict" in vertex:
        responses = {200: {"model": predictions_type(service.schema)}, **problems(*told)}
        extra = _body_of("VertexRequest")
        app.post(vertex["predict"], responses=responses, openapi_extra=extra, summary="As Vertex AI asks")(instances)
    if vertex.get("predict") != "/predict":
        extra = _body_of("PredictRequest")
        app.post("/predict", responses=answer, openapi_extra=extra, summary="Forecast")(predict)


def _body_of(name: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    return {"requestBody": {"required": True, "content": content}}


def _add_request_schemas(app: "FastAPI", service: Service) -> None:
    """Bodies are parsed outside the framework, so their types are told to its document here."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for kind in (service.request, service.instances, TypeAdapter(Problem)):
                found = kind.json_schema(ref_template="#/components/schemas/{model}")
                schemas |= found.pop("$defs", {})
                schemas[found["title"]] = found
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
