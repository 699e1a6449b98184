"""Every kind of fault: what the client sees, and what the venue did."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from services.simulated_exchange.faults.plan import EventFacts, FaultPlan, RequestFacts
from services.simulated_exchange.faults.rules import FaultRule
from tests.services.simulated_exchange.running import Running, until
from tests.services.simulated_exchange.signed import call, signed, ws_request

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "9500"}
PLACE = {"method": "POST", "path": "/api/v3/order"}


@pytest.fixture
async def funded(exchange: Running) -> Running:
    await exchange.deposit("USDT", "100000")
    return exchange


async def place(exchange: Running, client_id: str = "c-1", **fields: Any) -> tuple[int, Any]:
    return await call(exchange, "POST", "/api/v3/order", body=signed(ORDER | {"newClientOrderId": client_id} | fields))


async def placed(exchange: Running) -> list[str]:
    """Client ids of the orders that the venue itself has, oldest first."""
    venue = exchange.app.venue
    account = next(iter(venue.accounts.values()))
    return [order.client_order_id for order in reversed(list(venue.orders(account, "BTCUSDT")))]


async def injected(exchange: Running) -> dict[str, int]:
    counts: dict[str, int] = (await exchange.control("faults"))["injected"]
    return counts


@pytest.mark.parametrize(
    ("rule", "reaches"),
    [
        ({"kind": "lost_request"}, False),
        ({"kind": "lost_reply"}, True),
        ({"kind": "reset", "bytes": 0}, True),
        ({"kind": "reset", "bytes": 40}, True),
        ({"kind": "reset", "bytes": 200}, True),
        ({"kind": "reset"}, True),
    ],
)
async def test_connection_when_faulty_breaks_and_the_venue_did_or_did_not_act(
    funded: Running, rule: dict[str, Any], reaches: bool
) -> None:
    await funded.control("faults", PLACE | rule)
    with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
        await place(funded)
    assert await placed(funded) == (["c-1"] if reaches else [])
    assert await injected(funded) == {rule["kind"]: 1}


@pytest.mark.parametrize(("kind", "reaches"), [("lost_request", False), ("lost_reply", True)])
async def test_connection_when_hanging_gives_no_answer(funded: Running, kind: str, reaches: bool) -> None:
    await funded.control("faults", PLACE | {"kind": kind, "ending": "hang"})
    waiting = asyncio.ensure_future(place(funded))
    await until(lambda: _is_injected(funded, kind))
    assert not waiting.done()
    waiting.cancel()
    assert await placed(funded) == (["c-1"] if reaches else [])


async def _is_injected(exchange: Running, kind: str) -> bool:
    return (await injected(exchange)).get(kind, 0) > 0


@pytest.mark.parametrize(
    ("rule", "status", "body", "reaches"),
    [
        ({"kind": "error_before"}, 503, None, False),
        ({"kind": "error_before", "status": 418, "retry_after_s": 7, "code": -1003}, 418, -1003, False),
        ({"kind": "error_after"}, 504, None, True),
        ({"kind": "error_after", "status": 500, "code": -1007, "message": "?"}, 500, -1007, True),
        ({"kind": "contradiction"}, 400, -2010, True),
        ({"kind": "contradiction", "code": -1007, "status": 408}, 408, -1007, True),
        ({"kind": "garbage"}, 200, None, True),
    ],
)
async def test_answer_when_faulty_says_something_else_than_what_was_done(
    funded: Running, rule: dict[str, Any], status: int, body: int | None, reaches: bool
) -> None:
    await funded.control("faults", PLACE | rule)
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": "paper-key"}) as session:
        data = signed(ORDER | {"newClientOrderId": "c-1"})
        async with session.post(f"{funded.http}/api/v3/order?{data}") as response:
            raw = await response.read()
            assert response.status == status
            assert response.headers.get("Retry-After") == ("7" if "retry_after_s" in rule else None)
    if body is None:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(raw)
    else:
        assert orjson.loads(raw)["code"] == body
    assert await placed(funded) == (["c-1"] if reaches else [])


@pytest.mark.parametrize("kind", ["late_reply", "late_request"])
async def test_answer_when_late_comes_whole(funded: Running, kind: str) -> None:
    await funded.control("faults", PLACE | {"kind": kind, "delay_ms": 150})
    started = asyncio.get_running_loop().time()
    waiting = asyncio.ensure_future(place(funded))
    await until(lambda: _is_injected(funded, kind))
    at_once = await placed(funded)
    status, answer = await waiting
    assert asyncio.get_running_loop().time() - started >= 0.15
    assert (status, answer["clientOrderId"], await placed(funded)) == (200, "c-1", ["c-1"])
    assert at_once == (["c-1"] if kind == "late_reply" else [])


async def test_late_request_when_the_client_has_left_still_arrives(funded: Running) -> None:
    await funded.control("faults", PLACE | {"kind": "late_request", "delay_ms": 200})
    waiting = asyncio.ensure_future(place(funded))
    await until(lambda: _is_injected(funded, "late_request"))
    waiting.cancel()
    assert await placed(funded) == []
    await until(lambda: _has_orders(funded, 1))


async def _has_orders(exchange: Running, count: int) -> bool:
    return len(await placed(exchange)) == count


async def test_rule_when_it_names_the_nth_match_hits_only_that(funded: Running) -> None:
    await funded.control("faults", PLACE | {"kind": "contradiction", "side": "BUY", "symbol": "BTCUSDT", "nth": 2})
    assert [(await place(funded, f"c-{n}", quantity="0.01"))[0] for n in range(3)] == [200, 400, 200]
    assert await placed(funded) == ["c-0", "c-1", "c-2"]
    view = await funded.control("faults")
    assert (view["rules"][0]["matched"], view["rules"][0]["injected"]) == (3, 1)
    (entry,) = await funded.control("faults/log")
    assert (entry["kind"], entry["client_order_id"], entry["symbol"]) == ("contradiction", "c-1", "BTCUSDT")


async def test_rule_when_removed_or_refused_hits_nothing(funded: Running) -> None:
    added = await funded.control("faults", {"kind": "error_before"})
    async with (
        aiohttp.ClientSession() as session,
        session.delete(f"{funded.http}/control/faults/{added['id']}") as response,
    ):
        assert (await response.json())["rules"] == []
    assert (await place(funded))[0] == 200
    for wrong in ({"kind": "nothing"}, {"kind": "garbage", "nth": 0}, {"kind": "garbage", "nth": 1, "rate": 0.5}, {}):
        problems = (await funded.control("faults", wrong, status=422))["error"]["problems"]
        assert problems
        assert all(problem["field"] and problem["allowed"] for problem in problems)


def _hits(rule: FaultRule, count: int = 1000) -> list[bool]:
    plan = FaultPlan()
    plan.add(rule)
    facts = RequestFacts("POST", "/api/v3/order", "BTCUSDT", "BUY")
    return [plan.draw(facts) is not None for _ in range(count)]


def test_rule_when_by_rate_is_decided_by_its_seed() -> None:
    first, again, other = (
        _hits(FaultRule.model_validate({"kind": "garbage", "rate": 0.2, "seed": s})) for s in (1, 1, 2)
    )
    assert first == again != other
    assert 150 < sum(first) < 250
    assert sum(_hits(FaultRule.model_validate({"kind": "garbage", "rate": 0.2, "times": 3}))) == 3


@pytest.mark.parametrize(
    ("fields", "facts", "hit"),
    [
        ({"path": "/api/v3/*"}, RequestFacts("GET", "/api/v3/time"), True),
        ({"path": "/sapi/*"}, RequestFacts("GET", "/api/v3/time"), False),
        ({"method": "POST"}, RequestFacts("GET", "/api/v3/order"), False),
        ({"side": "SELL"}, RequestFacts("POST", "/api/v3/order", "BTCUSDT", "BUY"), False),
        ({"symbol": "ETHUSDT"}, RequestFacts("POST", "/api/v3/order", "BTCUSDT", "BUY"), False),
        ({}, EventFacts("TRADE"), False),
        ({}, RequestFacts("GET", "/ws/1", opens_socket=True), False),
        ({"kind": "lost_request"}, RequestFacts("GET", "/ws/1", opens_socket=True), True),
        ({"kind": "drop_event", "event": "TRADE"}, EventFacts("TRADE"), True),
        ({"kind": "drop_event", "event": "TRADE"}, EventFacts("NEW"), False),
        ({"kind": "drop_event"}, RequestFacts("GET", "/api/v3/time"), False),
    ],
)
def test_rule_when_it_names_something_matches_that_only(
    fields: dict[str, Any], facts: RequestFacts | EventFacts, hit: bool
) -> None:
    plan = FaultPlan()
    plan.add(FaultRule.model_validate({"kind": "garbage"} | fields))
    assert (plan.draw(facts) is not None) is hit


class UserSocket:
    """The account's events over the websocket API."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def names(self, count: int) -> list[str]:
        """The next events: what happened, or "balances"."""
        found: list[str] = []
        while len(found) < count:
            event = (await self.socket.receive_json(timeout=10)).get("event")
            if event is not None:
                found.append(event.get("x") or event["e"].removeprefix("outboundAccount"))
        return found


