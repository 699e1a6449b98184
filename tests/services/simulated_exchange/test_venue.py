"""The venue without a network: matching, locks, resting orders, money conserved, recovery from its file."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.adapters.sqlite import Store
from services.simulated_exchange.conditions import Conditions
from services.simulated_exchange.markets.files import load_prices
from services.simulated_exchange.orders import (
    Cause,
    NewOrder,
    Order,
    OrderStatus,
    OrderType,
    TimeInForce,
    VenueEvent,
    VenueRefusal,
)
from services.simulated_exchange.reads import Reads
from services.simulated_exchange.settlement import Fees
from services.simulated_exchange.venue import Venue
from services.simulated_exchange.venue_rules import ReplayState, VenueRules
from shared.core.errors import Refused, Stop
from shared.core.matching import BookShape, PriceBand, Side

D = Decimal
RULES = VenueRules(
    shape=BookShape(D(2), D(1), D(10_000), 5), fees=Fees(D(10), D(10)), min_notional=D(5), band=PriceBand()
)


class Opened:
    """A venue on a folder; ``reopen`` is what a restart does."""

    def __init__(self, folder: Path, prices_file: Path) -> None:
        self.folder = folder
        self._prices = load_prices(prices_file)
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder)
        self.venue = Venue(self.store, self._prices, RULES, ReplayState(0, 0, True, 20.0))
        self.account = self.venue.add_account("key", "secret")

    def reopen(self) -> None:
        self.store.close()
        self.open()


@pytest.fixture
def opened(tmp_path: Path, prices_file: Path) -> Iterator[Opened]:
    opened = Opened(tmp_path / "state", prices_file)
    yield opened
    opened.store.close()


def order(side: Side = Side.BUY, quantity: str | None = "0.1", price: str | None = None, **fields: object) -> NewOrder:
    """A market order in BTC, or with a price a limit order (GTC)."""
    given = NewOrder(
        symbol="BTCUSDT",
        client_order_id="c-1",
        side=side,
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=D(quantity) if quantity else None,
        price=D(price) if price else None,
    )
    return replace(given, **fields)  # type: ignore[arg-type]


def balances(account: Account) -> dict[str, tuple[str, str]]:
    return {
        asset: (format(balance.free.normalize(), "f"), format(balance.locked.normalize(), "f"))
        for asset, balance in account.balances.items()
    }


def test_market_order_when_placed_pays_the_book_and_the_fee(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(30_000))
    placed, trades = venue.place(account, order(quantity="1.5"))
    # Ask levels of 10,000 +- 1 bp, each worth 10,000: 0.99990 at 10,001 and the rest at 10,002.
    assert [(str(trade.price), str(trade.quantity)) for trade in trades] == [
        ("10001", "0.99990"),
        ("10002", "0.50010"),
    ]
    assert placed.status is OrderStatus.FILLED
    assert placed.quote_executed == D("0.99990") * 10001 + D("0.50010") * 10002
    assert [str(trade.commission) for trade in trades] == ["0.00099990", "0.00050010"]
    assert balances(account)["BTC"] == ("1.4985", "0")
    assert account.free("USDT") == 30_000 - placed.quote_executed


def test_limit_order_when_ioc_fills_within_limit_and_the_rest_expires(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(30_000))
    placed, trades = venue.place(account, order(quantity="2", price="10001", time_in_force=TimeInForce.IOC))
    assert (placed.status, str(placed.executed), len(trades)) == (OrderStatus.EXPIRED, "0.99990", 1)
    assert venue.open_orders(account) == []
    assert account.balances["USDT"].locked == 0


def test_limit_order_when_fok_cannot_be_met_trades_nothing(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(30_000))
    placed, trades = venue.place(account, order(quantity="2", price="10001", time_in_force=TimeInForce.FOK))
    assert (placed.status, trades, account.free("USDT")) == (OrderStatus.EXPIRED, [], 30_000)


def test_limit_order_when_resting_locks_and_fills_as_maker_when_the_market_comes(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(10_000))
    venue.place(account, order(quantity="0.5", price="9500"))
    assert balances(account)["USDT"] == ("5250", "4750")
    venue.advance()  # 10,100
    assert venue.open_orders(account)
    venue.advance()  # 9,000: the ask is below 9,500
    (trade,) = venue.trades(account, "BTCUSDT")
    assert (trade.price, trade.quantity, trade.is_maker) == (D(9500), D("0.5"), True)
    assert trade.time_ms == venue.market_ms
    assert balances(account) == {"USDT": ("5250", "0"), "BTC": ("0.4995", "0")}
    assert venue.open_orders(account) == []


def test_limit_order_when_it_takes_and_rests_keeps_the_remainder_locked(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(30_000))
    placed, _ = venue.place(account, order(quantity="2", price="10001"))
    assert placed.status is OrderStatus.PARTIALLY_FILLED
    assert account.balances["USDT"].locked == D("1.0001") * 10001
    venue.cancel(account, "BTCUSDT", None, "c-1", "cancel-1")
    assert account.balances["USDT"].locked == 0
    assert Reads(venue).find_order(account, "BTCUSDT", placed.order_id, "").status is OrderStatus.CANCELED


@pytest.mark.parametrize(
    ("new", "cause"),
    [
        (order(symbol="ETHUSDT"), Cause.UNKNOWN_SYMBOL),  # listed only two rows later
        (order(symbol="NOPEUSDT"), Cause.UNKNOWN_SYMBOL),
        (order(quantity="0.000001"), Cause.FILTER),
        (order(quantity="0.0001"), Cause.FILTER),
        (order(price="10000.0001"), Cause.FILTER),
        (order(price="12001"), Cause.FILTER),
        (order(quantity="100"), Cause.INSUFFICIENT_BALANCE),
        (order(Side.SELL), Cause.INSUFFICIENT_BALANCE),
        (order(quantity=None, quote_quantity=D("100000")), Cause.INSUFFICIENT_BALANCE),
        (order(price="10001", order_type=OrderType.LIMIT_MAKER), Cause.WOULD_TAKE),
        (order(price="9000", client_order_id="open"), Cause.DUPLICATE_ORDER),
    ],
)
def test_order_when_not_acceptable_changes_nothing(opened: Opened, new: NewOrder, cause: Cause) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(10_000))
    venue.place(account, order(price="9500", quantity="0.01", client_order_id="open"))
    before = balances(account)
    with pytest.raises(VenueRefusal) as refused:
        venue.place(account, new)
    assert refused.value.cause is cause
    assert balances(account) == before
    assert len(list(venue.orders(account, "BTCUSDT"))) == 1


def test_client_order_id_when_its_order_is_closed_is_accepted_again(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    venue.deposit("d", account, "USDT", D(10_000))
    first, _ = venue.place(account, order(quantity="0.1"))
    second, _ = venue.place(account, order(quantity="0.2"))
    assert first.order_id < second.order_id
    assert Reads(venue).find_order(account, "BTCUSDT", None, "c-1").quantity == D("0.2")


def test_orders_when_of_two_accounts_do_not_mix(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    other = venue.add_account("other", "secret-2")
    venue.deposit("d", account, "USDT", D(10_000))
    venue.place(account, order(price="9500"))
    assert venue.open_orders(other) == []
    with pytest.raises(VenueRefusal):
        venue.cancel(other, "BTCUSDT", 1, "", "x")
    with pytest.raises(VenueRefusal):
        Reads(venue).find_order(other, "BTCUSDT", 1, "")
    with pytest.raises(Refused):
        venue.add_account("other", "another-secret")


def test_deposit_when_sent_again_is_credited_once(opened: Opened) -> None:
    venue, account = opened.venue, opened.account
    events: list[VenueEvent] = []
    venue.listen(events.extend)
    for _ in range(3):
        assert venue.deposit("d-1", account, "USDT", D("100.5")).amount == D("100.5")
    assert account.free("USDT") == D("100.5")
    assert len(events) == 2
    with pytest.raises(Refused, match="was used for another deposit"):
        venue.deposit("d-1", account, "USDT", D(7))
    with pytest.raises(VenueRefusal):
        venue.deposit("d-2", account, "XYZ", D(7))


def test_trade_ids_when_rows_and_restarts_pass_only_rise(opened: Opened) -> None:
    opened.venue.deposit("d", opened.account, "USDT", D(10_000))
    ids: list[int] = []
    for _ in range(3):
        for _ in range(2):
            _, trades = opened.venue.place(opened.account, order(quantity="0.01"))
            ids += [trade.trade_id for trade in trades]
        opened.reopen()
        opened.venue.advance()
    assert ids == sorted(set(ids))


def test_listing_when_its_first_price_comes_appears_and_a_gap_leaves_the_last(opened: Opened) -> None:
    venue = opened.venue
    assert [listing.instrument.base for listing in venue.listed()] == ["BTC", "ONE"]
    venue.advance()
    venue.advance()
    assert [listing.instrument.base for listing in venue.listed()] == ["BTC", "ETH", "ONE"]
    venue.advance()
    one = venue.listing("ONEUSDT")
    assert (one.price, one.time_ms) == (D("0.022"), venue.source.time_ms(2))
    assert venue.advance()
    assert not venue.advance()
    assert venue.ended
    assert venue.state.ticks == 2 + 2 + 3 + 2 + 3


def test_venue_when_reopened_in_a_gap_still_has_the_last_price(opened: Opened) -> None:
    for _ in range(3):
        opened.venue.advance()
    before = {
        listing.instrument.symbol: (listing.price, listing.time_ms, listing.bid, listing.ask)
        for listing in opened.venue.listed()
    }
    opened.reopen()
    assert opened.venue.state.row == 3
    assert {
        listing.instrument.symbol: (listing.price, listing.time_ms, listing.bid, listing.ask)
        for listing in opened.venue.listed()
    } == before


def test_state_folder_when_in_use_or_of_another_market_is_refused(opened: Opened) -> None:
    with pytest.raises(Refused, match="state_dir"):
        Store(opened.folder)
    opened.store.remember_once("market", "a", "exchange_state_dir", "x")
    with pytest.raises(Refused, match="another market"):
        opened.store.remember_once("market", "b", "exchange_state_dir", "x")


def test_transaction_when_the_file_fails_stops_the_process(opened: Opened) -> None:
    opened.venue.deposit("d", opened.account, "USDT", D(10_000))
    opened.store.close()
    with pytest.raises(Stop):
        opened.venue.place(opened.account, order())


class Trading(RuleBasedStateMachine):
    """Any sequence of orders, cancels, rows and restarts: money is moved, never made; nothing is lost."""

    folder: Path
    prices_file: Path
    fills_seen = 0

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.opened = Opened(self.folder, self.prices_file)
        for asset, amount in (("USDT", "50000"), ("BTC", "3"), ("ONE", "100000")):
            self.opened.venue.deposit(f"d-{asset}", self.opened.account, asset, D(amount))
        self.placed: list[Order] = []

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.store.close()

    @rule(
        symbol=st.sampled_from(["BTCUSDT", "ONEUSDT", "ETHUSDT"]),
        side=st.sampled_from(Side),
        kind=st.sampled_from([*TimeInForce, None, "quote", "maker"]),
        value=st.decimals(min_value=1, max_value=30_000, places=2),
        away_bps=st.integers(min_value=-600, max_value=600),
    )
    def place(self, symbol: str, side: Side, kind: object, value: Decimal, away_bps: int) -> None:
        venue = self.opened.venue
        listing = venue.listings[symbol]
        reference = listing.price or D(2000)
        lot, tick = listing.instrument.lot_step, listing.instrument.tick_size
        quantity = value / reference // lot * lot
        price = reference * (1 + D(away_bps) / 10_000) // tick * tick
        limited = isinstance(kind, TimeInForce) or kind == "maker"
        new = order(
            side=side,
            symbol=symbol,
            client_order_id=f"c-{len(self.placed)}",
            order_type=OrderType.LIMIT_MAKER if kind == "maker" else OrderType.LIMIT if limited else OrderType.MARKET,
            time_in_force=kind if isinstance(kind, TimeInForce) else TimeInForce.GTC,
        )
        new = replace(
            new,
            quantity=None if kind == "quote" else quantity,
            quote_quantity=value if kind == "quote" else None,
            price=price if limited else None,
        )
        try:
            placed, trades = venue.place(self.opened.account, new)
        except VenueRefusal:
            return
        self.placed.append(placed)
        for trade in trades:
            if limited:
                assert trade.price <= price if side is Side.BUY else trade.price >= price

    @rule()
    def cancel_oldest(self) -> None:
        for resting in self.opened.venue.open_orders(self.opened.account)[:1]:
            self.opened.venue.cancel(self.opened.account, resting.symbol, resting.order_id, "", "x")

    @rule()
    def advance(self) -> None:
        self.opened.venue.advance()

    @rule(
        fee_from=st.sampled_from(["received", "base", "quote"]),
        halted=st.sampled_from([(), ("BTCUSDT",), ("ETHUSDT", "ONEUSDT")]),
        delisted=st.sampled_from([(), (), (), ("ONEUSDT",)]),
    )
    def change_conditions(self, **conditions: object) -> None:
        self.opened.venue.change_conditions(Conditions.model_validate(conditions))

    @rule()
    def restart(self) -> None:
        before = self.snapshot()
        self.opened.reopen()
        assert self.snapshot() == before

    def snapshot(self) -> object:
        venue, account = self.opened.venue, self.opened.account
        resting = [(kept.order_id, kept.executed, kept.status) for kept in venue.open_orders(account)]
        return balances(account), resting, venue.state, [listing.bid for listing in venue.listed()]

    @invariant()
    def money_is_conserved(self) -> None:
        if not hasattr(self, "opened"):
            return
        venue, account = self.opened.venue, self.opened.account
        expected = {deposit.asset: Fraction(deposit.amount) for deposit in venue.deposits(account)}
        for symbol, listing in venue.listings.items():
            base = listing.instrument.base
            for trade in venue.trades(account, symbol):
                type(self).fills_seen += 1
                sign = 1 if trade.side is Side.BUY else -1
                value = Fraction(trade.price) * Fraction(trade.quantity)
                assert value == Fraction(trade.quote_quantity)
                expected[base] = expected.get(base, Fraction(0)) + sign * Fraction(trade.quantity)
                expected["USDT"] -= sign * value
                expected[trade.commission_asset] -= Fraction(trade.commission)
        held = {asset: Fraction(kept.free) + Fraction(kept.locked) for asset, kept in account.balances.items()}
        assert {asset: amount for asset, amount in held.items() if amount} == {
            asset: amount for asset, amount in expected.items() if amount
        }

    @invariant()
    def locks_are_what_open_orders_need(self) -> None:
        if not hasattr(self, "opened"):
            return
        needed: dict[str, Fraction] = {}
        for resting in self.opened.venue.open_orders(self.opened.account):
            base = resting.symbol.removesuffix("USDT")
            asset = "USDT" if resting.side is Side.BUY else base
            price = Fraction(resting.price) if resting.side is Side.BUY else 1
            needed[asset] = needed.get(asset, Fraction(0)) + price * Fraction(resting.remaining)
        locked = {asset: Fraction(kept.locked) for asset, kept in self.opened.account.balances.items() if kept.locked}
        assert locked == needed


def test_money_when_anything_is_done_in_any_order_is_conserved(tmp_path: Path, prices_file: Path) -> None:
    class OnThisFolder(Trading):
        folder = tmp_path / "machine"

    OnThisFolder.prices_file = prices_file
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        OnThisFolder,
        settings=hypothesis_settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
    assert OnThisFolder.fills_seen > 500, "a run without trades proves nothing"
