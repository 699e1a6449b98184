"""Account, own trades, fees, wallet history and listen keys (Binance spot "Account", wallet "Capital")."""

from itertools import islice

from services.simulated_exchange.accounts import Balance
from services.simulated_exchange.binance.endpoints import Call, Endpoint, Security
from services.simulated_exchange.binance.errors import BinanceError
from services.simulated_exchange.binance.market_data import found, once_found
from services.simulated_exchange.binance.numbers import rate, text
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.markets.instruments import QUOTE
from services.simulated_exchange.orders import Deposit, Trade
from services.simulated_exchange.venue import Venue
from shared.core.money import ZERO, plain

_NO_RATES = {"maker": "0.00000000", "taker": "0.00000000", "buyer": "0.00000000", "seller": "0.00000000"}
_DEPOSITED = "1"
_NORMAL = {"status": 0, "msg": "normal"}
STATUS_PATH = "/sapi/v1/system/status"


def assets(venue: Venue) -> list[str]:
    """USDT and every asset with a listed pair."""
    return list(dict.fromkeys([QUOTE, *(listing.instrument.base for listing in venue.listed())]))


def _rates(venue: Venue) -> dict[str, str]:
    fees = venue.rules.fees
    return _NO_RATES | {"maker": rate(fees.maker_bps), "taker": rate(fees.taker_bps)}


def show(call: Call) -> object:
    """GET /api/v3/account."""
    account, fees = call.account, call.venue.rules.fees
    omit_zero = call.parameters.text("omitZeroBalances") == "true"
    held = call.reads.balances(account)
    names = list(dict.fromkeys([*assets(call.venue), *held]))
    balances = [
        {"asset": name, "free": text(balance.free), "locked": text(balance.locked)}
        for name in names
        if (balance := held.get(name) or Balance()) and not (omit_zero and balance.free == balance.locked == 0)
    ]
    return {
        "makerCommission": int(fees.maker_bps),
        "takerCommission": int(fees.taker_bps),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(call.venue),
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": call.venue.market_ms,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": account.account_id,
    }


def commission(call: Call) -> object:
    """GET /api/v3/account/commission."""
    return {
        "symbol": found(call, call.parameters.symbol()).instrument.symbol,
        "standardCommission": _rates(call.venue),
        "specialCommission": _NO_RATES,
        "taxCommission": _NO_RATES,
        "discount": {
            "enabledForAccount": call.account.takes_discount,
            "enabledForSymbol": True,
            "discountAsset": call.venue.rules.fees.discount_asset,
            "discount": plain(call.venue.rules.fees.discount_pct / 100),
        },
    }


def my_trades(call: Call) -> object:
    """GET /api/v3/myTrades: of an order, from a trade id on, within times, or the latest; oldest first."""
    parameters = call.parameters
    symbol = once_found(call, parameters.symbol()).instrument.symbol
    limit = parameters.limit(500, 1000)
    from_id, order_id = parameters.integer("fromId"), parameters.integer("orderId")
    start, end = parameters.integer("startTime"), parameters.integer("endTime")
    oldest_first = from_id is not None or start is not None
    trades = call.reads.trades(call.account, symbol, from_id or 0 if oldest_first else None)
    kept = (
        trade
        for trade in trades
        if (order_id is None or trade.order_id == order_id)
        and (start is None or trade.time_ms >= start)
        and (end is None or trade.time_ms <= end)
    )
    chosen = list(islice(kept, limit))
    return [_trade(trade) for trade in (chosen if oldest_first else reversed(chosen))]