@pytest.fixture
async def events(funded: Running) -> AsyncIterator[UserSocket]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{funded.ws}/ws-api/v3") as socket:
        await socket.send_str(ws_request(1, "userDataStream.subscribe.signature", {}))
        assert (await socket.receive_json())["status"] == 200
        yield UserSocket(socket)


FILLED = {"price": "10500", "timeInForce": "IOC"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, ["NEW", "TRADE", "Position", "Position"]),
        ({"kind": "drop_event", "event": "TRADE"}, ["NEW", "Position", "Position"]),
        ({"kind": "duplicate_event", "event": "TRADE", "copies": 3}, ["NEW", *["TRADE"] * 3, "Position", "Position"]),
        ({"kind": "reorder_event", "event": "NEW"}, ["TRADE", "NEW", "Position", "Position"]),
        ({"kind": "late_event", "event": "NEW", "delay_ms": 50}, ["TRADE", "Position", "NEW"]),
    ],
)
async def test_user_events_when_faulty_are_lost_repeated_or_out_of_order(
    funded: Running, events: UserSocket, rule: dict[str, Any], expected: list[str]
) -> None:
    if rule:
        await funded.control("faults", rule)
    status, answer = await place(funded, **FILLED)
    assert (status, answer.get("status")) == (200, "FILLED"), answer
    if rule.get("kind") != "late_event":
        await funded.control("accounts/discount", {"enabled": False})
        await funded.deposit("USDT", "1")  # a deposit's balances end the sequence
        expected = [*expected[:-1], "balanceUpdate", expected[-1]]
    assert await events.names(len(expected)) == expected


