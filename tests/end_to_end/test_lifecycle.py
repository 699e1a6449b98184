"""A strategy's life between its start and its end, through the whole system: money in and out, edits, pauses, a
rebalance on demand, Auto-Invest in a replay of days, copies, files, history, and an end that keeps the coins.

One stack serves them all; whatever happened, the books must balance and equal the venue's at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.command_line.strategy_file import parse_document
from deploy.embedded.options import ExchangeOptions
from services.ledger.adapters.postgres_rebuild import rebuild
from tests.end_to_end.running_stack import running_stack
from tests.end_to_end.test_life import Life, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

START = {"BTC": Decimal(60_000), "ETH": Decimal(3_000), "SOL": Decimal(100)}
# BTC up by a tenth on the third day: far from any threshold here, enough for a take-profit at 3 %.
UP = {**START, "BTC": Decimal(66_000)}
ROWS = [START, START, *[UP] * 40]
HALVES = {"BTC": "50", "ETH": "50"}
THIRDS = {"BTC": "40", "ETH": "30", "SOL": "30"}


def price_file(folder: Path) -> Path:
    path = folder / "prices.csv"
    lines = [f"time,{','.join(START)}"]
    for number, row in enumerate(ROWS):
        month, day = divmod(number, 28)
        lines.append(f"2024-{month + 1:02d}-{day + 1:02d}," + ",".join(str(price) for price in row.values()))
    path.write_text("\n".join(lines) + "\n")
    return path


def document(name: str, targets: dict[str, str] = HALVES, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "venue": "paper",
        "funding_asset": "USDT",
        "amount": "1000",
        "targets": targets,
        "rebalance": {"threshold": "20"},
        **more,
    }


class Door:
    """The gateway as a user's program sees it: status codes and all."""

    def __init__(self, life: Life) -> None:
        self.life = life
        stack = life.running.stack
        self._client = httpx.AsyncClient(
            base_url=stack.ports.gateway_url,
            headers={"Authorization": f"Bearer {stack.secrets.api_token}"},
            timeout=15,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> dict[str, Any]:
        """The answer, which must have this status; a gateway that asks to be asked later is."""

        async def answered() -> httpx.Response | None:
            answer = await self._client.request(method, path, json=body, headers={"Idempotency-Key": key})
            return None if answer.status_code == 503 else answer

        key = self.life.key()
        answer: httpx.Response = await eventually(answered, f"{method} {path} is not answered", 20)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def text(self, path: str) -> bytes:
        """What is at a path, as it is."""
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def active(self, wanted: dict[str, Any]) -> str:
        """A new strategy that has made its first purchase, with its fills in the books."""
        strategy = await self.life.create(wanted)
        await self.life.until(strategy, "active")
        await self.on_target(strategy, wanted["targets"])
        return strategy

    async def on_target(self, strategy: str, targets: dict[str, str]) -> dict[str, Any]:
        """The strategy once every weight is where it should be, as the books tell it, and nothing is under way."""

        def is_there(detail: dict[str, Any]) -> bool:
            found = weights(detail)
            near = all(abs(found.get(asset, Decimal(0)) - Decimal(target)) < 1 for asset, target in targets.items())
            return near and not detail["requests"] and detail["open_plan_id"] is None

        return await self.detail_when(strategy, is_there, f"it is not at {targets}", 30)

    async def detail_when(
        self, strategy: str, condition: Callable[[dict[str, Any]], bool], what: str, within_s: float = 60.0
    ) -> dict[str, Any]:
        """The strategy once a condition holds for it."""

        async def holds() -> dict[str, Any] | None:
            detail = await self.life.detail(strategy)
            return detail if condition(detail) else None

        found: dict[str, Any] = await eventually(holds, f"{strategy}: {what}", within_s)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """The stack with 20,000 USDT in the wallet and the market held still; in the end the books must hold."""
    folder = tmp_path_factory.mktemp("lifecycle")
    market = ExchangeOptions(prices_file=price_file(folder), rows_per_second=5, start_paused=True)
    async with running_stack(folder, market, [], evaluators=2) as running:
        made = Door(Life(running))
        deposit = {"id": "lifecycle", "asset": "USDT", "amount": "20000"}
        await running.gateway.post("/wallets/paper/deposits", deposit, made.life.key())

        async def arrived() -> bool | None:
            return await made.life.usdt() == 20_000 or None

        await eventually(arrived, "the deposit has not arrived", 10)
        yield made
        await made.close()
        report = await running.report()
        assert report["ledger"]["differences"] == []
        assert report["ledger"]["balanced"]
        assert report["ledger"]["equals_venue"]
        assert (await rebuild(running.stack.postgres_dsn)).differences == ()


def weights(detail: dict[str, Any]) -> dict[str, Decimal]:
    """As far as they can be told."""
    return {one["asset"]: Decimal(one["actual_pct"]) for one in detail["assets"] if one["actual_pct"] is not None}


async def test_money_when_added_comes_from_the_wallet_and_is_invested_on_target(door: Door) -> None:
    strategy = await door.active(document("adds"))
    wallet = await door.life.usdt()
    await door.ask("POST", f"/strategies/{strategy}/add", {"amount": "500"})
    await door.detail_when(strategy, lambda one: one["contributed_in"] == "1500", "the money has not arrived")
    detail = await door.on_target(strategy, HALVES)
    assert detail["contributed"] == "1500"
    assert wallet - await door.life.usdt() == 500
    assert Decimal(1490) < Decimal(detail["value"]) < 1500
    assert (detail["last_plan"]["kind"], detail["last_plan"]["reason"]) == ("invest", "new_money:USDT")


async def test_targets_when_edited_are_traded_towards_and_an_old_edit_is_refused(door: Door) -> None:
    strategy = await door.active(document("edits"))
    edit = {"revision": 1, "changes": {"targets": THIRDS, "stop_loss": "-50"}}
    edited = await door.ask("PATCH", f"/strategies/{strategy}", edit)
    assert (edited["revision"], edited["changed_by"]) == (2, "user")
    await door.on_target(strategy, THIRDS)
    refused = await door.ask("PATCH", f"/strategies/{strategy}", edit, status=409)
    (problem,) = refused["error"]["problems"]
    assert (problem["field"], problem["value"], problem["allowed"]) == ("revision", "1", "2")
    history = (await door.ask("GET", f"/strategies/{strategy}/versions?limit=200"))["versions"]
    (version,) = [one for one in history if one["change"] == "edited"]
    told = {one["field"]: (one["before"], one["after"]) for one in version["fields"]}
    assert told["targets.SOL"] == ("", '"30"')
    assert told["stop_loss"] == ("", '"-50"')
    assert history[-1]["change"] == "confirmed"
    assert [one["version"] for one in history] == list(range(len(history), 0, -1))


async def test_money_when_withdrawn_comes_back_with_its_share_of_what_was_put_in(door: Door) -> None:
    strategy = await door.active(document("withdraws"))
    before, wallet = await door.life.detail(strategy), await door.life.usdt()
    await door.ask("POST", f"/strategies/{strategy}/withdraw", {"percent": "25"})
    await door.detail_when(strategy, lambda one: Decimal(one["withdrawn"] or 0) > 0, "nothing was paid", 30)
    detail = await door.on_target(strategy, HALVES)
    paid = await door.life.usdt() - wallet
    assert abs(paid / Decimal(before["value"]) - Decimal("0.25")) < Decimal("0.003")
    assert Decimal(detail["withdrawn"]) == paid
    assert abs(Decimal(detail["contributed"]) - 750) < 3
    assert detail["contributed_in"] == "1000"
    refused = await door.ask("POST", f"/strategies/{strategy}/withdraw", {"percent": "100"}, status=422)
    assert "stop it" in refused["error"]["problems"][0]["allowed"]


async def test_strategy_when_paused_does_nothing_until_resumed_and_rebalances_on_demand(door: Door) -> None:
    resting = await door.active(document("rests", take_profit="3"))
    awake = await door.active(document("rebalances"))
    wallet = await door.life.usdt()
    assert (await door.ask("POST", f"/strategies/{resting}/pause"))["status"] == "paused"
    await door.life.running.exchange.advance(3)
    moved = await door.detail_when(
        awake, lambda one: weights(one).get("BTC", Decimal(0)) > 52, "the market has not moved"
    )
    assert moved["last_plan"]["kind"] == "initial"
    await door.ask("POST", f"/strategies/{awake}/rebalance")
    detail = await door.on_target(awake, HALVES)
    assert detail["last_plan"]["reason"] == "rebalance_now"
    still = await door.life.detail(resting)
    assert (still["status"], still["last_plan"]["kind"]) == ("paused", "initial")
    assert Decimal(still["profit_pct"]) > 3
    refused = await door.ask("POST", f"/strategies/{resting}/rebalance", status=409)
    assert "resume" in refused["error"]["message"]
    await door.ask("POST", f"/strategies/{resting}/resume")
    await door.life.advance_until(resting, "exiting", "closed")
    closed = await door.life.until(resting, "closed", within_s=30)
    assert closed["exit_reason"] == "take_profit"
    assert Decimal(35) < Decimal(closed["profit"]) < 50
    came_back = await door.life.usdt() - wallet
    assert came_back == Decimal(closed["released"]["USDT"])
    # What was too small to be sold came back as it was, and counts.
    assert 0 <= 1000 + Decimal(closed["profit"]) - came_back < 2


def has_invested(total: int, detail: dict[str, Any]) -> bool:
    return Decimal(detail["auto_invest"]["invested"]) == total and not detail["requests"]


async def test_auto_invest_when_days_pass_puts_money_in_until_its_total_and_says_so(door: Door) -> None:
    plan = {"amount": "50", "schedule": {"every": "1d", "at": "00:00"}, "pause_at_total": "150"}
    strategy = await door.active(document("invests", auto_invest=plan))
    coming = (await door.ask("GET", f"/strategies/{strategy}/calendar?count=3"))["dates"]
    assert len(coming) == 3
    for cycle in range(1, 4):
        await door.life.running.exchange.advance(1)
        made = partial(has_invested, 50 * cycle)
        await door.detail_when(strategy, made, f"cycle {cycle} was not made", 30)
    await door.life.running.exchange.advance(2)
    detail = await door.detail_when(strategy, lambda one: one["auto_invest"]["status"] == "paused", "it goes on")
    assert (detail["status"], detail["contributed_in"], detail["auto_invest"]["cycle"]) == ("active", "1150", 3)
    told = (await door.ask("GET", f"/notifications?strategy={strategy}"))["notifications"]
    assert [one["kind"] for one in told] == ["auto_invest_paused"]
    assert told[0]["strategy_name"] == "invests"


async def test_copies_and_files_when_made_are_the_same_strategy_again(door: Door) -> None:
    original = await door.active(document("original", take_profit={"percent": "90", "action": "keep"}, stop_loss="-90"))
    stored = (await door.life.detail(original))["document"]
    previewed = await door.ask("POST", f"/strategies/{original}/clone", {"name": "copy", "amount": "600"})
    assert previewed["document"] == {**stored, "name": "copy", "amount": "600"}
    copy = await door.ask("POST", "/strategies", {"preview_id": previewed["preview_id"]}, status=201)
    await door.life.until(copy["id"], "active")
    exported = parse_document(await door.text(f"/strategies/{original}/file"), "exported")
    assert exported == stored
    imported = await door.active(exported)
    assert (await door.life.detail(imported))["document"] == stored


async def test_stop_when_the_coins_are_kept_returns_them_and_sells_nothing(door: Door) -> None:
    strategy = await door.active(document("keeps"))
    before = await door.life.detail(strategy)
    held, fills = before["holdings"], before["last_plan"]["fills"]
    stops = [door.ask("POST", f"/strategies/{strategy}/stop", {"action": "keep"}) for _ in range(2)]
    await asyncio.gather(*stops)
    closed = await door.life.until(strategy, "closed", within_s=30)
    assert closed["released"] == {asset: amount for asset, amount in held.items() if Decimal(amount)}
    assert (closed["last_plan"]["kind"], closed["last_plan"]["fills"]) == ("initial", fills)
    assert closed["exit_action"] == "keep"
    assert -5 < Decimal(closed["profit"]) < 0, "fees and spread of the first purchase"

    async def in_wallet() -> bool | None:
        balances = (await door.ask("GET", "/wallets"))["wallets"][0]["balances"]
        return all(Decimal(balances.get(asset, "0")) >= Decimal(held[asset]) for asset in HALVES) or None

    await eventually(in_wallet, "the wallet has no coins", 10)

    async def final() -> dict[str, Any] | None:
        found = await door.ask("GET", f"/strategies/{strategy}/results")
        return found if found["final"] else None

    told: dict[str, Any] = await eventually(final, "the results do not end", 20)
    assert abs(Decimal(told["profit"]) - Decimal(closed["profit"])) < Decimal("0.01")
    assert Decimal(told["unrealised"]) == 0


async def test_results_when_told_are_those_of_what_the_strategy_shows(door: Door) -> None:
    strategy = await door.active(document("earns"))
    detail = await door.life.detail(strategy)

    async def caught_up() -> dict[str, Any] | None:
        found = await door.ask("GET", f"/strategies/{strategy}/results?method=average")
        held = {one["asset"]: one["quantity"] for one in found["assets"] if Decimal(one["quantity"])}
        return found if held == {asset: one for asset, one in detail["holdings"].items() if Decimal(one)} else None

    told: dict[str, Any] = await eventually(caught_up, "the results stay behind", 20)
    assert abs(Decimal(told["profit"]) - Decimal(detail["total_profit"])) < Decimal("0.01")
    assert Decimal(told["profit"]) == Decimal(told["realised"]) + Decimal(told["unrealised"])
    assert Decimal(told["rebalancing_net"]) == 0, "it has not rebalanced yet"
    later = "2030-01-01"
    position = await door.ask("GET", f"/strategies/{strategy}/position?at={later}")
    assert position["holdings"] == {one["asset"]: one["quantity"] for one in told["assets"] if one["quantity"] != "0"}
    assert (await door.ask("GET", f"/strategies/{strategy}/position?at=2020-01-01"))["holdings"] == {}
    wallets = await door.ask("GET", f"/wallets?at={later}")
    assert wallets["wallets"][0]["venue"] == "paper"
    assert (await door.ask("GET", f"/strategies/{strategy}/history"))["strategy_id"] == strategy
    await door.ask("GET", f"/strategies/{strategy}/results?method=best", status=422)


async def test_requests_when_services_are_killed_on_the_way_are_carried_out_once(door: Door) -> None:
    """Killed: ledger while money comes in, executor while it is invested, registry and ledger while some is paid."""
    strategy = await door.active(document("survives"))
    kill: Callable[[str], Awaitable[None]] = door.life.running.stack.kill
    wallet = await door.life.usdt()
    await door.ask("POST", f"/strategies/{strategy}/add", {"amount": "500"})
    await kill("ledger")
    await kill("order_executor")
    await door.detail_when(strategy, lambda one: one["contributed_in"] == "1500", "the money has not arrived", 40)
    await door.ask("POST", f"/strategies/{strategy}/withdraw", {"amount": "300"})
    for name in ("strategy_registry", "order_executor", "ledger", "strategy_evaluator-1"):
        await kill(name)
    detail = await door.detail_when(
        strategy, lambda one: one["withdrawn"] not in {None, "0"} and not one["requests"], "it was not paid", 90
    )
    assert Decimal(detail["withdrawn"]) == 300
    assert await door.life.usdt() - wallet == -200
