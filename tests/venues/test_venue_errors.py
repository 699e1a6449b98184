"""What the errors of each venue lead to, read from real replies: refuse, retry, unknown, stop, slow down, banned."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from services.order_executor.adapters.ccxt_venue import CcxtVenue
from services.order_executor.adapters.dialect import OrderName
from services.order_executor.adapters.table import VENUE_DIALECTS
from services.order_executor.app import ccxt_venue
from services.order_executor.settings import Settings
from shared.core.errors import Refused, RetryLater, Stop
from shared.core.matching import Side
from shared.venues.capabilities import FeeAsset, MarketBuy, VenueError, Verdict
from shared.venues.dialects import DIALECTS, capabilities_of
from shared.venues.identity import id_at_venue
from shared.venues.port import NotSent, OrderRefused, OrderRequest, OutcomeUnknown
from tests.venues.loopback import LoopbackVenue
from tests.venues.subjects import FACES, PEM, SECRETS, access_to, adapter_of

REFUSE, RETRY, UNKNOWN = Verdict.REFUSE, Verdict.RETRY, Verdict.UNKNOWN
STOP, LIMITED, BANNED = Verdict.STOP, Verdict.RATE_LIMITED, Verdict.BANNED


def bigone(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def coinbase(error: str, reason: str = "", message: str = "") -> dict[str, Any]:
    inner = {"error": error, "message": message, "error_details": "", "preview_failure_reason": reason}
    return {"success": False, "error_response": inner, "order_configuration": {}}


def kraken(*errors: str) -> dict[str, Any]:
    return {"error": list(errors)}


def okx(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": []}


def okx_order(code: str, message: str) -> dict[str, Any]:
    return {"code": "1", "msg": "All operations failed", "data": [{"ordId": "", "sCode": code, "sMsg": message}]}


def bybit(code: int, message: str) -> dict[str, Any]:
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 1}


def kucoin(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message}


REPLIES: tuple[tuple[str, int, Any, Verdict], ...] = (
    ("bigone", 400, bigone(10014, "Insufficient funds"), REFUSE),
    ("bigone", 400, bigone(10007, "Amount's scale must greater than AssetPair's base scale"), REFUSE),
    ("bigone", 400, bigone(40605, "Price less than the minimum order price"), REFUSE),
    ("bigone", 400, bigone(60100, "Asset pair is suspended"), REFUSE),
    ("bigone", 400, bigone(54041, "duplicate client_order_id"), UNKNOWN),
    ("bigone", 400, bigone(10005, "Internal error"), UNKNOWN),
    ("bigone", 400, bigone(99999, "something new"), UNKNOWN),
    ("bigone", 400, bigone(40601, "resource is locked"), RETRY),
    ("bigone", 401, bigone(40004, "invalid jwt"), STOP),
    ("bigone", 403, bigone(10403, "Permission denied"), STOP),
    ("bigone", 429, bigone(10429, "Too many requests"), LIMITED),
    ("coinbase", 200, coinbase("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"), REFUSE),
    ("coinbase", 200, coinbase("UNKNOWN_FAILURE_REASON", "PREVIEW_INVALID_LIMIT_PRICE"), REFUSE),
    ("coinbase", 200, coinbase("UNKNOWN_FAILURE_REASON"), UNKNOWN),
    ("coinbase", 200, coinbase("SOMETHING_NEW"), UNKNOWN),
    ("coinbase", 200, {"success": True}, UNKNOWN),
    ("coinbase", 200, {"success": False}, UNKNOWN),
    ("coinbase", 400, {"error": "INVALID_ARGUMENT", "message": "invalid product_id"}, REFUSE),
    ("coinbase", 401, "Unauthorized\n", STOP),
    ("coinbase", 403, {"error": "PERMISSION_DENIED", "message": "Missing required scopes"}, STOP),
    ("coinbase", 429, {"error": "rate_limit_exceeded", "message": "too many requests"}, LIMITED),
    ("kraken", 200, kraken("EOrder:Insufficient funds"), REFUSE),
    ("kraken", 200, kraken("EGeneral:Invalid arguments:volume"), REFUSE),
    ("kraken", 200, kraken("WGeneral:Deprecated", "EOrder:Order minimum not met"), REFUSE),
    ("kraken", 200, kraken("EOrder:Invalid price:Invalid price argument"), REFUSE),
    ("kraken", 200, kraken("EService:Unavailable"), UNKNOWN),
    ("kraken", 200, kraken("EGeneral:Internal error"), UNKNOWN),
    ("kraken", 200, kraken("EOrder:Something new"), UNKNOWN),
    ("kraken", 200, kraken("EService:Deadline elapsed"), RETRY),
    ("kraken", 200, kraken("EAPI:Invalid nonce"), RETRY),
    ("kraken", 200, kraken("EService:Market in cancel_only mode"), RETRY),
    ("kraken", 200, kraken("EAPI:Invalid key"), STOP),
    ("kraken", 200, kraken("EGeneral:Permission denied"), STOP),
    ("kraken", 200, kraken("EAPI:Rate limit exceeded"), LIMITED),
    ("kraken", 200, kraken("EService: Throttled: 1767229200"), LIMITED),
    ("kraken", 200, kraken("EGeneral:Temporary lockout"), BANNED),
    ("okx", 200, okx_order("51008", "Order failed. Insufficient USDT balance in account."), REFUSE),
    ("okx", 200, okx_order("51121", "Order quantity must be a multiple of the lot size."), REFUSE),
    ("okx", 200, okx_order("51016", "Duplicated client order ID"), UNKNOWN),
    ("okx", 200, okx_order("51149", "Order timed out. Please try again."), UNKNOWN),
    ("okx", 200, okx("50004", "Endpoint request timeout"), UNKNOWN),
    ("okx", 200, okx("1", "Operation failed"), UNKNOWN),
    ("okx", 200, okx_order("51999", "something new"), UNKNOWN),
    ("okx", 401, okx("50102", "Timestamp request expired"), RETRY),
    ("okx", 200, okx("50036", "The expTime can't be earlier than the current system time"), RETRY),
    ("okx", 401, okx("50111", "Invalid OK-ACCESS-KEY"), STOP),
    ("okx", 401, okx("50113", "Invalid Sign"), STOP),
    ("okx", 429, okx("50011", "Too Many Requests"), LIMITED),
    ("okx", 200, okx("50061", "You've reached the maximum order rate limit for this account."), LIMITED),
    ("bybit", 200, bybit(170131, "Insufficient balance."), REFUSE),
    ("bybit", 200, bybit(170140, "Order value exceeded lower limit."), REFUSE),
    ("bybit", 200, bybit(170141, "Duplicate clientOrderId"), UNKNOWN),
    ("bybit", 200, bybit(10016, "Server error."), UNKNOWN),
    ("bybit", 200, bybit(170146, "Order creation timeout"), UNKNOWN),
    ("bybit", 200, bybit(999999, "something new"), UNKNOWN),
    ("bybit", 200, bybit(10002, "invalid request, please check your server timestamp"), RETRY),
    ("bybit", 200, bybit(10003, "API key is invalid."), STOP),
    ("bybit", 200, bybit(10006, "Too many visits. Exceeded the API Rate Limit."), LIMITED),
    ("bybit", 403, "<html>access too frequent</html>", BANNED),
    ("kucoin", 200, kucoin("200004", "Balance insufficient!"), REFUSE),
    ("kucoin", 200, kucoin("400100", "Order size increment invalid."), REFUSE),
    ("kucoin", 200, kucoin("400100", "clientOid duplicate"), UNKNOWN),
    ("kucoin", 200, kucoin("500000", "Internal Server Error"), UNKNOWN),
    ("kucoin", 200, kucoin("987654", "something new"), UNKNOWN),
    ("kucoin", 400, kucoin("400002", "KC-API-TIMESTAMP Invalid"), RETRY),
    ("kucoin", 400, kucoin("400003", "KC-API-KEY not exists"), STOP),
    ("kucoin", 400, kucoin("400006", "The requested ip address is not in the api whitelist"), STOP),
    ("kucoin", 429, kucoin("429000", "Too many requests"), LIMITED),
    ("kucoin", 403, kucoin("1015", "error code: 1015"), BANNED),
)


def outcome_of(error: BaseException | None) -> Verdict | None:
    """What an executor sees of an answer."""
    if isinstance(error, OutcomeUnknown):
        return UNKNOWN
    if isinstance(error, OrderRefused):
        return STOP if error.stop else RETRY if error.retry_after_s else REFUSE
    return None


ORDER = OrderRequest("tt0123456789abcdefghjkmnpqrs", "", Side.BUY, Decimal("0.001"), Decimal("60100.1"))
SILENT = frozenset({LIMITED, BANNED})


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[dict[str, LoopbackVenue]]:
    """Every venue on loopback."""
    made = {name: LoopbackVenue(face()) for name, face in FACES.items()}
    for server in made.values():
        await server.start()
    yield made
    for server in made.values():
        await server.stop()


async def placed(server: LoopbackVenue, venue: CcxtVenue) -> BaseException | None:
    """What placing an order comes to; None when it is taken."""
    try:
        await venue.place_order(replace(ORDER, symbol=server.face.symbol("BTC")), lambda: None)
    except (OutcomeUnknown, OrderRefused, NotSent) as error:
        return error
    return None


async def test_order_when_the_venue_answers_with_an_error_comes_to_what_its_table_says(
    servers: dict[str, LoopbackVenue],
) -> None:
    seen: dict[tuple[object, ...], object] = {}
    venues: dict[str, CcxtVenue] = {}
    for name, status, body, expected in REPLIES:
        server = servers[name]
        if name not in venues:
            venues[name] = adapter_of(server)
        venue = venues[name]
        server.errors.append((status, body))
        error = await placed(server, venue)
        wanted = RETRY if expected in SILENT else expected
        assert outcome_of(error) is wanted, (name, status, body, error)
        verdict = venue.capabilities.errors.verdict(VenueError(status, *_read(venue, body)))
        assert verdict is expected, (name, status, body)
        after = await placed(server, venue)
        if expected in SILENT:
            shortest = venue.capabilities.pause_s(expected)
            assert isinstance(after, NotSent), (name, body, "asked again though told not to")
            assert after.retry_after_s > min(shortest, 1.0) / 2
            assert venue.rates.silences.get_nowait() is not None
            await venues.pop(name).close()
        seen[name, expected] = error
    for venue in venues.values():
        await venue.close()
    assert all((name, verdict) in seen for name in FACES for verdict in (REFUSE, UNKNOWN, STOP, LIMITED))


def _read(venue: CcxtVenue, body: object) -> tuple[int | str | None, str]:
    return venue._dialect.read_error(body) or (None, str(body))


@pytest.mark.parametrize("name", ["bybit", "kraken", "kucoin", "okx"])
async def test_order_when_the_clocks_drift_apart_is_refused_once_and_the_clock_is_set(
    servers: dict[str, LoopbackVenue], name: str
) -> None:
    server = servers[name]
    server.books.deposit("first", server.face.quote, "10000")
    server.books.ahead_ms = 3_600_000
    venue = adapter_of(server)
    assert await placed(server, venue) is None, "an hour ahead from the start is measured"
    server.books.ahead_ms = 7_200_000
    error = await placed(server, venue)
    assert isinstance(error, OrderRefused)
    assert error.retry_after_s > 0
    assert await placed(server, venue) is None
    assert abs((venue._wire.now() - datetime.fromtimestamp(server.books.now_ms() / 1000, UTC)).total_seconds()) < 5
    await venue.close()


@pytest.mark.parametrize("name", sorted(FACES))
async def test_reads_when_the_key_is_wrong_stop(servers: dict[str, LoopbackVenue], name: str) -> None:
    server = servers[name]
    access = replace(access_to(name, server.url, server.face.quote), api_key="organizations/o/apiKeys/stranger")
    venue = CcxtVenue(access, capabilities_of(name))
    with pytest.raises(Stop):
        await venue.fetch_balances()
    await venue.close()


READS: tuple[Any, ...] = (None, [], {}, "", 0, "<html>", {"data": None}, {"result": {"list": [{}]}}, {"code": "0"})


@pytest.mark.parametrize("name", sorted(FACES))
async def test_reads_when_replies_make_no_sense_ask_to_retry(servers: dict[str, LoopbackVenue], name: str) -> None:
    server = servers[name]
    venue = adapter_of(server)
    await venue.fetch_balances()
    server.failing = server.asked[-1].call
    for nonsense in READS:
        server.errors.append((200, nonsense))
        with pytest.raises(RetryLater):
            await venue.fetch_balances()
    await venue.close()


CANARIES = ("canary-key", "canary-secret", "canary-phrase")


@pytest.mark.parametrize("name", sorted(VENUE_DIALECTS))
async def test_secrets_when_everything_is_logged_and_fails_are_never_shown(
    servers: dict[str, LoopbackVenue], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = servers[name].url if name in servers else "http://127.0.0.1:1"
    secret = PEM if name == "coinbase" else CANARIES[1]
    settings = Settings(  # type: ignore[call-arg] # the rest has defaults
        postgres_dsn="postgresql://nobody@127.0.0.1:1/none",
        venue_dialect=name,
        venue_rest_url=url,
        venue_api_key=CANARIES[0],
        venue_api_secret=secret.replace("\n", "\\n"),
        venue_api_passphrase=CANARIES[2],
    )
    venue = ccxt_venue(settings)
    assert isinstance(venue, CcxtVenue)
    shown = [repr(settings), repr(venue._access), repr(venue)]
    server = servers.get(name)
    if server is not None:
        server.books.deposit("first", server.face.quote, "10000")
        error = await placed(server, venue)
        shown.append(repr(error))
    for read in (venue.fetch_balances, venue.fetch_deposits, venue.fetch_instruments):
        try:
            await read()
        except (RetryLater, Stop) as failed:
            logging.getLogger("test").exception("what a service writes of it")
            shown += [repr(failed), repr(failed.__cause__)]
    await venue.close()
    shown.append(caplog.text)
    for canary in (*CANARIES, *(line for line in secret.splitlines() if line)):
        assert all(canary not in text for text in shown), canary


def test_venue_when_access_is_not_enough_is_refused_before_anything_is_sent() -> None:
    for name in sorted(DIALECTS):
        row, access = capabilities_of(name), access_to(name, "http://127.0.0.1:1", "USDT")
        if row.needs_passphrase:
            with pytest.raises(Refused, match="passphrase"):
                CcxtVenue(replace(access, api_passphrase=""), row)
        if not row.has_sandbox:
            with pytest.raises(Refused, match="test environment"):
                CcxtVenue(replace(access, sandbox=True), row)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_sandbox_when_asked_for_is_another_place_or_says_so_on_every_request(name: str) -> None:
    row = capabilities_of(name)
    if not row.has_sandbox:
        return
    live, test = (CcxtVenue(replace(access_to(name, "", "USDT"), sandbox=on), row) for on in (False, True))
    call = live._dialect.cancel_call(OrderName("BTCUSDT", "tt1"))
    first, second = live._wire.sign(call), test._wire.sign(call)
    marked = second["headers"].get("x-simulated-trading") or test._exchange.headers.get("x-simulated-trading")
    assert first["url"].split("/")[2] != second["url"].split("/")[2] or marked == "1"


def test_tables_when_listed_are_complete() -> None:
    assert set(VENUE_DIALECTS) == set(DIALECTS)
    for name, row in DIALECTS.items():
        assert row.dialect == name
        assert row.doubt_ms >= row.receive_window_ms + row.read_lag_ms
        assert row.market_buy in MarketBuy
        assert row.fee_asset in FeeAsset
        ours = "tt0123456789abcdefghjkmnpqrs"
        sent = id_at_venue(row.client_ids, ours)
        assert len(sent) <= row.client_ids.max_length
        assert sent == id_at_venue(row.client_ids, ours)
        assert sent != id_at_venue(row.client_ids, ours + "t")
        assert (sent != ours) == row.client_ids.as_uuid
    assert set(SECRETS) <= set(DIALECTS)
    assert timedelta(milliseconds=DIALECTS["bigone"].doubt_ms) > timedelta(seconds=30)
