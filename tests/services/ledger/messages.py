"""Messages for the ledger's tests, each with only what a test says about it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.ledger.requests import Body, Request, Transfer
from shared.contracts.books import FundStrategy, ReleaseStrategy, SweepDust, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered
from shared.contracts.wire import Meta

START = datetime(2020, 3, 12, tzinfo=UTC)
RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Scene:
    """One venue and its strategies; ids carry the venue so that many scenes share one database."""

    venue: str = "paper"

    def strategy(self, name: str = "s1") -> str:
        return f"{self.venue}-{name}"

    def deposit(self, number: int = 1, amount: str = "1000", asset: str = "USDT") -> DepositObserved:
        return DepositObserved(
            deposit_id=f"d{number}", venue=self.venue, asset=asset, amount=Decimal(amount), market_time=START
        )

    def fund(self, number: int = 1, amount: str = "600", strategy: str = "s1", asset: str = "USDT") -> FundStrategy:
        return FundStrategy(
            transfer_id=f"{self.venue}-t{number}",
            strategy_id=self.strategy(strategy),
            venue=self.venue,
            asset=asset,
            amount=Decimal(amount),
            value_usdt=Decimal(amount),
        )

    def fill(
        self,
        number: int = 1,
        side: str = "BUY",
        quantity: str = "0.01",
        quote_quantity: str = "400",
        fee: str = "0.00001",
        strategy: str = "s1",
        base: str = "BTC",
    ) -> OrderFilled:
        return OrderFilled(
            trade_id=f"{base}USDT:{number}",
            fill_number=number,
            client_order_id=f"o{number}",
            plan_id="pl1",
            strategy_id=self.strategy(strategy),
            venue=self.venue,
            symbol=f"{base}USDT",
            base=base,
            quote="USDT",
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(40000),
            quote_quantity=Decimal(quote_quantity),
            fee=Decimal(fee),
            fee_asset=base if side == "BUY" else "USDT",
            market_time=START + timedelta(seconds=number),
            received_at=RECEIVED,
        )

    def word(
        self,
        number: int = 1,
        state: str = "intended",
        version: int = 1,
        side: str = "BUY",
        may_take: tuple[tuple[str, str], ...] = (),
        strategy: str = "s1",
    ) -> OrderChanged:
        return OrderChanged(
            client_order_id=f"o{number}",
            plan_id="pl1",
            strategy_id=self.strategy(strategy),
            venue=self.venue,
            symbol="BTCUSDT",
            side=side,
            quantity=Decimal("0.01"),
            limit_price=Decimal(40000),
            state=state,
            filled_quantity=Decimal(0),
            version=version,
            may_take={asset: Decimal(amount) for asset, amount in may_take},
        )

    def release(
        self, fills_required: int = 0, number: int = 9, strategy: str = "s1", sold_into: str = ""
    ) -> ReleaseStrategy:
        return ReleaseStrategy(
            transfer_id=f"{self.venue}-t{number}",
            strategy_id=self.strategy(strategy),
            venue=self.venue,
            fills_required=fills_required,
            sold_into=sold_into,
        )

    def sweep(self, amount: str, asset: str = "BTC") -> SweepDust:
        return SweepDust(venue=self.venue, asset=asset, amount=Decimal(amount))

    def withdraw(
        self,
        fills_required: int = 0,
        number: int = 5,
        strategy: str = "s1",
        asset: str = "USDT",
        amount: str | None = "100",
        percent: str | None = None,
        prices: tuple[tuple[str, str], ...] = (("BTC", "40000"), ("ETH", "2000"), ("SOL", "10"), ("USDT", "1")),
    ) -> WithdrawFromStrategy:
        return WithdrawFromStrategy(
            transfer_id=f"{self.venue}-t{number}",
            strategy_id=self.strategy(strategy),
            venue=self.venue,
            asset=asset,
            amount=None if amount is None else Decimal(amount),
            percent=None if percent is None else Decimal(percent),
            prices={asset: Decimal(price) for asset, price in prices},
            quote="USDT",
            fills_required=fills_required,
        )


def meta_of(body: Body) -> Meta:
    name = body.transfer_id if isinstance(body, Transfer) else ""
    if isinstance(body, OrderFilled):
        name = f"fill-{body.venue}-{body.trade_id}"
    elif isinstance(body, OrderChanged):
        name = f"order-{body.client_order_id}-{body.version}"
    elif isinstance(body, DepositObserved):
        name = f"deposit-{body.venue}-{body.deposit_id}"
    elif isinstance(body, BalanceDiffered):
        name = f"difference-{body.venue}-{body.difference_id}"
    elif isinstance(body, AcceptSuspense):
        name = f"accept-{body.venue}-{body.asset}-{body.amount}"
    elif isinstance(body, SweepDust):
        name = f"sweep-{body.venue}-{body.asset}-{body.amount}"
    return Meta(f"message-{name}", "test", RECEIVED, f"story-{name}", "")


def request_of(body: Body) -> Request:
    return Request(body, meta_of(body))
