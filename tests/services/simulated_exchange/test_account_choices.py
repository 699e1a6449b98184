"""What an account's owner may do beside trading: pay fees in a third asset, and take money elsewhere."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.services.simulated_exchange.running import Running, serving, write_prices

D = Decimal
ROWS = [("2024-01-01", "10000", "200"), ("2024-01-02", "10100", "210")]


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Running]:
    prices = write_prices(tmp_path / "prices.csv", ("date", "BTC", "BNB"), ROWS)
    fields = {"exchange_prices_file": str(prices), "exchange_depth_usdt": 1_000, "exchange_depth_levels": 20}
    async with serving(tmp_path / "state", **fields) as running:
        yield running


async def balances(exchange: Running) -> dict[str, Decimal]:
    (account,) = await exchange.control("accounts")
    return {asset: D(row["free"]) + D(row["locked"]) for asset, row in account["balances"].items()}  # type: ignore[index]


async def test_discount_when_the_asset_runs_out_mid_order_takes_the_rest_from_what_is_received(
    exchange: Running,
) -> None:
    await exchange.deposit("USDT", "10000")
    await exchange.deposit("BNB", "0.01")
    answer = await exchange.control("accounts/discount", {"enabled": True})
    assert (answer["enabled"], answer["asset"]) == (True, "BNB")
    client = exchange.ccxt()
    try:
        order = await client.private_post_order(
            {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.45", "newOrderRespType": "FULL"}
        )
        fills, trades = order["fills"], await client.private_get_mytrades({"symbol": "BTCUSDT"})
        commission = await client.private_get_account_commission({"symbol": "BTCUSDT"})
    finally:
        await client.close()
    assert commission["discount"]["enabledForAccount"] is True
    assert [fill["commissionAsset"] for fill in fills] == ["BNB", "BNB", "BTC", "BTC", "BNB"], "the last is small"
    assert [trade["commissionAsset"] for trade in trades] == [fill["commissionAsset"] for fill in fills]
    # 1,000 USDT a level x 10 bps x 75 % / 200 = 0.00375 BNB.
    assert all(D("0.0037") < D(fill["commission"]) <= D("0.00375") for fill in fills[:2])
    paid = {asset: sum(D(f["commission"]) for f in fills if f["commissionAsset"] == asset) for asset in ("BNB", "BTC")}
    spent = sum(D(fill["price"]) * D(fill["qty"]) for fill in fills)
    assert await balances(exchange) == {
        "BNB": D("0.01") - paid["BNB"],
        "BTC": D("0.45") - paid["BTC"],
        "USDT": 10_000 - spent,
    }


async def test_discount_when_refused_or_repeated_changes_nothing_more(exchange: Running) -> None:
    await exchange.control("accounts/discount", {"enabled": "yes"}, status=422)
    for _ in range(2):
        assert (await exchange.control("accounts/discount", {"enabled": False}))["enabled"] is False


async def test_withdrawal_when_made_twice_leaves_once_and_is_in_the_history(exchange: Running) -> None:
    await exchange.deposit("USDT", "1000")
    for _ in range(2):
        answer = await exchange.control("withdrawals", {"id": "w1", "asset": "USDT", "amount": "400"})
        assert answer["amount"] == "-400"
    assert await balances(exchange) == {"USDT": D(600)}
    refused = await exchange.control("withdrawals", {"id": "w2", "asset": "USDT", "amount": "601"}, status=422)
    assert refused["error"]["problems"][0]["field"] == "amount"
    client = exchange.ccxt()
    try:
        history = await client.sapi_get_capital_withdraw_history({})
        deposits = await client.sapi_get_capital_deposit_hisrec({})
    finally:
        await client.close()
    assert [(row["id"], row["amount"], row["coin"]) for row in history] == [("w1", "400", "USDT")]
    assert [row["amount"] for row in deposits] == ["1000"]


async def test_choices_when_the_venue_is_started_again_are_kept(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as exchange:
        await exchange.deposit("USDT", "1000")
        await exchange.control("accounts/discount", {"enabled": True})
        await exchange.control("withdrawals", {"id": "w1", "asset": "USDT", "amount": "400"})
    async with serving(tmp_path / "state") as exchange:
        (account,) = exchange.app.venue.accounts.values()
        assert account.takes_discount
        assert await balances(exchange) == {"USDT": D(600)}
