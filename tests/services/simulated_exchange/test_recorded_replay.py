"""A replay of eight recorded years, listings, crash and all, in one go."""

from decimal import Decimal
from pathlib import Path

from services.simulated_exchange.markets.files import load_prices
from tests.services.simulated_exchange.running import real_data, serving
from tests.services.simulated_exchange.signed import call, signed

D = Decimal


async def test_recorded_years_when_replayed_tell_every_price_and_fill_orders_in_time(tmp_path: Path) -> None:
    path = real_data("daily/binance_daily_close_2018-2026.csv")
    table = load_prices(path)
    crash = table.row_at(1_584_057_600_000)  # 2020-03-13
    async with serving(tmp_path, exchange_prices_file=str(path)) as exchange:
        await exchange.deposit("USDT", "100000")
        _, info = await call(exchange, "GET", "/api/v3/exchangeInfo")
        assert [one["baseAsset"] for one in info["symbols"]] == ["BTC", "ETH", "BNB", "LTC"]
        await exchange.advance(crash - 2)
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "6000"}
        _, placed = await call(exchange, "POST", "/api/v3/order", signed(order | {"quantity": "1"}))
        assert placed["status"] == "NEW"
        await exchange.advance(2)
        _, trades = await call(exchange, "GET", "/api/v3/myTrades", signed({"symbol": "BTCUSDT"}))
        assert [(trade["price"], trade["qty"], trade["isMaker"]) for trade in trades] == [
            ("6000.00000000", "1.00000000", True)
        ]
        assert trades[0]["time"] == table.times_ms[crash - 1]
        market = await exchange.advance(len(table.times_ms))
        assert (market["ended"], market["row"], market["ticks"]) == (True, 2923, 31670)
        _, tickers = await call(exchange, "GET", "/api/v3/ticker/price")
        last = {one["symbol"].removesuffix("USDT"): D(one["price"]) for one in tickers}
        assert last == dict(zip(table.assets, table.prices[-1], strict=True))
        _, candles = await call(exchange, "GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1M&limit=1000")
        assert len(candles) == 8 * 12 + 1