@pytest.mark.parametrize("event", ["BALANCES"])
async def test_user_event_when_held_with_none_after_it_comes_late(
    funded: Running, events: UserSocket, event: str
) -> None:
    await funded.control("faults", {"kind": "reorder_event", "event": event, "delay_ms": 30})
    await place(funded, **FILLED)
    assert await events.names(3) == ["NEW", "TRADE", "Position"]


@pytest.mark.parametrize(
    ("rule", "reaches", "answers"),
    [
        ({"kind": "lost_request"}, False, None),
        ({"kind": "lost_reply"}, True, None),
        ({"kind": "reset", "bytes": 9}, True, None),
        ({"kind": "error_before", "code": -1001}, False, {"status": 503, "code": -1001}),
        ({"kind": "error_after"}, True, {"status": 504, "code": -1000}),
        ({"kind": "contradiction"}, True, {"status": 400, "code": -2010}),
        ({"kind": "late_request", "delay_ms": 20}, True, {"status": 200}),
        ({"kind": "late_reply", "delay_ms": 20}, True, {"status": 200}),
    ],
)
async def test_websocket_request_when_faulty_suffers_as_over_http(
    funded: Running, rule: dict[str, Any], reaches: bool, answers: dict[str, int] | None
) -> None:
    await funded.control("faults", PLACE | rule)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{funded.ws}/ws-api/v3") as socket:
        await socket.send_str(ws_request("a", "order.place", ORDER | {"newClientOrderId": "c-1"}))
        message = await socket.receive(timeout=10)
        if answers is None:
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE}
        else:
            answer = orjson.loads(message.data)
            assert answer["id"] == "a"
            assert {"status": answer["status"]} | {
                k: v for k, v in answer.get("error", {}).items() if k == "code"
            } == answers
    assert await placed(funded) == (["c-1"] if reaches else [])
