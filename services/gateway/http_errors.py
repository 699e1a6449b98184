"""Every failure as the same JSON, with the status that tells a client what to do."""

import hmac
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from services.gateway.bodies import MAX_BODY_BYTES, BodyTooLargeError
from services.gateway.replies import ErrorBody, ErrorReply, ProblemReply
from shared.core.errors import Conflict, Problem, Refused, RetryLater, shown

_log = logging.getLogger(__name__)
_BEARER = HTTPBearer(auto_error=False, description="The token the gateway was started with.")

ERRORS: dict[int | str, dict[str, object]] = {
    401: {"model": ErrorReply, "description": "The bearer token is missing or wrong."},
    404: {"model": ErrorReply, "description": "There is no such thing."},
    409: {"model": ErrorReply, "description": "Made for a state that is gone: look at it (GET) and decide anew."},
    422: {"model": ErrorReply, "description": "Refused: `problems` names each field, value and what is allowed."},
    503: {"model": ErrorReply, "description": "Not now: the same request may succeed after `Retry-After` seconds."},
}

_NO_BEARER = "there is no token: send it as Authorization: Bearer <token>"
_WRONG_BEARER = "the token is wrong: it is not the one the gateway was started with"


class NotFoundError(Exception):
    """What was asked for is not there."""


class UnauthorizedError(Exception):
    """The caller has not shown the token; ``is_wrong``: it has shown another one."""

    def __init__(self, *, is_wrong: bool) -> None:
        super().__init__(_WRONG_BEARER if is_wrong else _NO_BEARER)
        self.is_wrong = is_wrong


def token_check(token: str) -> Callable[..., Awaitable[None]]:
    """A dependency that lets only callers with ``token`` pass. Raises UnauthorizedError."""
    expected = token.encode()

    async def check(shown_token: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        given = shown_token.credentials.encode() if shown_token else b""
        if not hmac.compare_digest(given, expected):
            raise UnauthorizedError(is_wrong=bool(given))

    return check


def add_error_handlers(http: FastAPI) -> None:
    """Turn exceptions into ``ErrorReply``."""
    http.add_exception_handler(Refused, _refused)
    http.add_exception_handler(Conflict, _conflict)
    http.add_exception_handler(RetryLater, _retry_later)
    http.add_exception_handler(NotFoundError, _not_found)
    http.add_exception_handler(UnauthorizedError, _unauthorized)
    http.add_exception_handler(BodyTooLargeError, _too_large)
    http.add_exception_handler(RequestValidationError, _invalid)
    http.add_exception_handler(HTTPException, _http)
    http.add_exception_handler(Exception, _unexpected)


def _reply(status: int, body: ErrorBody, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(ErrorReply(error=body).model_dump(mode="json"), status, headers)


def _refusal(
    problems: Sequence[Problem], status: int = 422, kind: Literal["refused", "conflict"] = "refused"
) -> Response:
    found = [ProblemReply(field=p.field, value=p.value, allowed=p.allowed, message=p.message) for p in problems]
    message = "; ".join(str(problem) for problem in problems)
    return _reply(status, ErrorBody(kind=kind, message=message, problems=found))


async def _refused(_request: Request, error: Exception) -> Response:
    problems = error.problems if isinstance(error, Refused) else ()
    if problems and all(p.field in {"strategy_id", "preview_id"} and p.message == "is not known" for p in problems):
        return _reply(404, ErrorBody(kind="not_found", message=str(error)))
    return _refusal(problems)


async def _retry_later(_request: Request, error: Exception) -> Response:
    after_s = error.after_s if isinstance(error, RetryLater) else 1.0
    headers = {"Retry-After": str(max(1, math.ceil(after_s)))}
    return _reply(503, ErrorBody(kind="retry_later", message=str(error)), headers)


async def _not_found(_request: Request, error: Exception) -> Response:
    return _reply(404, ErrorBody(kind="not_found", message=str(error)))


async def _conflict(_request: Request, error: Exception) -> Response:
    return _refusal(error.problems if isinstance(error, Conflict) else (), 409, kind="conflict")


async def _unauthorized(_request: Request, error: Exception) -> Response:
    is_wrong = isinstance(error, UnauthorizedError) and error.is_wrong
    challenge = 'Bearer error="invalid_token"' if is_wrong else "Bearer"
    return _reply(401, ErrorBody(kind="unauthorized", message=str(error)), {"WWW-Authenticate": challenge})


async def _too_large(_request: Request, _error: Exception) -> Response:
    problem = Problem("body", f"more than {MAX_BODY_BYTES} bytes", f"at most {MAX_BODY_BYTES} bytes", "is too large")
    # The rest of the body was not read, so the connection cannot be used again.
    response = _refusal([problem], 413)
    response.headers["Connection"] = "close"
    return response


async def _invalid(_request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    problems = [
        Problem(str(one["loc"][-1]), shown(one.get("input")), "see the documentation at /docs", one["msg"])
        for one in found
    ]
    return _refusal(problems)


async def _http(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    if status == 404:
        return _reply(404, ErrorBody(kind="not_found", message="there is no such route"))
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _reply(status, ErrorBody(kind="refused", message=detail), headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _reply(500, ErrorBody(kind="internal", message="an error of the gateway; it is in its log"))
