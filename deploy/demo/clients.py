"""The two HTTP servers a demo talks to: the gateway as a user would, and the paper exchange's control API."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from shared.core.errors import Problem, Refused, RetryLater, Stop

_TIMEOUT_S = 10.0
_PATIENCE_S = 30.0
_UNPROCESSABLE = 422
_UNAVAILABLE = 503


class GatewayClient:
    """The gateway's API; waits out restarts. Raises Refused as the gateway does, RetryLater when it stays away."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S, trust_env=False
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """The JSON at ``path``."""
        return await self._ask("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The answer to a command; ``key`` makes sending it again harmless."""
        return await self._ask("POST", path, body=body, key=key)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str = "",
    ) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            try:
                response = await self._client.request(method, path, params=query, json=body, headers=headers)
            except httpx.TransportError as error:
                trouble = repr(error)
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                trouble = _trouble(response)
            if asyncio.get_running_loop().time() > deadline:
                raise RetryLater(f"the gateway does not answer {method} {path}: {trouble}")
            await asyncio.sleep(0.2)


def _trouble(response: httpx.Response) -> str:
    """What to wait out. Raises Refused for wrong input, Stop for anything that waiting does not mend."""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": response.text[:200], "problems": []}
    if response.status_code == _UNPROCESSABLE:
        raise Refused([Problem(**problem) for problem in error["problems"]])
    if response.status_code >= 500:
        return f"{response.status_code} {error['message']}"
    raise Stop(f"the gateway answers {response.status_code}: {error['message']}")


@dataclass(frozen=True, slots=True)
class MarketProgress:
    """How far the paper market is; ``rows_total`` None: endless. Times are market time."""

    source: str
    rows_total: int | None
    row: int
    ticks: int
    first_time: str
    last_time: str | None
    market_time: str
    ended: bool
    paused: bool
    listed: tuple[str, ...]
    assets: tuple[str, ...]


def _progress(content: Mapping[str, Any]) -> MarketProgress:
    fields = {name: content[name] for name in MarketProgress.__dataclass_fields__}
    return MarketProgress(**(fields | {name: tuple(fields[name]) for name in ("listed", "assets")}))


class ExchangeControl:
    """The paper exchange's control API."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"X-Control-Token": token}, timeout=_TIMEOUT_S, trust_env=False
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def market(self) -> MarketProgress:
        """Where the market is."""
        return _progress(await self._ask("GET", "/control/market"))

    async def pause(self) -> None:
        """Hold the market at its row."""
        await self._ask("POST", "/control/market/pause")

    async def resume(self) -> None:
        """Let the market go on."""
        await self._ask("POST", "/control/market/resume")

    async def advance(self, rows: int) -> None:
        """Move a paused market on by some rows."""
        await self._ask("POST", "/control/market/advance", {"rows": rows})

    async def advance_to(self, row: int) -> MarketProgress:
        """Move a paused market on to a row, or to its end; sent again, it changes nothing."""
        return _progress(await self._ask("POST", "/control/market/advance", {"to_row": row}))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                response = await self._client.request(method, path, json=body)
                response.raise_for_status()
            except httpx.TransportError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise RetryLater(f"the paper exchange does not answer: {error!r}") from None
                await asyncio.sleep(0.2)
            else:
                answer: dict[str, Any] = response.json() if response.content else {}
                return answer