def _trade(trade: Trade) -> dict[str, object]:
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": text(trade.price),
        "qty": text(trade.quantity),
        "quoteQty": text(trade.quote_quantity),
        "commission": text(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.time_ms,
        "isBuyer": trade.side == "BUY",
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


def trade_fees(call: Call) -> object:
    """GET /sapi/v1/asset/tradeFee."""
    fees = call.venue.rules.fees
    one = call.parameters.text("symbol")
    listings = [found(call, one)] if one else list(call.venue.listed())
    return [
        {
            "symbol": listing.instrument.symbol,
            "makerCommission": plain(fees.maker_bps / 10_000),
            "takerCommission": plain(fees.taker_bps / 10_000),
        }
        for listing in listings
    ]


def all_coins(call: Call) -> object:
    """GET /sapi/v1/capital/config/getall: every asset with one network, named like the asset; no withdrawals."""
    held = call.reads.balances(call.account)
    return [_coin(name, held.get(name) or Balance()) for name in assets(call.venue)]


def _coin(asset: str, balance: Balance) -> dict[str, object]:
    zero = text(ZERO)
    network = {
        "network": asset,
        "coin": asset,
        "name": asset,
        "isDefault": True,
        "depositEnable": True,
        "withdrawEnable": False,
        "depositDust": "0.00000001",
        "withdrawFee": "0",
        "withdrawMin": "0",
        "withdrawMax": "0",
        "withdrawIntegerMultiple": "0.00000001",
        "minConfirm": 1,
        "unLockConfirm": 0,
        "sameAddress": False,
        "busy": False,
    }
    return {
        "coin": asset,
        "name": asset,
        "free": text(balance.free),
        "locked": text(balance.locked),
        "freeze": zero,
        "withdrawing": zero,
        "ipoing": zero,
        "ipoable": zero,
        "storage": zero,
        "isLegalMoney": False,
        "trading": True,
        "depositAllEnable": True,
        "withdrawAllEnable": False,
        "networkList": [network],
    }


def deposit_history(call: Call) -> object:
    """GET /sapi/v1/capital/deposit/hisrec: newest first; every deposit is final at once."""
    parameters = call.parameters
    coin, transaction = parameters.text("coin"), parameters.text("txId")
    start, end = parameters.integer("startTime"), parameters.integer("endTime")
    offset, limit = parameters.integer("offset") or 0, parameters.limit(1000, 1000)
    if parameters.text("status") not in {None, _DEPOSITED}:
        return []
    kept = [
        deposit
        for deposit in call.venue.deposits(call.account)
        if deposit.amount > 0
        and (coin is None or deposit.asset == coin)
        and (transaction is None or deposit.deposit_id == transaction)
        and (start is None or deposit.time_ms >= start)
        and (end is None or deposit.time_ms <= end)
    ]
    return [_deposit(deposit) for deposit in kept[offset : offset + limit]]


def _deposit(deposit: Deposit) -> dict[str, object]:
    return {
        "id": deposit.deposit_id,
        "amount": plain(deposit.amount),
        "coin": deposit.asset,
        "network": deposit.asset,
        "status": 1,
        "address": "paper",
        "addressTag": "",
        "txId": deposit.deposit_id,
        "insertTime": deposit.time_ms,
        "completeTime": deposit.time_ms,
        "transferType": 0,
        "confirmTimes": "1/1",
        "unlockConfirm": 0,
        "walletType": 0,
    }


def withdrawal_history(call: Call) -> object:
    """GET /sapi/v1/capital/withdraw/history: newest first; every withdrawal is final at once."""
    coin = call.parameters.text("coin")
    return [
        {
            "id": deposit.deposit_id,
            "amount": plain(-deposit.amount),
            "transactionFee": "0",
            "coin": deposit.asset,
            "status": 6,
            "address": "paper",
            "txId": deposit.deposit_id,
            "applyTime": iso(deposit.time_ms)[:19].replace("T", " "),
            "network": deposit.asset,
            "transferType": 0,
        }
        for deposit in call.venue.deposits(call.account)
        if deposit.amount < 0 and coin in {None, deposit.asset}
    ]


def nothing(_call: Call) -> object:
    """An empty list: what the venue does not have (margin pairs)."""
    return []


def system_status(call: Call) -> object:
    """GET /sapi/v1/system/status: answered in maintenance too."""
    return {"status": 1, "msg": "system_maintenance"} if call.venue.conditions.maintenance else _NORMAL


def start_stream(call: Call) -> object:
    """POST /api/v3/userDataStream: the account's listen key."""
    return {"listenKey": call.account.listen_key}


def keep_stream(call: Call) -> object:
    """PUT and DELETE /api/v3/userDataStream: keys never expire, so there is nothing to do but check it (-1125)."""
    if call.parameters.required("listenKey") != call.account.listen_key:
        raise BinanceError(-1125, "This listenKey does not exist.")
    return {}


_SIGNED, _KEY = Security.SIGNED, Security.KEY
ACCOUNT_ENDPOINTS = (
    Endpoint("GET", "/api/v3/account", show, "account.status", _SIGNED, 20),
    Endpoint("GET", "/api/v3/account/commission", commission, "account.commission", _SIGNED, 20),
    Endpoint("GET", "/api/v3/myTrades", my_trades, "myTrades", _SIGNED, 20),
    Endpoint("POST", "/api/v3/userDataStream", start_stream, "userDataStream.start", _KEY, 2),
    Endpoint("PUT", "/api/v3/userDataStream", keep_stream, "userDataStream.ping", _KEY, 2),
    Endpoint("DELETE", "/api/v3/userDataStream", keep_stream, "userDataStream.stop", _KEY, 2),
    Endpoint("GET", STATUS_PATH, system_status),
    Endpoint("GET", "/sapi/v1/asset/tradeFee", trade_fees, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/capital/config/getall", all_coins, security=_SIGNED, weight=10),
    Endpoint("GET", "/sapi/v1/capital/deposit/hisrec", deposit_history, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/capital/withdraw/history", withdrawal_history, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/margin/allPairs", nothing, security=_KEY),
    Endpoint("GET", "/sapi/v1/margin/isolated/allPairs", nothing, security=_SIGNED),
)
