"""Websockets as any client may use them: streams in every form, user data, the websocket API."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from services.simulated_exchange.binance.connection import Connection, text_frame
from tests.services.simulated_exchange.running import ExchangeProcess, Running
from tests.services.simulated_exchange.signed import call, now_ms, signed, ws_request

NEW_YEAR = 1_704_067_200_000
DAY = 86_400_000


@contextlib.asynccontextmanager
async def connected(exchange: Running, path: str) -> AsyncIterator[ClientConnection]:
    async with websockets.connect(exchange.ws + path, proxy=None) as socket:
        yield socket


async def received(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 5))


async def asked(socket: ClientConnection, request: dict[str, Any] | str) -> Any:
    """Send a request and return its answer; streams' messages before it are dropped."""
    text = request if isinstance(request, str) else json.dumps(request)
    await socket.send(text)
    while True:
        message = await received(socket)
        if "id" in message:
            return message


@pytest.mark.parametrize("request_id", [1, "one", None])
async def test_stream_when_subscribed_sends_the_present_then_each_row(exchange: Running, request_id: object) -> None:
    async with connected(exchange, "/ws") as socket:
        params = ["btcusdt@bookTicker", "btcusdt@miniTicker", "btcusdt@trade"]
        answer = await asked(socket, {"method": "SUBSCRIBE", "params": params, "id": request_id})
        assert answer == {"result": None, "id": request_id}
        assert [message.get("e", "bookTicker") for message in (await received(socket), await received(socket))] == [
            "24hrMiniTicker",
            "bookTicker",
        ]
        await exchange.advance()
        mini, book, trade = [await received(socket) for _ in range(3)]
    assert mini == {
        "e": "24hrMiniTicker",
        "E": NEW_YEAR + DAY,
        "s": "BTCUSDT",
        "c": "10100.00000000",
        "o": "10000.00000000",
        "h": "10100.00000000",
        "l": "10000.00000000",
        "v": "0.99000000",
        "q": "9999.00000000",
    }
    assert book == {
        "u": 2,
        "s": "BTCUSDT",
        "b": "10098.99000000",
        "B": "0.99019000",
        "a": "10101.01000000",
        "A": "0.99000000",
    }
    assert (trade["e"], trade["T"], trade["p"]) == ("trade", NEW_YEAR + DAY, "10100.00000000")


@pytest.mark.parametrize(
    ("path", "wrapped"),
    [
        ("/ws/btcusdt@miniTicker", False),
        ("/ws/btcusdt@miniTicker/oneusdt@miniTicker", False),
        ("/stream?streams=btcusdt@miniTicker/oneusdt@miniTicker", True),
    ],
)
async def test_stream_when_named_in_the_path_needs_no_request(exchange: Running, path: str, wrapped: bool) -> None:
    async with connected(exchange, path) as socket:
        message = await received(socket)
    if wrapped:
        assert message["stream"] == "btcusdt@miniTicker"
        message = message["data"]
    assert message["s"] == "BTCUSDT"


