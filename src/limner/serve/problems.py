"""What a client is told when something is wrong: RFC 9457, with the sentence that the command line would say."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 (as RFC 9457 calls it)
    """Answers a request with this status and this sentence."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, dict(headers or {})


class Told(BaseModel):
    """A problem as it is sent."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    told = Told(title=HTTPStatus(status).phrase, status=status, detail=sentence)
    return JSONResponse(told.model_dump(), status, dict(headers or {}), MEDIA_TYPE)


def described(*statuses: int) -> dict[int | str, dict[str, object]]:
    """These statuses, for the description of an operation."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Told"}}}
    return {status: {"description": HTTPStatus(status).phrase, "model": Told, "content": content} for status in statuses}


def handle(app: FastAPI) -> None:
    """Tell every error of ``app`` in this way."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return response(error.status, str(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return response(422, sentence(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def mistake(_: Request, error: Exception) -> JSONResponse:
        return response(500, f"Something went wrong, by a mistake of Limner's ({type(error).__name__}): please report it.")


def sentence(errors: Sequence[Any]) -> str:
    """What pydantic found, in one sentence."""
    told = (f"{'.'.join(str(part) for part in each['loc'] if part not in ('query', 'path'))}: {each['msg']}" for each in errors)
    return "; ".join(told) + "."
