"""The gateway's HTTP API for the commands: typed errors, safe repeats."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.command_line.output import find_stack
from shared.core.errors import Conflict, Problem, Refused, RetryLater, TrimtabError

_TIMEOUT_S = 15.0
_PATIENCE_S = 15.0
_PAUSE_S = 0.3
_QUIET_S = 30.0


class NotFoundError(TrimtabError):
    """There is no such thing at the gateway."""


class UnauthorizedError(TrimtabError):
    """The gateway does not accept the token."""


class GatewayError(TrimtabError):
    """The gateway answered with something that is none of the above."""


class GatewayApi:
    """Requests to one gateway.

    Raises Refused (Conflict for what was made for another state), NotFoundError, UnauthorizedError, GatewayError;
    RetryLater when it stays away for ``patience_s``. Every POST and PATCH carries an idempotency key, so repeating it
    inside that time is safe.
    """

    def __init__(self, url: str, token: str, *, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """The JSON at ``path``."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None) -> dict[str, Any]:
        """The answer to a command; ``key`` names it (default: a new one)."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._ask("POST", path, json=body, headers=headers)

    def patch(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """The answer to a change; ``key`` names it (default: a new one)."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._ask("PATCH", path, json=body, headers=headers)

    def get_text(self, path: str, **query: str | int) -> str:
        """The text at ``path``."""
        return self._answered("GET", path, params=query).text

    def events(
        self, query: Mapping[str, Any], last_event_id: str = "", on_open: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[str, str]]:
        """Pairs of event id and data (a CloudEvent as JSON) until the connection ends. Raises RetryLater then.

        ``on_open`` is called when the gateway has accepted the request.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        timeout = httpx.Timeout(_TIMEOUT_S, read=_QUIET_S)
        try:
            with self._client.stream("GET", "/events", params=query, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _error_of(response)
                on_open()
                yield from _events_in(response.iter_lines())
        except httpx.TransportError as error:
            raise RetryLater(f"the gateway does not answer: {error!r}") from error
        raise RetryLater("the gateway has ended the stream")

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._answered(method, path, **options).json()
        return answer

    def _answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._asked_once(method, path, options)
            except RetryLater as later:
                if time.monotonic() + later.after_s > deadline:
                    raise
                time.sleep(max(_PAUSE_S, later.after_s))

    def _asked_once(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise RetryLater(f"the gateway does not answer: {error!r}", after_s=_PAUSE_S) from error
        if not response.is_success:
            raise _error_of(response)
        return response


@contextmanager
def gateway_of(data_dir: Path) -> Iterator[GatewayApi]:
    """The API of the stack on a data folder (or the one the environment names)."""
    stack = find_stack(data_dir)
    api = GatewayApi(stack.gateway_url, stack.api_token)
    try:
        yield api
    finally:
        api.close()


def _events_in(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    event_id, data = "", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            data = value
        elif not line and data:
            yield event_id, data
            data = ""


def _error_of(response: httpx.Response) -> TrimtabError:
    try:
        error = response.json()["error"]
        kind, message = str(error["kind"]), str(error["message"])
        problems = [Problem(one["field"], one["value"], one["allowed"], one["message"]) for one in error["problems"]]
    except (ValueError, KeyError, TypeError):
        return GatewayError(f"the gateway answered with status {response.status_code}: {response.text[:200]}")
    if kind == "conflict" and problems:
        return Conflict(problems)
    if kind == "refused" and problems:
        return Refused(problems)
    if kind == "not_found":
        return NotFoundError(message)
    if kind == "unauthorized":
        return UnauthorizedError(message)
    if kind == "retry_later":
        return RetryLater(message, after_s=_seconds(response.headers.get("Retry-After", "")))
    return GatewayError(f"{kind}: {message}")


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 1.0
