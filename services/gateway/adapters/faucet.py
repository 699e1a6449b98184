"""Paper money: the control interface of simulated venues."""

from collections.abc import Mapping
from decimal import Decimal

import httpx

from shared.core.errors import Problem, Refused, RetryLater, shown
from shared.core.money import plain

_TIMEOUT_S = 10.0


class Faucets:
    """Deposits at venues that give paper money away; ``urls`` by venue."""

    def __init__(self, urls: Mapping[str, str], token: str) -> None:
        self._urls = dict(urls)
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, headers={"X-Control-Token": token}, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def deposit(self, venue: str, deposit_id: str, asset: str, amount: Decimal) -> None:
        """Ask a venue to credit money, once per ``deposit_id``.

        Raises Refused (no paper venue, or the venue refuses), RetryLater when it cannot be reached: the outcome is
        unknown then, and the same id may be sent again.
        """
        url = self._urls.get(venue)
        if url is None:
            allowed = ", ".join(sorted(self._urls)) or "(no paper venue is configured)"
            message = "has no paper money: at a real venue deposit with the venue itself, the wallet will show it"
            raise Refused.one("venue", venue, allowed, message)
        body = {"id": deposit_id, "asset": asset, "amount": plain(amount)}
        try:
            answer = await self._client.post(f"{url.rstrip('/')}/control/deposits", json=body)
        except httpx.HTTPError as error:
            raise RetryLater(f"the paper venue {venue} does not answer: {error!r}") from error
        if answer.is_success:
            return
        if answer.status_code in {400, 404, 409, 422}:
            raise _refusal(answer, asset)
        raise RetryLater(f"the paper venue {venue} answered with status {answer.status_code}")


def _refusal(answer: httpx.Response, asset: str) -> Refused:
    """What the venue refused; its own words when they can be read."""
    try:
        found = answer.json()["error"]["problems"]
        return Refused([Problem(one["field"], one["value"], one["allowed"], one["message"]) for one in found])
    except (ValueError, KeyError, TypeError):
        message = f"was refused by the venue: {shown(answer.text)}"
        return Refused.one("asset", asset, "an asset of the venue", message)
