"""Rule sets for client order ids, lags, skew, maintenance, halts, delistings, and what commission is taken from."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.simulated_exchange.adapters.sqlite import Store
from services.simulated_exchange.conditions import Conditions
from services.simulated_exchange.identity import IdentityName
from services.simulated_exchange.markets.files import load_prices
from services.simulated_exchange.orders import Cause, NewOrder, OrderType, TimeInForce, VenueRefusal
from services.simulated_exchange.reads import Reads
from services.simulated_exchange.settlement import Fees
from services.simulated_exchange.venue import Venue
from services.simulated_exchange.venue_rules import ReplayState, VenueRules
from shared.core.matching import BookShape, PriceBand, Side
from tests.services.simulated_exchange.running import Running, serving
from tests.services.simulated_exchange.signed import call, now_ms, signed, ws_request

D = Decimal
RULES = VenueRules(BookShape(D(2), D(1), D(10_000), 5), Fees(D(10), D(10)), D(5), PriceBand())


class Rig:
    """A venue without a network, on five days of prices, with a clock of its own for lags."""

    def __init__(self, folder: Path, prices_file: Path) -> None:
        self._folder, self._prices = folder, load_prices(prices_file)
        self.now_ms = 0
        self.open()
        self.venue.deposit("d-1", self.account, "USDT", D(100_000))
        self.venue.deposit("d-2", self.account, "BTC", D(1))

    def open(self) -> None:
        self.store = Store(self._folder)
        self.venue = Venue(self.store, self._prices, RULES, ReplayState(0, 0, True, 20.0))
        self.account = self.venue.add_account("key", "secret")
        self.reads = Reads(self.venue, lambda: self.now_ms)

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def under(self, **conditions: Any) -> None:
        self.venue.change_conditions(Conditions.model_validate(conditions))

    def place(self, client_id: str = "c-1", price: str = "9500", symbol: str = "BTCUSDT", **fields: Any) -> int:
        values = {"side": Side.BUY, "quantity": D("0.1"), "time_in_force": TimeInForce.GTC, **fields}
        new = NewOrder(symbol, client_id, order_type=OrderType.LIMIT, price=D(price), **values)
        return self.venue.place(self.account, new)[0].order_id

    def fill(self, client_id: str = "c-1", side: Side = Side.BUY, quantity: str = "0.1") -> int:
        price = "10400" if side is Side.BUY else "9600"
        return self.place(client_id, price, side=side, quantity=D(quantity), time_in_force=TimeInForce.IOC)

    def refused(self, **order: Any) -> Cause | None:
        try:
            self.place(**order)
        except VenueRefusal as refusal:
            return refusal.cause
        return None


@pytest.fixture
def rig(tmp_path: Path, prices_file: Path) -> Any:
    rig = Rig(tmp_path / "state", prices_file)
    yield rig
    rig.store.close()


ALLOWED, REFUSED = None, Cause.DUPLICATE_ORDER


@pytest.mark.parametrize(
    ("identity", "same_pair_open", "other_pair_open", "after_fill", "a_day_after_fill"),
    [
        ("binance", REFUSED, ALLOWED, ALLOWED, ALLOWED),
        ("kraken", REFUSED, REFUSED, ALLOWED, ALLOWED),
        ("okx", REFUSED, REFUSED, REFUSED, REFUSED),
        ("24h", REFUSED, REFUSED, REFUSED, ALLOWED),
        ("none", ALLOWED, ALLOWED, ALLOWED, ALLOWED),
    ],
)
def test_client_id_when_used_again_is_refused_as_the_rule_set_says(
    rig: Rig,
    identity: str,
    same_pair_open: Cause | None,
    other_pair_open: Cause | None,
    after_fill: Cause | None,
    a_day_after_fill: Cause | None,
) -> None:
    rig.under(identity=identity)
    rig.place("open")
    assert rig.refused(client_id="open") is same_pair_open
    assert rig.refused(client_id="open", symbol="ONEUSDT", price="0.019", quantity=D(1000)) is other_pair_open
    rig.fill("filled")
    rig.reopen()  # what counts as used is in the books, not in memory
    assert rig.refused(client_id="filled") is after_fill
    for account_order in rig.venue.open_orders(rig.account):
        rig.venue.cancel(rig.account, account_order.symbol, account_order.order_id, "", "x")
    rig.fill("second")
    rig.venue.advance()
    assert rig.refused(client_id="second") is a_day_after_fill


@pytest.mark.parametrize("identity", list(IdentityName))
def test_order_when_asked_for_by_client_id_is_found_unless_ids_mean_nothing(rig: Rig, identity: IdentityName) -> None:
    rig.under(identity=identity)
    number = rig.fill("c-9")
    assert rig.reads.find_order(rig.account, "BTCUSDT", number, "").client_order_id == "c-9"
    if identity is IdentityName.NONE:
        with pytest.raises(VenueRefusal):
            rig.reads.find_order(rig.account, "BTCUSDT", None, "c-9")
    else:
        assert rig.reads.find_order(rig.account, "BTCUSDT", None, "c-9").order_id == number


def test_reading_when_it_lags_shows_orders_and_trades_as_they_were(rig: Rig) -> None:
    old = rig.place("old")
    rig.under(read_lag_ms=1000)
    new = rig.fill("new")
    rig.venue.cancel(rig.account, "BTCUSDT", old, "", "x")

    def shown() -> tuple[list[int], list[int], int]:
        everything = [order.order_id for order in rig.reads.orders(rig.account, "BTCUSDT")]
        resting = [order.order_id for order in rig.reads.open_orders(rig.account)]
        return everything, resting, len(list(rig.reads.trades(rig.account, "BTCUSDT")))

    for rig.now_ms in (0, 999):
        assert shown() == ([old], [old], 0)
        with pytest.raises(VenueRefusal):
            rig.reads.find_order(rig.account, "BTCUSDT", None, "new")
    rig.now_ms = 1000
    assert shown() == ([new, old], [], 1)
    assert rig.reads.find_order(rig.account, "BTCUSDT", None, "new").executed == D("0.1")


def test_reading_when_it_lags_shows_the_order_before_its_namesake(rig: Rig) -> None:
    first = rig.fill("same")
    rig.under(read_lag_ms=1000)
    second = rig.fill("same")
    assert rig.reads.find_order(rig.account, "BTCUSDT", None, "same").order_id == first
    rig.now_ms = 1000
    assert rig.reads.find_order(rig.account, "BTCUSDT", None, "same").order_id == second


def test_reading_when_the_lag_ends_or_a_restart_comes_shows_the_present(rig: Rig) -> None:
    rig.under(read_lag_ms=1000)
    number = rig.place("c-1")
    rig.under()
    assert [order.order_id for order in rig.reads.open_orders(rig.account)] == [number]
    rig.under(read_lag_ms=1000)
    rig.place("c-2")
    rig.reopen()
    assert len(rig.reads.open_orders(rig.account)) == 2
    assert rig.venue.conditions.read_lag_ms == 1000


def test_balances_when_they_lag_are_shown_as_they_were(rig: Rig) -> None:
    rig.under(balance_lag_ms=500)
    rig.fill()
    rig.now_ms = 100
    rig.fill("c-2")

    def btc() -> Decimal:
        return rig.reads.balances(rig.account)["BTC"].free

    assert btc() == D(1)
    rig.now_ms = 500
    assert btc() == D("1.0999")
    rig.now_ms = 600
    assert btc() == D("1.1998") == rig.account.free("BTC")


def test_pair_when_halted_stands_still_and_only_cancels(rig: Rig) -> None:
    number = rig.place(price="9600")
    rig.under(halted=["BTCUSDT"])
    before = rig.venue.listing("BTCUSDT").bid
    rig.venue.advance()
    rig.venue.advance()  # 9000: below the resting buy
    assert rig.venue.listing("BTCUSDT").bid == before
    rig.reopen()
    assert rig.venue.listing("BTCUSDT").bid == before
    assert [order.order_id for order in rig.venue.open_orders(rig.account)] == [number]
    assert rig.refused(client_id="c-2") is Cause.MARKET_CLOSED
    assert rig.refused(client_id="c-2", symbol="ONEUSDT", price="0.02", quantity=D(1000)) is None
    rig.venue.cancel(rig.account, "BTCUSDT", number, "", "x")
    assert rig.account.balances["USDT"].locked == D(20)
    rig.under()
    assert rig.venue.listing("BTCUSDT").price == D(9000)


def test_pair_when_it_trades_again_fills_what_the_price_has_come_to(rig: Rig) -> None:
    number = rig.place(price="9600")
    rig.under(halted=["BTCUSDT"])
    rig.venue.advance()
    rig.venue.advance()
    rig.under()
    assert rig.reads.find_order(rig.account, "BTCUSDT", number, "").status == "FILLED"


def test_pair_when_delisted_expires_its_orders_and_keeps_its_past(rig: Rig) -> None:
    number = rig.place()
    rig.under(delisted=["BTCUSDT"])
    assert rig.account.balances["USDT"].locked == 0
    assert rig.refused(client_id="c-2") is Cause.UNKNOWN_SYMBOL
    assert [listing.instrument.symbol for listing in rig.venue.listed()] == ["ONEUSDT"]
    rig.reopen()
    assert rig.reads.find_order(rig.account, "BTCUSDT", number, "").status == "EXPIRED"
    assert rig.refused(client_id="c-2") is Cause.UNKNOWN_SYMBOL
    rig.under()
    assert rig.refused(client_id="c-2") is None


@pytest.mark.parametrize(
    ("fee_from", "side", "asset"),
    [
        ("received", Side.BUY, "BTC"),
        ("received", Side.SELL, "USDT"),
        ("base", Side.BUY, "BTC"),
        ("base", Side.SELL, "BTC"),
        ("quote", Side.BUY, "USDT"),
        ("quote", Side.SELL, "USDT"),
    ],
)
def test_commission_when_taken_from_base_or_quote_comes_on_top_of_what_is_spent(
    rig: Rig, fee_from: str, side: Side, asset: str
) -> None:
    rig.under(fee_from=fee_from)
    before = {name: rig.account.free(name) for name in ("BTC", "USDT")}
    rig.fill(side=side)
    trade = next(rig.reads.trades(rig.account, "BTCUSDT"))
    rate = D("0.001") * (1 if asset == "BTC" else trade.price)
    assert (trade.commission_asset, trade.commission) == (asset, trade.quantity * rate)
    sign = 1 if side is Side.BUY else -1
    changes = {"BTC": sign * trade.quantity, "USDT": -sign * trade.quote_quantity}
    changes[asset] -= trade.commission
    assert {name: rig.account.free(name) - before[name] for name in before} == changes


def test_order_when_its_fee_on_top_is_not_there_is_refused(rig: Rig) -> None:
    everything: dict[str, Any] = {
        "side": Side.SELL,
        "quantity": D(1),
        "price": "9600",
        "time_in_force": TimeInForce.IOC,
    }
    rig.under(fee_from="base")
    assert rig.refused(**everything) is Cause.INSUFFICIENT_BALANCE
    rig.under()
    assert rig.refused(**everything) is None


async def test_discount_asset_when_it_runs_out_commission_comes_from_what_is_received(tmp_path: Path) -> None:
    prices = tmp_path / "bnb.csv"
    prices.write_text("date,BTC,BNB\n2024-01-01,10000,100\n2024-01-02,10000,100\n")
    async with serving(tmp_path / "state", exchange_prices_file=str(prices)) as exchange:
        for asset, amount in (("USDT", "100000"), ("BNB", "0.01")):
            await exchange.deposit(asset, amount)
        await exchange.control("accounts/discount", {"enabled": True})
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
        paid = []
        for _ in range(3):
            _, answer = await call(exchange, "POST", "/api/v3/order", body=signed(order))
            paid += [fill["commissionAsset"] for fill in answer["fills"]]
        assert paid == ["BNB", "BTC", "BTC"]  # 0.0075 BNB each: enough for one


async def test_clock_when_skewed_refuses_signatures_of_the_true_time(exchange: Running) -> None:
    await exchange.control("conditions", {"clock_skew_ms": -120_000})
    status, answer = await call(exchange, "GET", "/api/v3/account", signed({}))
    assert (status, answer["code"]) == (400, -1021)
    _, clock = await call(exchange, "GET", "/api/v3/time")
    assert abs(clock["serverTime"] + 120_000 - now_ms()) < 60_000
    status, _ = await call(exchange, "GET", "/api/v3/account", signed({"timestamp": clock["serverTime"]}))
    assert status == 200


async def test_venue_when_under_maintenance_answers_nothing_but_its_status(exchange: Running) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{exchange.ws}/ws-api/v3") as socket:
        await exchange.control("conditions", {"maintenance": True})
        await socket.send_str(ws_request(1, "account.status", {}))
        assert (await socket.receive_json(timeout=10))["status"] == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{exchange.ws}/ws/1")
    assert await call(exchange, "GET", "/api/v3/time") == (503, {"code": 1, "msg": "System is under maintenance."})
    assert (await call(exchange, "GET", "/sapi/v1/system/status"))[1]["status"] == 1
    await exchange.control("conditions", {"maintenance": False})
    assert (await call(exchange, "GET", "/api/v3/time"))[0] == 200


async def test_conditions_when_some_are_changed_keep_the_others_and_refuse_nonsense(exchange: Running) -> None:
    await exchange.control("conditions", {"identity": "okx", "halted": ["BTCUSDT"]})
    conditions = await exchange.control("conditions", {"read_lag_ms": 20})
    assert (conditions["identity"], conditions["halted"], conditions["read_lag_ms"]) == ("okx", ["BTCUSDT"], 20)
    info = (await call(exchange, "GET", "/api/v3/exchangeInfo"))[1]["symbols"]
    assert {one["symbol"]: one["status"] for one in info} == {"BTCUSDT": "HALT", "ONEUSDT": "TRADING"}
    for wrong in ({"identity": "bitmex"}, {"read_lag_ms": -1}, {"halted": ["NIXUSDT"]}, {"unknown": 1}):
        assert (await exchange.control("conditions", wrong, status=422))["error"]["problems"]
    assert await exchange.control("conditions") == conditions


async def test_endpoints_when_lags_are_set_show_the_past(exchange: Running) -> None:
    await exchange.deposit("USDT", "1000")
    await exchange.control("conditions", {"read_lag_ms": 600_000, "balance_lag_ms": 600_000})
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "newClientOrderId": "c-1"}
    assert (await call(exchange, "POST", "/api/v3/order", body=signed(order)))[0] == 200
    named = {"symbol": "BTCUSDT"}
    status, answer = await call(exchange, "GET", "/api/v3/order", signed(named | {"origClientOrderId": "c-1"}))
    assert (status, answer["code"]) == (400, -2013)
    for path in ("/api/v3/allOrders", "/api/v3/openOrders", "/api/v3/myTrades"):
        assert await call(exchange, "GET", path, signed(named)) == (200, [])
    shown = (await call(exchange, "GET", "/api/v3/account", signed({"omitZeroBalances": "true"})))[1]["balances"]
    assert shown == [{"asset": "USDT", "free": "1000.00000000", "locked": "0.00000000"}]
    await exchange.control("conditions", {"read_lag_ms": 0, "balance_lag_ms": 0})
    assert len((await call(exchange, "GET", "/api/v3/myTrades", signed(named)))[1]) == 1
