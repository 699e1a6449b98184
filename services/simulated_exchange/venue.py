"""The venue itself: accounts, orders, matching, deposits, and the market row that everything happens at.

It speaks no dialect and knows no network. Every command is applied in memory, committed to the store, and only then
told to the listeners and returned: whoever hears of something can rely on it. All calls are synchronous and come from
one thread, so commands never interleave. Orders of different accounts never meet: each trades with the modelled book.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.adapters.sqlite import Store
from services.simulated_exchange.board import Board
from services.simulated_exchange.conditions import Conditions
from services.simulated_exchange.execution_plan import Planned, plan_fills
from services.simulated_exchange.identity import RULE_SETS, is_duplicate
from services.simulated_exchange.listing import Listing
from services.simulated_exchange.markets.crosses import pair_of
from services.simulated_exchange.markets.instruments import QUOTE
from services.simulated_exchange.markets.source import PriceSource
from services.simulated_exchange.orders import (
    BalancesChanged,
    Cause,
    Change,
    Deposit,
    Deposited,
    MarketStoodStill,
    NewOrder,
    Order,
    OrderReported,
    OrderStatus,
    OrderType,
    RowBecameCurrent,
    Trade,
    VenueEvent,
    VenueRefusal,
)
from services.simulated_exchange.settlement import Charge, locked_amount, locks_balance, settle_fill
from services.simulated_exchange.venue_rules import ReplayState, VenueRules
from shared.core.errors import Refused
from shared.core.matching import OrderTerms, Side, crosses, fills_at_rest, filter_failures
from shared.core.money import MONEY_CONTEXT, ZERO, plain

Listener = Callable[[Sequence[VenueEvent]], None]


class Venue:
    """Built from a store and a price source; construction is recovery: it stands where the store says."""

    def __init__(self, store: Store, source: PriceSource, rules: VenueRules, start: ReplayState) -> None:
        self.source = source
        self.rules = rules
        self._store = store
        self._listeners: list[Listener] = []
        kept_conditions = store.conditions()
        self.conditions = (
            Conditions.model_validate_json(kept_conditions) if kept_conditions else Conditions(identity=rules.identity)
        )
        self._board = Board(source, partial(pair_of, rules), store.last_trade_ids())
        self.listings = self._board.listings
        self.columns = self._board.columns
        self.accounts: dict[int, Account] = {account.account_id: account for account in store.accounts()}
        self._by_key = {account.api_key: account for account in self.accounts.values()}
        self._last_order_id = store.last_order_id()
        self._open: dict[str, dict[int, Order]] = {symbol: {} for symbol in self.listings}
        for order in store.open_orders():
            self._open[order.symbol][order.order_id] = order
        kept = store.replay()
        self.state = ReplayState(*kept) if kept else start
        if not kept:
            with store.transaction():
                self._save_state()
        self._board.stopped = store.stopped_pairs()
        ticks = self._board.warm_up(self.state.row)
        if self.state.row == 0 and self.state.ticks == 0:
            self.state = replace(self.state, ticks=ticks)

    # -- market ---------------------------------------------------------------------------------------------------

    @property
    def market_ms(self) -> int:
        """Market time: the current row's, in milliseconds."""
        return self.source.time_ms(self.state.row)

    @property
    def ended(self) -> bool:
        """Whether the current row is the source's last."""
        return self.source.rows_total is not None and self.state.row >= self.source.rows_total - 1

    def listed(self) -> Iterator[Listing]:
        """Pairs that have had a price and are not delisted, in the source's order."""
        return (
            listing for listing in self._board.priced() if listing.instrument.symbol not in self.conditions.delisted
        )

    def listing(self, symbol: str) -> Listing:
        """A listed pair. Raises VenueRefusal."""
        if symbol in self.conditions.delisted:
            raise VenueRefusal(Cause.UNKNOWN_SYMBOL, symbol)
        return self.once_listed(symbol)

    def once_listed(self, symbol: str) -> Listing:
        """A pair that is listed or was before it was delisted. Raises VenueRefusal."""
        listing = self.listings.get(symbol)
        if listing is None or not listing.is_listed:
            raise VenueRefusal(Cause.UNKNOWN_SYMBOL, symbol)
        return listing

    def is_trading(self, symbol: str) -> bool:
        """Whether a listed pair takes orders now."""
        return symbol not in self.conditions.halted | self.conditions.delisted

    def change_conditions(self, conditions: Conditions) -> None:
        """Orders of pairs delisted expire, of pairs that trade again fill where they cross. Raises Refused."""
        for name in ("halted", "delisted"):
            unknown = sorted(getattr(conditions, name) - self.listings.keys())
            if unknown:
                raise Refused.one(name, unknown[0], "symbols of the market, as in BTCUSDT", "is not a pair here")
        events: list[VenueEvent] = []
        with self._store.transaction():
            again = self._board.stop(conditions.halted | conditions.delisted, self.state.row)
            self._store.save_conditions(conditions.model_dump_json(), self._board.stopped)
            for symbol in sorted(conditions.delisted):
                for order in self._open[symbol].values():
                    order.updated_ms = self.market_ms
                    self._close(self.accounts[order.account_id], order, OrderStatus.EXPIRED)
                    self._save(self.accounts[order.account_id], order, [])
                    events.append(OrderReported(copy.copy(order), Change.EXPIRED))
                    events.append(self._balances_of(order, self.listings[symbol], []))
                self._open[symbol].clear()
            self.conditions = conditions
            for listing in again:
                events += self._fill_resting(listing, self.market_ms)
        symbols = tuple(listing.instrument.symbol for listing in again)
        self._tell([RowBecameCurrent(self.state.row, symbols), *events] if symbols else events)

    def listen(self, listener: Listener) -> None:
        """Have every event told to ``listener``, after its commit, in order."""
        self._listeners.append(listener)

    def set_pace(self, *, paused: bool | None = None, rows_per_second: float | None = None) -> None:
        """Pause, resume or change speed; kept across restarts."""
        state = self.state
        self.state = ReplayState(
            state.row,
            state.ticks,
            state.paused if paused is None else paused,
            state.rows_per_second if rows_per_second is None else rows_per_second,
        )
        with self._store.transaction():
            self._save_state()

    def advance(self) -> bool:
        """Make the next row current and fill the resting orders it crosses. False at the end of the source."""
        if self.ended:
            return False
        row, time_ms = self.state.row + 1, self.source.time_ms(self.state.row + 1)
        events: list[VenueEvent] = []
        with self._store.transaction():
            ticked = self._board.tick(row)
            state = self.state
            ticks = state.ticks + len(ticked)
            self.state = ReplayState(row, ticks, state.paused, state.rows_per_second)
            self._save_state()
            for listing in ticked:
                if self._open[listing.instrument.symbol]:
                    events += self._fill_resting(listing, time_ms)
        symbols = tuple(listing.instrument.symbol for listing in ticked)
        self._tell([RowBecameCurrent(row, symbols), *events])
        return True

    def stand_still(self) -> None:
        """Tell the listeners that the market has not moved."""
        self._tell([MarketStoodStill()])

    def _save_state(self) -> None:
        state = self.state
        self._store.save_replay(state.row, state.ticks, paused=state.paused, rows_per_second=state.rows_per_second)

    # -- accounts -------------------------------------------------------------------------------------------------

    def account_of_key(self, api_key: str) -> Account | None:
        """The account an API key belongs to."""
        return self._by_key.get(api_key)

    def add_account(self, api_key: str, api_secret: str) -> Account:
        """Open an account; the same key and secret again return it. Raises Refused on another secret."""
        known = self._by_key.get(api_key)
        if known:
            if known.api_secret != api_secret:
                raise Refused.one("api_key", api_key, "a new key, or its own secret", "is in use with another secret")
            return known
        account = Account(max(self.accounts, default=0) + 1, api_key, api_secret)
        with self._store.transaction():
            self._store.add_account(account)
        self.accounts[account.account_id] = account
        self._by_key[api_key] = account
        return account

    def take_discount(self, account: Account, *, wanted: bool) -> None:
        """Have commission taken from the discount asset, or not."""
        account.takes_discount = wanted
        with self._store.transaction():
            self._store.save_discount(account)

    def deposit(self, deposit_id: str, account: Account, asset: str, amount: Decimal) -> Deposit:
        """Credit money (below 0: pay it out) once per ``deposit_id``; the same again returns the first.

        Raises Refused when the id was used for something else; VenueRefusal for an asset the venue does not know, or
        more of it than is free.
        """
        known = self._store.find_deposit(deposit_id)
        if known:
            if (known.account_id, known.asset, known.amount) != (account.account_id, asset, amount):
                allowed = f"{plain(known.amount)} {known.asset} to account {known.account_id}, or a new id"
                raise Refused.one("id", deposit_id, allowed, "was used for another deposit")
            return known
        if asset != QUOTE and asset not in {listing.instrument.base for listing in self.listings.values()}:
            raise VenueRefusal(Cause.UNKNOWN_ASSET, asset)
        if account.free(asset) < -amount:
            raise VenueRefusal(Cause.INSUFFICIENT_BALANCE, asset)
        deposit = Deposit(deposit_id, account.account_id, asset, amount, self.market_ms)
        with self._store.transaction():
            account.add_free(asset, amount)
            self._store.add_deposit(deposit)
            self._store.save_balances(account)
        self._tell([Deposited(deposit), BalancesChanged(account.account_id, account.copied_balances([asset]))])
        return deposit

    def deposits(self, account: Account) -> list[Deposit]:
        """Deposits (and, with an amount below 0, withdrawals) of an account, newest first."""
        return self._store.deposits(account.account_id)

    # -- orders ---------------------------------------------------------------------------------------------------

    def check(self, account: Account, new: NewOrder) -> Planned:
        """Everything ``place`` checks, without placing. Raises VenueRefusal."""
        listing = self.listing(new.symbol)
        if not (listing.instrument.tradable and self.is_trading(new.symbol)):
            raise VenueRefusal(Cause.MARKET_CLOSED, new.symbol)
        terms = OrderTerms(new.side, new.quantity, new.quote_quantity, new.price)
        failures = filter_failures(terms, listing.instrument, self.rules.band, listing.price)
        if failures:
            raise VenueRefusal(Cause.FILTER, failures[0].filter)
        self._refuse_duplicate(account, new)
        planned = plan_fills(new, listing, self._on_top_bps(new.side))
        if new.order_type is OrderType.LIMIT_MAKER and planned.fills:
            raise VenueRefusal(Cause.WOULD_TAKE, new.symbol)
        asset, needed = planned.needed
        if account.free(asset) < needed:
            raise VenueRefusal(Cause.INSUFFICIENT_BALANCE, asset)
        return planned

    def place(self, account: Account, new: NewOrder) -> tuple[Order, list[Trade]]:
        """Accept an order and match it at once; returns it with the trades it made. Raises VenueRefusal."""
        planned = self.check(account, new)
        listing = self.listing(new.symbol)
        now = self.market_ms
        self._last_order_id += 1
        order = Order(
            order_id=self._last_order_id,
            account_id=account.account_id,
            symbol=new.symbol,
            client_order_id=new.client_order_id,
            side=new.side,
            order_type=new.order_type,
            time_in_force=new.time_in_force,
            price=new.price or ZERO,
            quantity=planned.quantity,
            quote_quantity=new.quote_quantity or ZERO,
            created_ms=now,
            updated_ms=now,
        )
        events: list[VenueEvent] = [OrderReported(copy.copy(order), Change.NEW)]
        trades: list[Trade] = []
        with self._store.transaction():
            if locks_balance(order):
                account.lock(*locked_amount(order, order.quantity, listing.instrument))
            for fill in planned.fills:
                charge = self._charge(account, listing, self.rules.fees.taker_bps)
                trade = settle_fill(account, order, listing, fill, charge, maker=False)
                trades.append(trade)
                events.append(OrderReported(copy.copy(order), Change.TRADE, trade))
            if order.is_open and not planned.rests:
                self._close(account, order, OrderStatus.EXPIRED)
                events.append(OrderReported(copy.copy(order), Change.EXPIRED))
            self._save(account, order, trades)
        if order.is_open:
            self._open[order.symbol][order.order_id] = order
        self._tell([*events, self._balances_of(order, listing, trades)])
        return order, trades

    def cancel(
        self, account: Account, symbol: str, order_id: int | None, client_order_id: str, cancel_id: str
    ) -> Order:
        """Cancel an open order by id or client id; ``cancel_id`` names the cancellation. Raises VenueRefusal."""
        by_client_id = order_id is None and RULE_SETS[self.conditions.identity].queryable
        for order in self.open_orders(account, symbol):
            if order.order_id == order_id or (by_client_id and order.client_order_id == client_order_id):
                break
        else:
            raise VenueRefusal(Cause.UNKNOWN_ORDER, client_order_id or str(order_id))
        with self._store.transaction():
            order.updated_ms = self.market_ms
            self._close(account, order, OrderStatus.CANCELED)
            self._save(account, order, [])
        del self._open[symbol][order.order_id]
        report = OrderReported(copy.copy(order), Change.CANCELED, cancel_id=cancel_id)
        self._tell([report, self._balances_of(order, self.listings[symbol], [])])
        return order

    def open_orders(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Resting orders of an account, oldest first."""
        books = [self._open.get(symbol, {})] if symbol is not None else list(self._open.values())
        mine = [order for book in books for order in book.values() if order.account_id == account.account_id]
        return sorted(mine, key=lambda order: order.order_id)

    def matching_orders(
        self, account: Account, symbol: str, order_id: int | None, client_order_id: str
    ) -> Iterator[Order]:
        """The order with an id (``symbol`` "": in whichever pair), else all with a client id, newest first."""
        return self._store.matching_orders(account.account_id, symbol, order_id, client_order_id)

    def orders(self, account: Account, symbol: str) -> Iterator[Order]:
        """All orders of an account in a pair, newest first."""
        return self._store.orders(account.account_id, symbol)

    def trades(self, account: Account, symbol: str, from_id: int | None = None) -> Iterator[Trade]:
        """Trades of an account in a pair: newest first, or oldest first from a trade id on."""
        if from_id is not None:
            return self._store.trades_from(account.account_id, symbol, from_id)
        return self._store.trades(account.account_id, symbol)

    def _refuse_duplicate(self, account: Account, new: NewOrder) -> None:
        rules = RULE_SETS[self.conditions.identity]
        latest = partial(self._store.latest_order, account.account_id, new.client_order_id)
        if is_duplicate(rules, new, self.open_orders(account), latest, self.market_ms):
            raise VenueRefusal(Cause.DUPLICATE_ORDER, new.client_order_id)

    def _on_top_bps(self, side: Side) -> Decimal:
        """Commission that comes on top of what a taking order of ``side`` spends, in basis points."""
        spent = "quote" if side is Side.BUY else "base"
        return self.rules.fees.taker_bps if self.conditions.fee_from == spent else ZERO

    def _close(self, account: Account, order: Order, status: OrderStatus) -> None:
        if locks_balance(order):
            asset, amount = locked_amount(order, order.remaining, self.listings[order.symbol].instrument)
            account.lock(asset, -amount)
        order.status = status

    def _fill_resting(self, listing: Listing, now: int) -> list[VenueEvent]:
        """Fill the resting orders of a pair that its new book crosses, best price first, then oldest."""
        resting = self._open[listing.instrument.symbol]
        best = {Side.BUY: listing.ask.price, Side.SELL: listing.bid.price}
        crossed = [order for order in resting.values() if crosses(order.side, order.price, best[order.side])]
        crossed.sort(key=lambda order: (-order.price if order.side is Side.BUY else order.price, order.order_id))
        book = listing.book() if crossed else None
        events: list[VenueEvent] = []
        for order in crossed:
            assert book is not None  # noqa: S101 - for the type checker: made when anything is crossed
            account = self.accounts[order.account_id]
            for fill in fills_at_rest(order.side, book.against(order.side), order.remaining, order.price):
                order.updated_ms = now
                charge = self._charge(account, listing, self.rules.fees.maker_bps)
                trade = settle_fill(account, order, listing, fill, charge, maker=True)
                self._save(account, order, [trade])
                events.append(OrderReported(copy.copy(order), Change.TRADE, trade))
                events.append(self._balances_of(order, listing, [trade]))
            if not order.is_open:
                del resting[order.order_id]
        return events

    def _save(self, account: Account, order: Order, trades: Sequence[Trade]) -> None:
        self._store.save_order(order)
        for trade in trades:
            self._store.add_trade(trade)
        self._store.save_balances(account)

    def _charge(self, account: Account, listing: Listing, fee_bps: Decimal) -> Charge:
        fees, quote = self.rules.fees, listing.instrument.quote
        discount = self.listings.get(fees.discount_asset + QUOTE) if account.takes_discount else None
        price = discount.price if discount is not None and discount.is_listed else ZERO
        if quote != QUOTE:
            price = MONEY_CONTEXT.divide(price, self.listings[quote + QUOTE].price)
        return Charge(fee_bps, fees, price, self.conditions.fee_from)

    def _balances_of(self, order: Order, listing: Listing, trades: Sequence[Trade]) -> BalancesChanged:
        traded = (listing.instrument.base, listing.instrument.quote, *(trade.commission_asset for trade in trades))
        return BalancesChanged(order.account_id, self.accounts[order.account_id].copied_balances(traded))

    def _tell(self, events: Sequence[VenueEvent]) -> None:
        for listener in self._listeners:
            listener(events)
