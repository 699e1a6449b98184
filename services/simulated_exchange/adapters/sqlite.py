"""The venue's durable state in one SQLite file (write-ahead log): written before anybody is told.

A killed process loses nothing that was committed. With ``synchronous=NORMAL`` a power cut may lose the last moments but
never the file's consistency. Amounts are text, exact; times are market milliseconds.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

from services.simulated_exchange.accounts import Account, Balance
from services.simulated_exchange.adapters.rows import (
    ORDER_COLUMNS,
    TRADE_COLUMNS,
    deposit_from,
    deposit_row,
    order_from,
    order_row,
    trade_from,
    trade_row,
)
from services.simulated_exchange.orders import Deposit, Order, Trade
from shared.core.errors import Refused, Stop
from shared.core.money import plain

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replay (
    only INTEGER PRIMARY KEY CHECK (only = 1), row INTEGER NOT NULL, ticks INTEGER NOT NULL,
    paused INTEGER NOT NULL, rows_per_second REAL NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoints (block INTEGER PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (
    account_id INTEGER PRIMARY KEY, api_key TEXT NOT NULL UNIQUE, api_secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS balances (
    account_id INTEGER NOT NULL, asset TEXT NOT NULL, free TEXT NOT NULL, locked TEXT NOT NULL,
    PRIMARY KEY (account_id, asset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    order_id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, symbol TEXT NOT NULL, client_order_id TEXT NOT NULL,
    side TEXT NOT NULL, order_type TEXT NOT NULL, time_in_force TEXT NOT NULL, price TEXT NOT NULL,
    quantity TEXT NOT NULL, quote_quantity TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
    status TEXT NOT NULL, executed TEXT NOT NULL, quote_executed TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_symbol ON orders (account_id, symbol, order_id);
CREATE INDEX IF NOT EXISTS orders_by_client ON orders (account_id, symbol, client_order_id, order_id);
CREATE INDEX IF NOT EXISTS orders_by_client_id ON orders (account_id, client_order_id, order_id);
CREATE INDEX IF NOT EXISTS orders_open ON orders (order_id) WHERE status IN ('NEW', 'PARTIALLY_FILLED');
CREATE TABLE IF NOT EXISTS trades (
    trade_id INTEGER NOT NULL, account_id INTEGER NOT NULL, symbol TEXT NOT NULL, order_id INTEGER NOT NULL,
    side TEXT NOT NULL, price TEXT NOT NULL, quantity TEXT NOT NULL, quote_quantity TEXT NOT NULL,
    commission TEXT NOT NULL, commission_asset TEXT NOT NULL, is_maker INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    PRIMARY KEY (symbol, trade_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trades_by_account ON trades (account_id, symbol, trade_id);
CREATE INDEX IF NOT EXISTS trades_by_order ON trades (order_id);
CREATE TABLE IF NOT EXISTS deposits (
    sequence INTEGER PRIMARY KEY, deposit_id TEXT NOT NULL UNIQUE, account_id INTEGER NOT NULL, asset TEXT NOT NULL,
    amount TEXT NOT NULL, time_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS discounts (account_id INTEGER PRIMARY KEY, taken INTEGER NOT NULL);
"""
_SCHEMA_VERSION = "1"