async def test_requests_when_listed_changed_and_wrong_are_answered(exchange: Running) -> None:
    async with connected(exchange, "/ws/3") as socket:
        await asked(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@depth5", "oneusdt@trade"], "id": 1})
        await asked(socket, {"method": "UNSUBSCRIBE", "params": ["oneusdt@trade"], "id": 2})
        listed = await asked(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert listed == {"result": ["btcusdt@depth5"], "id": 3}
        assert (await asked(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 4}))["result"] is False
        await asked(socket, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
        await exchange.advance()
        assert (await received(socket))["stream"] == "btcusdt@depth5"
        for wrong in ("{", "[]", '{"method":"SHOUT","id":6}', '{"method":"SUBSCRIBE","params":[7],"id":6}'):
            assert (await asked(socket, wrong))["error"]["code"] in {2, 3}
        too_many = [f"x{number}usdt@trade" for number in range(1025)]
        assert "error" in await asked(socket, {"method": "SUBSCRIBE", "params": too_many, "id": 7})


async def test_stream_when_subscribed_before_listing_begins_with_the_listing(exchange: Running) -> None:
    async with connected(exchange, "/ws/ethusdt@bookTicker") as socket:
        await exchange.advance(2)
        assert (await received(socket))["s"] == "ETHUSDT"


async def test_stream_when_in_capitals_names_nothing(exchange: Running) -> None:
    async with connected(exchange, "/ws/BTCUSDT@trade/oneusdt@trade") as socket:
        await exchange.advance()
        assert (await received(socket))["s"] == "ONEUSDT"


async def test_gap_when_a_price_is_missing_sends_nothing_for_that_pair(exchange: Running) -> None:
    async with connected(exchange, "/stream?streams=oneusdt@trade/btcusdt@trade") as socket:
        await exchange.advance(4)
        trades = [(await received(socket))["data"] for _ in range(7)]
    rows = {symbol: [(one["T"] - NEW_YEAR) // DAY for one in trades if one["s"] == symbol] for symbol in
            ("BTCUSDT", "ONEUSDT")}  # fmt: skip
    assert rows == {"BTCUSDT": [1, 2, 3, 4], "ONEUSDT": [1, 2, 4]}


async def test_all_market_streams_when_a_row_passes_carry_every_pair(exchange: Running) -> None:
    async with connected(exchange, "/stream?streams=!miniTicker@arr/!bookTicker/!ticker@arr") as socket:
        await exchange.advance(2)
        messages = [await received(socket) for _ in range(4 + 5)]
    arrays = [one["data"] for one in messages if one["stream"] == "!miniTicker@arr"]
    assert [[one["s"] for one in array] for array in arrays] == [
        ["BTCUSDT", "ONEUSDT"],
        ["BTCUSDT", "ETHUSDT", "ONEUSDT"],
    ]
    assert len([one for one in messages if one["stream"] == "!bookTicker"]) == 5


async def test_kline_when_rows_pass_closes_one_and_opens_the_next(exchange: Running) -> None:
    async with connected(exchange, "/ws/btcusdt@kline_1d") as socket:
        now = await received(socket)
        await exchange.advance()
        closed, opened = await received(socket), await received(socket)
    assert (now["k"]["x"], now["k"]["t"], now["k"]["c"]) == (False, NEW_YEAR, "10000.00000000")
    assert (closed["k"]["x"], closed["k"]["t"]) == (True, NEW_YEAR)
    assert (opened["k"]["x"], opened["k"]["t"], opened["k"]["o"], opened["k"]["c"]) == (
        False,
        NEW_YEAR + DAY,
        "10000.00000000",
        "10100.00000000",
    )


async def test_depth_differences_when_applied_to_a_snapshot_give_the_book(exchange: Running) -> None:
    _, snapshot = await call(exchange, "GET", "/api/v3/depth", "symbol=ONEUSDT&limit=5")
    books = {side: dict(snapshot[side]) for side in ("bids", "asks")}
    last = snapshot["lastUpdateId"]
    async with connected(exchange, "/ws/oneusdt@depth@100ms") as socket:
        await exchange.advance(4)  # ONE has a gap in between: the ids must still join
        for _ in range(3):
            update = await received(socket)
            assert update["U"] == last + 1
            last = update["u"]
            for side, changes in (("bids", update["b"]), ("asks", update["a"])):
                for price, quantity in changes:
                    books[side].pop(price, None)
                    if float(quantity):
                        books[side][price] = quantity
    _, fetched = await call(exchange, "GET", "/api/v3/depth", "symbol=ONEUSDT&limit=5")
    # The first difference carries the whole book but cannot remove what it never saw: only its levels are compared.
    assert {side: {price: books[side][price] for price, _ in fetched[side]} for side in books} == {
        side: dict(fetched[side]) for side in books
    }
    assert last == fetched["lastUpdateId"]


async def test_quotes_when_the_market_stands_still_are_repeated_in_unchanged_time(exchange: Running) -> None:
    async with connected(exchange, "/ws/btcusdt@miniTicker/btcusdt@bookTicker") as socket:
        messages = [await received(socket) for _ in range(4)]
    assert messages[0] == messages[2]
    assert messages[1] == messages[3]
    assert messages[0]["E"] == NEW_YEAR


async def test_user_data_when_subscribed_by_signature_reports_order_and_balances(exchange: Running) -> None:
    await exchange.deposit("USDT", "30000")
    async with connected(exchange, "/ws-api/v3") as socket:
        subscribed = await asked(socket, ws_request("s", "userDataStream.subscribe.signature", {}))
        assert (subscribed["status"], subscribed["result"]) == (200, {"subscriptionId": 0})
        fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC"}
        order = fields | {"quantity": "1.5", "price": "10001", "newClientOrderId": "u-1"}
        await socket.send(ws_request(7, "order.place", order))
        messages = [await received(socket) for _ in range(5)]
        answer = messages.pop()
        assert (answer["id"], answer["status"], answer["result"]["status"]) == (7, 200, "EXPIRED")
        assert [message["subscriptionId"] for message in messages] == [0] * 4
        events = [message["event"] for message in messages]
        assert [event.get("x", event["e"]) for event in events] == [
            "NEW",
            "TRADE",
            "EXPIRED",
            "outboundAccountPosition",
        ]
        trade = events[1]
        assert (trade["c"], trade["X"], trade["l"], trade["L"], trade["z"], trade["n"], trade["N"]) == (
            "u-1",
            "PARTIALLY_FILLED",
            "0.99990000",
            "10001.00000000",
            "0.99990000",
            "0.00099990",
            "BTC",
        )
        assert {event["E"] for event in events} == {NEW_YEAR}
        assert trade["t"] == answer["result"]["fills"][0]["tradeId"]
        balances = {one["a"]: (one["f"], one["l"]) for one in events[3]["B"]}
        assert balances == {"BTC": ("0.99890010", "0.00000000"), "USDT": ("20000.00010000", "0.00000000")}
        await exchange.deposit("ONE", "5")
        deposited = [(await received(socket))["event"] for _ in range(2)]
        assert [event["e"] for event in deposited] == ["balanceUpdate", "outboundAccountPosition"]
        assert deposited[0]["d"] == "5.00000000"
        assert (await asked(socket, ws_request(8, "userDataStream.unsubscribe", {}, sign=False)))["status"] == 200
        await exchange.deposit("ONE", "6")
        assert (await asked(socket, ws_request(9, "ping", {}, sign=False)))["result"] == {}


async def test_user_data_when_by_listen_key_comes_bare_and_wrapped(exchange: Running) -> None:
    _, body = await call(exchange, "POST", "/api/v3/userDataStream")
    key = body["listenKey"]
    status, _ = await call(exchange, "PUT", "/api/v3/userDataStream", f"listenKey={key}")
    assert status == 200
    async with connected(exchange, f"/ws/{key}") as bare, connected(exchange, f"/stream?streams={key}") as wrapped:
        await asked(bare, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await asked(wrapped, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await exchange.deposit("USDT", "5")
        assert (await received(bare))["e"] == "balanceUpdate"
        message = await received(wrapped)
        assert (message["stream"], message["data"]["e"]) == (key, "balanceUpdate")


async def test_order_when_cancelled_is_reported_under_both_ids(exchange: Running) -> None:
    await exchange.deposit("USDT", "1000")
    async with connected(exchange, "/ws-api/v3") as socket:
        await asked(socket, ws_request(1, "userDataStream.subscribe.signature", {}))
        fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "9000"}
        placed = await asked(
            socket, ws_request(2, "order.place", fields | {"quantity": "0.1", "newClientOrderId": "a"})
        )
        assert placed["result"]["status"] == "NEW"
        cancel = {"symbol": "BTCUSDT", "origClientOrderId": "a", "newClientOrderId": "b"}
        await socket.send(ws_request(3, "order.cancel", cancel))
        report = (await received(socket))["event"]
        assert (report["x"], report["X"], report["c"], report["C"]) == ("CANCELED", "CANCELED", "b", "a")
        answer = await asked(socket, ws_request(4, "order.status", {"symbol": "BTCUSDT", "origClientOrderId": "a"}))
        assert answer["result"]["status"] == "CANCELED"


async def test_public_trades_when_an_account_trades_include_its_own(exchange: Running) -> None:
    await exchange.deposit("USDT", "1000")
    async with connected(exchange, "/ws/btcusdt@trade") as socket:
        await asked(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        _, body = await call(exchange, "POST", "/api/v3/order", signed(order))
        trade = await received(socket)
    assert (trade["t"], trade["q"], trade["m"]) == (body["fills"][0]["tradeId"], "0.01000000", False)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("{", 400, -1135),
        ("[]", 400, -1135),
        ('{"id":1,"method":"ping","params":[]}', 400, -1135),
        ('{"id":1,"method":7}', 400, -1135),
        ('{"id":{},"method":"ping"}', 400, -1135),
        ('{"id":1,"method":"shout"}', 400, -1000),
        ('{"id":1.5,"method":"ping"}', 400, -1135),
        ('{"id":true,"method":"ping"}', 400, -1135),
        ('{"id":' + "9" * 5000 + ',"method":"ping"}', 400, -1135),
        ('{"id":"\\ud800","method":"ping"}', 400, -1135),
        ('{"id":1,"method":"\\ud800"}', 400, -1135),
        ('{"id":1,"method":"ping","params":' + "[" * 5000 + "}", 400, -1135),
        ('{"id":1,"method":"depth","params":{"symbol":"NOPE"}}', 400, -1121),
        ('{"id":1,"method":"account.status","params":{}}', 401, -2014),
        ('{"id":1,"method":"userDataStream.subscribe.signature","params":{"apiKey":"nobody"}}', 401, -2015),
        (ws_request(1, "account.status", {"timestamp": 1}), 400, -1021),
        (ws_request(1, "account.status", {"apiKey": "paper-key", "timestamp": 1}, sign=False), 400, -1021),
    ],
)
async def test_ws_api_request_when_wrong_is_answered_with_the_code(
    exchange: Running, text: str, status: int, code: int
) -> None:
    async with connected(exchange, "/ws-api/v3") as socket:
        answer = await asked(socket, text)
        assert (answer["status"], answer["error"]["code"]) == (status, code)
        assert (await asked(socket, '{"id":"still here","method":"ping"}'))["status"] == 200


async def test_ws_api_when_numbers_and_lists_are_sent_understands_them(exchange: Running) -> None:
    async with connected(exchange, "/ws-api/v3") as socket:
        prices = await asked(socket, {"id": 1, "method": "ticker.price", "params": {"symbols": ["BTCUSDT"]}})
        assert prices["result"] == [{"symbol": "BTCUSDT", "price": "10000.00000000"}]
        depth = await asked(socket, {"id": 2, "method": "depth", "params": {"symbol": "BTCUSDT", "limit": 2}})
        assert len(depth["result"]["bids"]) == 2
        await exchange.deposit("USDT", "1000")
        fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": 0.010, "timestamp": now_ms()}
        order = await asked(socket, ws_request(3, "order.place", fields))
        assert order["result"]["executedQty"] == "0.01000000"
        quiet = await asked(socket, {"id": 4, "method": "time", "params": {"returnRateLimits": False}})
        assert "rateLimits" not in quiet
        assert abs(quiet["result"]["serverTime"] - now_ms()) < 5_000


async def test_ping_when_sent_is_answered_and_the_server_pings_too(exchange: Running) -> None:
    async with connected(exchange, "/ws") as socket:
        latency_s = await asyncio.wait_for(await socket.ping(), 5)
        assert latency_s >= 0
        # The library answers the server's first ping by itself; the connection is still good after it.
        assert "result" in await asked(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 1})


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_text_frame_when_of_any_size_is_read_back_by_a_client(size: int) -> None:
    reader = StreamReader()
    reader.feed_data(text_frame(b"x" * size))
    parse = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parse)
    frame = done.value.value
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, b"x" * size, True)


