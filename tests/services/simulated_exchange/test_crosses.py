"""Pairs that are not against USDT: priced as the two prices say, traded and charged like any other."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

from services.simulated_exchange.app import build_app
from services.simulated_exchange.markets.crosses import WithCrosses, parse_pairs
from services.simulated_exchange.markets.files import load_prices
from shared.core.errors import Refused
from shared.core.money import MONEY_CONTEXT
from tests.services.simulated_exchange.running import Running, serving, settings, write_prices

D = Decimal
ROWS = [
    ("2024-01-01", "50000", "2500", "200"),
    ("2024-01-02", "50000", "", "200"),
    ("2024-01-03", "40000", "2800", "200"),
]
PAIRS = {"exchange_cross_pairs": "ETH/BTC,BTC/ETH", "exchange_cross_spread_bps": 4}


def fields(folder: Path, **more: Any) -> dict[str, Any]:
    prices = write_prices(folder / "prices.csv", ("date", "BTC", "ETH", "BNB"), ROWS)
    return {"exchange_prices_file": str(prices), **PAIRS, **more}


async def quote_of(client: Any, symbol: str) -> tuple[Decimal, Decimal]:
    row = await client.public_get_ticker_bookticker({"symbol": symbol})
    return D(row["bidPrice"]), D(row["askPrice"])


async def balances(exchange: Running) -> dict[str, Decimal]:
    (account,) = await exchange.control("accounts")
    found = {asset: D(row["free"]) + D(row["locked"]) for asset, row in account["balances"].items()}  # type: ignore[index]
    return {asset: amount for asset, amount in found.items() if amount}


async def test_pair_when_listed_follows_the_two_prices_and_is_described_like_any_other(tmp_path: Path) -> None:
    async with serving(tmp_path / "state", **fields(tmp_path)) as exchange:
        client = exchange.ccxt()
        try:
            markets = await client.load_markets()
            assert await quote_of(client, "ETHBTC") == (D("0.04999"), D("0.05001"))
            assert await quote_of(client, "BTCETH") == (D("19.996"), D("20.004"))
            await exchange.advance(2)
            assert await quote_of(client, "ETHBTC") == (D("0.069986"), D("0.070014"))
            candles = await client.fetch_ohlcv("ETH/BTC", "1d")
            depth = await client.fetch_order_book("ETH/BTC")
        finally:
            await client.close()
    assert [(candle[1], candle[4]) for candle in candles] == [(0.05, 0.05), (0.05, 0.07)]
    assert {"BTC/USDT", "ETH/USDT", "ETH/BTC", "BTC/ETH"} <= set(markets)
    info = {each["filterType"]: each for each in markets["ETH/BTC"]["info"]["filters"]}
    assert D(info["PRICE_FILTER"]["tickSize"]) == D("0.000001")
    assert D(info["LOT_SIZE"]["stepSize"]) == D("0.0001")
    assert D(info["NOTIONAL"]["minNotional"]) == D("0.0001")
    level = D(str(depth["asks"][0][0])) * D(str(depth["asks"][0][1]))
    assert D("1") < level < D("1.2"), "50,000 USDT in BTC at its middle price"


async def test_order_when_placed_in_the_pair_moves_both_assets_and_pays_its_fee(tmp_path: Path) -> None:
    async with serving(tmp_path / "state", **fields(tmp_path)) as exchange:
        await exchange.deposit("BTC", "1")
        await exchange.deposit("BNB", "1")
        client = exchange.ccxt()
        try:
            order = {"symbol": "ETHBTC", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "quantity": "2"}
            bought = await client.private_post_order({**order, "price": "0.0501", "newOrderRespType": "FULL"})
            assert (bought["status"], bought["fills"][0]["commissionAsset"]) == ("FILLED", "ETH")
            assert await balances(exchange) == {"BTC": D("0.89998"), "ETH": D("1.998"), "BNB": D(1)}
            await exchange.control("accounts/discount", {"enabled": True})
            sale = {**order, "side": "SELL", "quantity": "1", "price": "0.0499", "newOrderRespType": "FULL"}
            sold = await client.private_post_order(sale)
            with pytest.raises(ccxt.InsufficientFunds):
                await client.private_post_order({**order, "quantity": "30", "price": "0.0501"})
            with pytest.raises(ccxt.BadRequest, match="NOTIONAL"):
                await client.private_post_order({**order, "quantity": "0.001", "price": "0.05"})
        finally:
            await client.close()
    # A thousandth of 0.04999 BTC at 250 BNB each, less a quarter.
    assert (sold["fills"][0]["commissionAsset"], D(sold["fills"][0]["commission"])) == ("BNB", D("0.00937312"))


async def test_pair_when_the_exchange_starts_again_stands_where_it_stood(tmp_path: Path) -> None:
    async with serving(tmp_path / "state", **fields(tmp_path)) as exchange:
        await exchange.deposit("BTC", "1")
        client = exchange.ccxt()
        try:
            resting = {"symbol": "ETHBTC", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
            await client.private_post_order({**resting, "price": "0.04"})
        finally:
            await client.close()
    async with serving(tmp_path / "state", **fields(tmp_path)) as exchange:
        client = exchange.ccxt()
        try:
            (order,) = await client.private_get_openorders({"symbol": "ETHBTC"})
            assert (order["price"], order["status"]) == ("0.04000000", "NEW")
            assert await quote_of(client, "ETHBTC") == (D("0.04999"), D("0.05001"))
        finally:
            await client.close()
    # Without its pairs it is another market: an order in one of them would have no place.
    with pytest.raises(Refused, match="folder of the same market"):
        build_app(settings(tmp_path / "state", **fields(tmp_path, exchange_cross_pairs="")))


@pytest.mark.parametrize("text", ["ETHBTC", "ETH/BTC/SOL", "ETH/", "/BTC", "ETH/USDT", "USDT/ETH", "ETH-BTC"])
def test_pairs_when_they_are_no_pairs_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a pair of two assets"):
        parse_pairs(f"BTC/ETH, {text}")


@pytest.mark.parametrize("pair", [("ETH", "ETH"), ("ETH", "XRP"), ("XRP", "BTC")])
def test_pairs_when_the_market_cannot_price_them_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    source = load_prices(write_prices(tmp_path / "prices.csv", ("date", "BTC", "ETH", "BNB"), ROWS))
    with pytest.raises(Refused, match="cannot be priced here"):
        WithCrosses(source, [pair])


def test_source_when_an_asset_has_no_price_in_a_row_has_none_of_its_pairs(tmp_path: Path) -> None:
    source = load_prices(write_prices(tmp_path / "prices.csv", ("date", "BTC", "ETH", "BNB"), ROWS))
    crossed = WithCrosses(source, parse_pairs("ETH/BTC, BNB/ETH ,ETH/BTC"))
    assert crossed.assets == ("BTC", "ETH", "BNB", "ETH/BTC", "BNB/ETH")
    assert [[crossed.price(row, column) for column in (1, 3, 4)] for row in range(3)] == [
        [D(2500), D("0.05"), D("0.08")],
        [None, None, None],
        [D(2800), D("0.07"), MONEY_CONTEXT.divide(D(200), D(2800))],
    ]
    wide = crossed.ranges()["ETH/BTC"]
    assert (wide.low, wide.high) == (D("0.05"), D("0.07"))
