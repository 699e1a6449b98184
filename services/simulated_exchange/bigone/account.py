"""The viewer's accounts, deposits and withdrawals (open.bigone.com: "Accounts", "Deposits", "Withdrawals")."""

from services.simulated_exchange.bigone.calls import Call, Endpoint, Page, page
from services.simulated_exchange.bigone.errors import BigoneError, not_found
from services.simulated_exchange.bigone.market_data import gateway_name
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.markets.instruments import QUOTE
from services.simulated_exchange.orders import Deposit
from shared.core.money import ZERO, plain


def _names(call: Call) -> list[str]:
    return list(dict.fromkeys([QUOTE, *(listing.instrument.base for listing in call.desk.venue.listed())]))


def accounts(call: Call) -> object:
    """GET /viewer/accounts: ``balance`` is what is free and what is locked together."""
    held = call.desk.reads.balances(call.account)
    found = []
    for name in dict.fromkeys([*_names(call), *held]):
        balance = held.get(name)
        free, locked = (balance.free, balance.locked) if balance else (ZERO, ZERO)
        found.append({"asset_symbol": name, "balance": plain(free + locked), "locked_balance": plain(locked)})
    return found


def fund_accounts(call: Call) -> object:
    """GET /viewer/fund/accounts: there is nothing in the wallet beside the spot account."""
    return [{"asset_symbol": name, "balance": "0", "locked_balance": "0"} for name in _names(call)]


def address(call: Call) -> object:
    """GET /viewer/assets/{asset_symbol}/address."""
    symbol = call.text("asset_symbol")
    if symbol not in _names(call):
        raise not_found()
    return [{"id": 1, "chain": gateway_name(symbol), "value": "paper", "memo": ""}]


def deposits(call: Call) -> object:
    """GET /viewer/deposits: newest first; every deposit is final at once."""
    return _movements(call, withdrawals=False)


def withdrawals(call: Call) -> object:
    """GET /viewer/withdrawals: newest first; every withdrawal is final at once."""
    return _movements(call, withdrawals=True)


def _movements(call: Call, *, withdrawals: bool) -> Page:
    everything = call.desk.venue.deposits(call.account)
    asset = call.text("asset_symbol")
    # Numbered from the oldest on: a number never changes.
    numbered = [(len(everything) - place, deposit) for place, deposit in enumerate(everything)]
    kept = [
        (number, deposit)
        for number, deposit in numbered
        if (deposit.amount < 0) == withdrawals and asset in {"", deposit.asset}
    ]
    rows, token = page(call, kept, lambda row: row[0], 50, 200)
    return Page([_movement(number, deposit) for number, deposit in rows], token)


def _movement(number: int, deposit: Deposit) -> dict[str, object]:
    time = iso(deposit.time_ms)
    view: dict[str, object] = {
        "id": number,
        "asset_symbol": deposit.asset,
        "amount": plain(abs(deposit.amount)),
        "txid": deposit.deposit_id,
        "is_internal": False,
        "inserted_at": time,
    }
    if deposit.amount < 0:
        return view | {
            "customer_id": str(deposit.account_id),
            "state": "CONFIRMED",
            "completed_at": time,
            "target_address": "paper",
            "note": "",
        }
    return view | {"state": "WITHHOLD", "updated_at": time, "confirms": 100, "kind": "default", "memo": ""}


def forbidden(_call: Call) -> object:
    """POST /viewer/withdrawals and /viewer/transfer: no key may move money out."""
    raise BigoneError(10403, "Permission denied", 403)


ACCOUNT_ENDPOINTS = (
    Endpoint("GET", "/viewer/accounts", accounts),
    Endpoint("GET", "/viewer/fund/accounts", fund_accounts),
    Endpoint("GET", "/viewer/assets/{asset_symbol}/address", address),
    Endpoint("GET", "/viewer/deposits", deposits),
    Endpoint("GET", "/viewer/withdrawals", withdrawals),
    Endpoint("POST", "/viewer/withdrawals", forbidden),
    Endpoint("POST", "/viewer/transfer", forbidden),
)