class Store:
    """All reads and writes of the file. One process at a time may hold it.

    Raises Refused when the file is held by another process or made by another version; Stop on any failing write.
    """

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        path = state_dir / "exchange.sqlite3"
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.2)
        try:
            # Exclusive: two venues on one file would both believe their own memory.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            allowed = "a folder that no other simulated exchange uses"
            raise Refused.one("state_dir", str(state_dir), allowed, f"cannot be opened ({error})") from None
        self.remember_once("schema", _SCHEMA_VERSION, "state_dir", "a folder of this version")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed at its end, or nothing. Raises Stop when the file cannot be written.

        The venue's memory may be ahead of the file after a failure, so the process must not go on.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except Exception as error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise Stop(f"venue state could not be saved: {error}") from error

    def remember_once(self, name: str, value: str, field: str, allowed: str) -> None:
        """Keep ``value`` under ``name``. Raises Refused when another value is kept there already."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
        (kept,) = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if kept != value:
            raise Refused.one(field, value, allowed, f"folder was made with another {name} ({kept})")

    def accounts(self) -> list[Account]:
        """All accounts with their balances."""
        found = {row[0]: Account(*row) for row in self._db.execute("SELECT * FROM accounts ORDER BY account_id")}
        for account_id, asset, free, locked in self._db.execute("SELECT * FROM balances"):
            found[account_id].balances[asset] = Balance(Decimal(free), Decimal(locked))
        for account_id, taken in self._db.execute("SELECT account_id, taken FROM discounts"):
            found[account_id].takes_discount = bool(taken)
        return list(found.values())

    def add_account(self, account: Account) -> None:
        """Insert an account."""
        row = (account.account_id, account.api_key, account.api_secret)
        self._db.execute("INSERT INTO accounts VALUES (?, ?, ?)", row)

    def save_discount(self, account: Account) -> None:
        """Keep whether an account takes the discount."""
        row = (account.account_id, int(account.takes_discount))
        self._db.execute("INSERT OR REPLACE INTO discounts VALUES (?, ?)", row)

    def save_balances(self, account: Account) -> None:
        """Write the touched balances of an account."""
        for asset in account.touched:
            balance = account.balances[asset]
            row = (account.account_id, asset, plain(balance.free), plain(balance.locked))
            self._db.execute("INSERT OR REPLACE INTO balances VALUES (?, ?, ?, ?)", row)
        account.touched.clear()

    def save_order(self, order: Order) -> None:
        """Insert or replace an order."""
        marks = ", ".join("?" * len(ORDER_COLUMNS))
        self._db.execute(f"INSERT OR REPLACE INTO orders VALUES ({marks})", order_row(order))  # noqa: S608

    def add_trade(self, trade: Trade) -> None:
        """Insert a trade. A trade id used before fails the transaction."""
        marks = ", ".join("?" * len(TRADE_COLUMNS))
        self._db.execute(f"INSERT INTO trades VALUES ({marks})", trade_row(trade))  # noqa: S608

    def add_deposit(self, deposit: Deposit) -> None:
        """Insert a deposit."""
        columns = "deposit_id, account_id, asset, amount, time_ms"
        self._db.execute(f"INSERT INTO deposits ({columns}) VALUES (?, ?, ?, ?, ?)", deposit_row(deposit))  # noqa: S608

    def find_deposit(self, deposit_id: str) -> Deposit | None:
        """The deposit of an id."""
        query = "SELECT deposit_id, account_id, asset, amount, time_ms FROM deposits WHERE deposit_id = ?"
        row = self._db.execute(query, (deposit_id,)).fetchone()
        return deposit_from(row) if row else None

    def deposits(self, account_id: int) -> list[Deposit]:
        """All deposits of an account, newest first."""
        query = """SELECT deposit_id, account_id, asset, amount, time_ms FROM deposits
                   WHERE account_id = ? ORDER BY sequence DESC"""
        return [deposit_from(row) for row in self._db.execute(query, (account_id,))]

    def open_orders(self) -> list[Order]:
        """Orders resting in the book, oldest first."""
        # Spelled out, not bound: only so can SQLite use the partial index of open orders.
        query = "SELECT * FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED') ORDER BY order_id"
        return [order_from(row) for row in self._db.execute(query)]

    def last_order_id(self) -> int:
        """Highest order id given so far, 0 when none."""
        (last,) = self._db.execute("SELECT max(order_id) FROM orders").fetchone()
        return last or 0

    def last_trade_ids(self) -> dict[str, int]:
        """Highest trade id by symbol."""
        return dict(self._db.execute("SELECT symbol, max(trade_id) FROM trades GROUP BY symbol"))

    def matching_orders(
        self, account_id: int, symbol: str, order_id: int | None, client_order_id: str
    ) -> Iterator[Order]:
        """The order with an id (``symbol`` "": in whichever pair), else all with a client order id, newest first."""
        if order_id is not None:
            query = "SELECT * FROM orders WHERE order_id = ? AND account_id = ? AND ? IN ('', symbol)"
            rows = self._db.execute(query, (order_id, account_id, symbol))
        else:
            query = """SELECT * FROM orders WHERE client_order_id = ? AND account_id = ? AND symbol = ?
                       ORDER BY order_id DESC"""
            rows = self._db.execute(query, (client_order_id, account_id, symbol))
        return (order_from(row) for row in rows)

    def latest_order(self, account_id: int, client_order_id: str) -> Order | None:
        """The newest order with a client order id, in whichever pair."""
        query = """SELECT * FROM orders INDEXED BY orders_by_client_id WHERE client_order_id = ? AND account_id = ?
                   ORDER BY order_id DESC LIMIT 1"""
        row = self._db.execute(query, (client_order_id, account_id)).fetchone()
        return order_from(row) if row else None

    def conditions(self) -> str:
        """The conditions last saved, as JSON; empty before the first time."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'conditions'").fetchone()
        return row[0] if row else ""

    def stopped_pairs(self) -> dict[str, int]:
        """Pairs that stand still, with the row of their last price."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'stopped'").fetchone()
        return json.loads(row[0]) if row else {}

    def save_conditions(self, conditions: str, stopped: Mapping[str, int]) -> None:
        """Keep the conditions, and the pairs that stand still because of them."""
        values = (("conditions", conditions), ("stopped", json.dumps(dict(stopped))))
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def orders(self, account_id: int, symbol: str) -> Iterator[Order]:
        """All orders of an account in a symbol, newest first."""
        query = "SELECT * FROM orders WHERE account_id = ? AND symbol = ? ORDER BY order_id DESC"
        return (order_from(row) for row in self._db.execute(query, (account_id, symbol)))

    def trades(self, account_id: int, symbol: str) -> Iterator[Trade]:
        """All trades of an account in a symbol, newest first."""
        query = "SELECT * FROM trades WHERE account_id = ? AND symbol = ? ORDER BY trade_id DESC"
        return (trade_from(row) for row in self._db.execute(query, (account_id, symbol)))

    def trades_from(self, account_id: int, symbol: str, trade_id: int) -> Iterator[Trade]:
        """Trades of an account in a symbol from a trade id on, oldest first."""
        query = "SELECT * FROM trades WHERE account_id = ? AND symbol = ? AND trade_id >= ? ORDER BY trade_id"
        return (trade_from(row) for row in self._db.execute(query, (account_id, symbol, trade_id)))

    def trades_of(self, order_id: int) -> list[Trade]:
        """Trades of one order, oldest first."""
        query = "SELECT * FROM trades WHERE order_id = ? ORDER BY trade_id"
        return [trade_from(row) for row in self._db.execute(query, (order_id,))]

    def replay(self) -> tuple[int, int, bool, float] | None:
        """Row, ticks so far, paused, rows per second; None before the first start."""
        row = self._db.execute("SELECT row, ticks, paused, rows_per_second FROM replay").fetchone()
        return (row[0], row[1], bool(row[2]), row[3]) if row else None

    def save_replay(self, row: int, ticks: int, *, paused: bool, rows_per_second: float) -> None:
        """Keep the position of the replay."""
        values = (row, ticks, int(paused), rows_per_second)
        self._db.execute("INSERT OR REPLACE INTO replay VALUES (1, ?, ?, ?, ?)", values)

    def checkpoints(self) -> MutableMapping[int, str]:
        """States of the synthetic market by block."""
        return _Checkpoints(self._db)


class _Checkpoints(MutableMapping[int, str]):
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __getitem__(self, block: int) -> str:
        row = self._db.execute("SELECT state FROM checkpoints WHERE block = ?", (block,)).fetchone()
        if row is None:
            raise KeyError(block)
        state: str = row[0]
        return state

    def __setitem__(self, block: int, state: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (block, state))

    def __delitem__(self, block: int) -> None:
        self._db.execute("DELETE FROM checkpoints WHERE block = ?", (block,))

    def __iter__(self) -> Iterator[int]:
        return (row[0] for row in self._db.execute("SELECT block FROM checkpoints ORDER BY block"))

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM checkpoints").fetchone()
        return int(count)