async def test_subscriber_when_it_never_reads_is_cut_off() -> None:
    class Stuck(asyncio.Transport):
        aborted = False
        size = 0

        def is_closing(self) -> bool:
            return self.aborted

        def write(self, data: Any) -> None:
            self.size += len(data)

        def get_write_buffer_size(self) -> int:
            return self.size

        def abort(self) -> None:
            self.aborted = True

    transport = Stuck()
    connection = Connection(transport, combined=False)
    for _ in range(100):
        connection.send(b"x" * 1_000_000)
    assert transport.aborted
    assert transport.size < 64_000_000


async def test_streams_when_prices_come_fast_lose_no_row_and_keep_market_time(tmp_path: Path) -> None:
    rows = 600
    process = ExchangeProcess(tmp_path, TRIMTAB_EXCHANGE_ROW_STEP_S="60", TRIMTAB_EXCHANGE_START_PAUSED="true")
    await process.start()
    exchange = process.running
    assets = (await exchange.control("market"))["assets"]
    names = "/".join(f"{asset.lower()}usdt@{kind}" for asset in assets for kind in ("miniTicker", "bookTicker"))
    seen: dict[str, list[int]] = {asset: [] for asset in assets}
    try:
        async with connected(exchange, f"/stream?streams={names}") as socket:
            await exchange.control("market/speed", {"rows_per_second": 500})
            await exchange.control("market/resume", {})
            market_ms = 0
            while min(len(updates) for updates in seen.values()) < rows:
                data = (await received(socket))["data"]
                if "E" in data:
                    assert data["E"] >= market_ms
                    market_ms = data["E"]
                else:
                    # The pair's ticker has told the time of the row before its book came.
                    assert market_ms == 1_704_067_200_000 + (data["u"] - 1) * 60_000
                    updates = seen[data["s"].removesuffix("USDT")]
                    if updates[-1:] != [data["u"]]:  # standing still, quotes are repeated
                        updates.append(data["u"])
    finally:
        process.kill()
    for updates in seen.values():
        assert updates == list(range(1, len(updates) + 1))
