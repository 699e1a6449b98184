"""What the venue itself says of an account, beside what executor and ledger have in their books: to the last digit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import asyncpg

from tests.chaos.deaths.laws import Intent, Terms, Trade, broken, position
from tests.services.order_executor.rig import Exchange

D = Decimal
PAGE = 1000

_INTENTS = (
    "SELECT client_order_id, strategy_id, round, asset, side, quantity, limit_price, filled_quantity, state "
    "FROM executor.orders WHERE account = 'paper'"
)
_FILLS = (
    "SELECT f.trade_id, f.client_order_id, o.asset, o.side, f.quantity, f.quote_quantity, f.fee, f.fee_asset "
    "FROM executor.fills f JOIN executor.orders o USING (client_order_id) WHERE f.venue = 'paper'"
)
_POSTED = (
    "SELECT request ->> 'trade_id' AS trade_id, count(*) AS times FROM ledger.transactions "
    "WHERE kind = 'fill' AND venue = 'paper' GROUP BY 1"
)
_TOLD = (
    "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'trade_id' AS trade_id, count(*) AS times FROM executor.outbox "
    "WHERE subject = 'orders.' || $1 || '.filled' GROUP BY 1"
)
_IN_THE_BOOKS = (
    "SELECT b.asset, sum(b.amount) AS amount FROM ledger.balances b WHERE b.account IN "
    "('wallet:paper', 'dust:paper', 'suspense:paper') OR b.account IN "
    "(SELECT 'strategy:' || strategy_id FROM ledger.strategies WHERE venue = 'paper') "
    "GROUP BY b.asset HAVING sum(b.amount) <> 0"
)
_HELD = "SELECT asset, amount FROM ledger.balances WHERE account = 'strategy:' || $1 AND amount <> 0"
_NEVER_THERE = frozenset({"intended", "withheld", "absent", "rejected"})


class VenueAccount:
    """Orders and trades of one account, each read once, and the market it trades in."""

    def __init__(self, exchange: Exchange, assets: Iterable[str]) -> None:
        self.market: dict[str, Terms] = {}
        self.orders: dict[int, dict[str, Any]] = {}
        self.trades: dict[str, Trade] = {}
        self._exchange = exchange
        self._newest = {(asset, what): 0 for asset in assets for what in ("order", "trade")}
        self._venue: Any = None

    async def open(self) -> None:
        self._venue = self._exchange.venue()
        listed = await self._exchange.call("GET", "/api/v3/exchangeInfo")
        filters = {
            row["baseAsset"]: {one["filterType"]: one for one in row["filters"]}
            for row in listed["symbols"]
            if row["quoteAsset"] == "USDT"
        }
        quotes = await self._exchange.quotes()
        for asset in sorted({asset for asset, _ in self._newest}):
            fees = await self._venue._exchange.private_get_account_commission({"symbol": f"{asset}USDT"})
            self.market[asset] = Terms(
                bid=D(quotes[asset][0]),
                ask=D(quotes[asset][1]),
                lot=D(filters[asset]["LOT_SIZE"]["stepSize"]),
                tick=D(filters[asset]["PRICE_FILTER"]["tickSize"]),
                fee=D(fees["standardCommission"]["taker"]),
            )

    async def close(self) -> None:
        if self._venue is not None:
            await self._venue.close()

    async def look(self) -> None:
        """Read what has come since the last look."""
        api = self._venue._exchange
        for asset in sorted({asset for asset, _ in self._newest}):
            symbol = f"{asset}USDT"
            for row in await self._further(api.private_get_allorders, asset, "order", "orderId"):
                self.orders[int(row["orderId"])] = row
            for row in await self._further(api.private_get_mytrades, asset, "trade", "id"):
                trade = Trade(
                    trade_id=f"{symbol}:{row['id']}",
                    client_order_id=self.orders[int(row["orderId"])]["clientOrderId"],
                    asset=asset,
                    side="BUY" if str(row["isBuyer"]).lower() == "true" else "SELL",
                    quantity=D(row["qty"]),
                    money=D(row["quoteQty"]),
                    fee=D(row["commission"]),
                    fee_asset=row["commissionAsset"],
                )
                assert trade.trade_id not in self.trades, trade
                self.trades[trade.trade_id] = trade

    async def _further(self, call: Any, asset: str, what: str, name: str) -> list[dict[str, Any]]:
        first = self._newest[asset, what] + 1
        parameter = "orderId" if what == "order" else "fromId"
        rows: list[dict[str, Any]] = await call({"symbol": f"{asset}USDT", parameter: first, "limit": PAGE})
        assert len(rows) < PAGE, "there is more than was read"
        self._newest[asset, what] = max((int(row[name]) for row in rows), default=first - 1)
        return rows


class Books:
    """What a database of executor and ledger says of the account ``paper``."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def unlike(self, venue: VenueAccount, exchange: Exchange, sent: Iterable[str]) -> str:
        """Where the books are not as the venue is; "" nowhere. ``sent``: the bodies of all orders sent there."""
        await venue.look()
        intents = {row["client_order_id"]: row for row in await self._pool.fetch(_INTENTS)}
        names = Counter(row["clientOrderId"] for row in venue.orders.values())
        posts = Counter(parse_qs(body)["newClientOrderId"][0] for body in sent)
        booked = {row["trade_id"]: Trade(*row.values()) for row in await self._pool.fetch(_FILLS)}
        posted = {row["trade_id"]: row["times"] for row in await self._pool.fetch(_POSTED)}
        in_books = {row["asset"]: row["amount"] for row in await self._pool.fetch(_IN_THE_BOOKS)}
        findings = {
            "orders placed more than once": [name for name, times in names.items() if times != 1],
            "orders sent more than once": [name for name, times in posts.items() if times != 1],
            "orders nobody intended": [name for name in names if name not in intents],
            "orders at the venue that the executor takes for absent": [
                name for name, row in intents.items() if name in names and row["state"] in _NEVER_THERE
            ],
            "orders that are not at the venue": [
                name for name, row in intents.items() if name not in names and row["state"] not in _NEVER_THERE
            ],
            "fills booked otherwise than traded": unequal(booked, venue.trades),
            "fills the ledger has not posted once": unequal(posted, dict.fromkeys(venue.trades, 1)),
            "balances in the ledger and at the venue": unequal(in_books, await exchange.balances()),
        }
        return "; ".join(f"{what}: {found}" for what, found in findings.items() if found)

    async def broken_by(self, venue: VenueAccount, strategy_id: str, funded: Mapping[str, Decimal]) -> str:
        """What is wrong with the one plan of a strategy that was given ``funded``; "" nothing."""
        intents = await self.intents(strategy_id)
        names = {one.client_order_id for one in intents}
        trades = [trade for trade in venue.trades.values() if trade.client_order_id in names]
        held = {row["asset"]: row["amount"] for row in await self._pool.fetch(_HELD, strategy_id)}
        if apart := unequal(held, position(funded, trades)):
            return f"the strategy's holdings in the ledger and by the venue's trades: {apart}"
        told = {row["trade_id"]: row["times"] for row in await self._pool.fetch(_TOLD, strategy_id)}
        if apart := unequal(told, {trade.trade_id: 1 for trade in trades}):
            return f"fills not told once: {apart}"
        return broken(intents, trades, funded, venue.market)

    async def intents(self, strategy_id: str) -> list[Intent]:
        """The orders of a strategy, in the order of their rounds."""
        rows = await self._pool.fetch(f"{_INTENTS} AND strategy_id = $1 ORDER BY round, asset", strategy_id)
        return [
            Intent(
                client_order_id=row["client_order_id"],
                round=row["round"],
                asset=row["asset"],
                side=row["side"],
                quantity=row["quantity"],
                limit=row["limit_price"],
                filled=row["filled_quantity"],
            )
            for row in rows
        ]


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where two tables differ, with what each of them says."""
    return {
        name: (one.get(name), other.get(name)) for name in sorted({*one, *other}) if one.get(name) != other.get(name)
    }
