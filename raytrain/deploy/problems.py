"""What the service says when it does not forecast: problems (RFC 9457), without a word about its inside."""

import logging
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from raytrain.errors import RaytrainError

if TYPE_CHECKING:  # of the extra `serve`
    from fastapi import FastAPI, Response

PROBLEM = "application/problem+json"
_LOG = logging.getLogger("raytrain.service")
_SHOWN = 10
"""Values that a problem lists, at most."""
_TITLES = {
    400: "Not JSON",
    404: "No such place",
    405: "Not with this method",
    408: "The body came too slowly",
    409: "Another model is here",
    413: "Too much at once",
    415: "Not JSON",
    422: "The rows are not what the schema says",
    500: "It went wrong here",
    503: "Busy",
    504: "It took too long",
}


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
    """`at` and `rule` of each value that is wrong, a few of them."""


class Refused(Exception):
    """A request that is not answered with forecasts."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(title=_TITLES[status], status=status, detail=detail, errors=errors or [])


def parse(kind: TypeAdapter[Any], body: bytes) -> Any:
    """A body as the type says.

    Raises:
        Refused: 400 for no JSON, 413 for too many rows, 422 for wrong values.
    """
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise _refusal(found) from None


def _refusal(found: list[ErrorDetails]) -> Refused:
    first = found[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"the body must be JSON: {first['msg']}")
    listed = [{"at": ".".join(map(str, one["loc"])), "rule": _rule(one)} for one in found[:_SHOWN]]
    long = [one for one in found if one["type"] == "too_long"]
    if long:
        return Refused(413, f"a table may have {long[0]['ctx']['max_length']} rows; send the newest ones only")
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Refused(422, f"{listed[0]['at'] or 'the body'}: {listed[0]['rule']}{more}", listed)


def _rule(error: ErrorDetails) -> str:
    if error["type"] in ("missing", "value_error"):
        return "must be there" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    return f"{error['msg'].replace('Input should be', 'must be')}, got {reprlib.repr(error['input'])}"


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Answers of these codes, as OpenAPI has them."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": _TITLES[code], "content": content} for code in codes}


def add_errors(app: "FastAPI") -> None:
    """Make every refusal and every failure a problem."""
    from fastapi import Request
    from starlette.exceptions import HTTPException

    async def refused(_: Request, error: Exception) -> "Response":
        assert isinstance(error, Refused)
        return _as_problem(error.problem)

    async def routed(_: Request, error: Exception) -> "Response":
        assert isinstance(error, HTTPException)
        title = _TITLES.get(error.status_code, "Refused")
        problem = Problem(title=title, status=error.status_code, detail=str(error.detail))
        return _as_problem(problem, error.headers)

    async def failed(_: Request, error: Exception) -> "Response":
        if isinstance(error, RaytrainError):
            _LOG.error("no forecast: %s", error)
        return _as_problem(Refused(500, "this is no fault of the request; the log of the service tells more").problem)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, routed)
    app.add_exception_handler(RaytrainError, failed)
    app.add_exception_handler(Exception, failed)


def _as_problem(problem: BaseModel, headers: Mapping[str, str] | None = None) -> "Response":
    from fastapi import Response

    status = int(problem.model_dump()["status"])
    more = {"Retry-After": "1"} if status == 503 else {}
    # What was not read of the body must not be taken for the next request.
    close = {"Connection": "close"} if status in (408, 413, 503) else {}
    return Response(problem.model_dump_json(), status, {**(headers or {}), **more, **close}, PROBLEM)
