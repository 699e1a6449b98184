"""The lines an auditor gets a venue's trades with, as the auditor's page has them, on the simulated exchange."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy.audit.books import Fill, units_of
from deploy.audit.reading import trades_in
from tests.repository.checks import ROOT
from tests.services.simulated_exchange.running import Running


def documented() -> Any:
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "deploy/audit/README.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(next(block for block in blocks if "write_trades" in block), found)  # noqa: S102 - the text of our own page
    return found["write_trades"]


@pytest.fixture
async def client(exchange: Running) -> AsyncIterator[Any]:
    await exchange.deposit("USDT", "10000")
    client = exchange.ccxt()
    yield client
    await client.close()


async def test_documented_lines_when_run_get_every_trade_to_the_last_digit(
    exchange: Running, client: Any, tmp_path: Path
) -> None:
    for number in range(7):
        await client.create_order("BTC/USDT", "market", "buy" if number != 4 else "sell", 0.01)
        if number in (1, 4):
            await exchange.advance()
    await client.load_markets(True)
    await client.create_order("ETH/USDT", "market", "buy", 0.1)
    asked = {symbol: await client.fetch_my_trades(symbol) for symbol in ("BTC/USDT", "ETH/USDT")}
    file = tmp_path / "trades.jsonl"
    await documented()(client, list(asked), str(file), page=4)

    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["id"] for one in told] == [one["id"] for trades in asked.values() for one in trades]
    assert all(type(one[name]) is str for one in told for name in ("amount", "cost"))
    listed = trades_in(file, "paper")
    for one in told:
        base, quote = one["symbol"].split("/")
        amounts = (units_of(one["amount"]), units_of(one["cost"]), units_of(one["fee"]["cost"]))
        listed.compare(
            Fill(f"{base}{quote}:{one['id']}", "paper", one["side"], base, quote, *amounts, one["fee"]["currency"])
        )
    assert list(listed.missing()) == []


async def test_documented_lines_when_a_page_has_one_time_only_say_so(
    exchange: Running, client: Any, tmp_path: Path
) -> None:
    del exchange
    for _ in range(3):
        await client.create_order("BTC/USDT", "market", "buy", 0.01)
    with pytest.raises(RuntimeError, match="choose a larger page"):
        await documented()(client, ["BTC/USDT"], str(tmp_path / "trades.jsonl"), page=2)
