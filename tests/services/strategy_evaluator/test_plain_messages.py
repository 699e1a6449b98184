"""Messages read quickly: exactly what the contracts' models make of them, or left to those."""

import gc
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.strategy_evaluator.app import nothing_collected
from services.strategy_evaluator.handlers import Handlers
from services.strategy_evaluator.plain_messages import read_position, read_strategy
from services.strategy_evaluator.portfolios import Portfolio
from shared.contracts.books import PositionChanged
from shared.contracts.strategies import AutoInvestProgress, PeakRecorded, StrategyChanged
from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.errors import Refused
from shared.core.plain_documents import PlainDocuments
from shared.core.position import Position
from shared.core.situation import StrategyView
from shared.messaging.decoding import Undecodable, decode
from tests.benchmarks.evaluator_start import MIX, Kind, told_of
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import FRIDAYS, asked, investing, position, strategy
from tests.services.strategy_evaluator.world import World

META = Meta("m1", "tests", AT, "c", "")
PEAK = PeakRecorded(profit_pct=Decimal("9.3"), contributed=Decimal(1200))
_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7.0,
    1.5,
    2**63,
    10**30,
    "",
    " ",
    "x",
    "7",
    "-7",
    "+7",
    "07",
    "7.",
    ".7",
    "1e3",
    "NaN",
    "100",
    "50.0000000000000000001",
    "9" * 21,
    "9" * 39,
    "99999999999999999999.999999999999999999",
    "1" * 20 + "." + "1" * 18,
    "٣",
    "5\n",
    "200000",
    "199999.99",
    "BTC",
    "btc",
    "USDT",
    "1INCH",
    "A" * 16,
    "paper",
    "Paper",
    "active",
    "sell",
    "n" * 81,
    "a\tb",
    " padded ",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "2026-13-01T00:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00.5Z",
    "2026-01-01T00:00:00.123456Z",
    "2026-01-01T02:00:00+02:00",
    [],
    {},
    ["x"],
    {"x": "y"},
    {"x": 1},
    {"BTC": "60", "ETH": "40"},
    {"BTC": "60", "ETH": "40.1"},
    {"BTC": "100", "ETH": "0"},
    {"BTC": "101", "ETH": "-1"},
    {"BTC": "60", "eth": "40"},
    {"BTC": 60, "ETH": "40"},
    {"BTC": "100"},
    {"threshold": "5"},
    {"threshold": 5},
    {"threshold": {"relative": "15"}},
    {"threshold": {"points": "5", "per_asset": {"BTC": "3"}}},
    {"hold": True},
    {"hold": 1},
    {"threshold": {"points": "5", "per_asset": {"XYZ": "3"}}},
    {"interval": "7d", "threshold": "5", "when": "all"},
    {"interval": "7x"},
    {"percent": "5"},
    {"percent": "-5", "confirm": "2", "action": "keep"},
    {"percent": "5", "trailing": True},
    {"percent": "-5", "trailing": "2"},
    {"amount": "50", "schedule": "monday"},
    {"amount": "50", "drawdown": {"loss": "5", "min_interval": "1d"}, "grace": "2h", "over_limit": "skip"},
    {"amount": 50, "schedule": "monday"},
    {"profit_pct": "1", "contributed": "2"},
    {"profit_pct": "1", "contributed": 2},
    "paused",
    "stopped",
)


def _slow_view(headers: Mapping[str, str], body: bytes) -> StrategyView | None:
    try:
        message, _ = decode(headers, body)
        assert isinstance(message, StrategyChanged)
        portfolio = Portfolio(0, message.strategy_id)
        portfolio.take_strategy(message)
    except (Undecodable, Refused):
        return None
    return portfolio.view


def _slow_position(headers: Mapping[str, str], body: bytes) -> Position | None:
    try:
        message, _ = decode(headers, body)
    except Undecodable:
        return None
    assert isinstance(message, PositionChanged)
    portfolio = Portfolio(0, message.strategy_id)
    portfolio.take_position(message)
    return portfolio.position


def _mutated(message: Message, path: str, value: Any) -> bytes:
    """The message's JSON with another value at ``path`` (or one more field there); "" leaves it as it is."""
    told = json.loads(payload_of(message))
    at, *rest = path.split(".")
    if rest:
        told[at] = (told[at] or {}) | {rest[0]: value}
    elif at:
        told[at] = value
    return json.dumps(told).encode()


_STRATEGY_PATHS = st.sampled_from(
    ["", *StrategyChanged.model_fields, "unknown", *(f"document.{name}" for name in (
        "name", "venue", "funding_asset", "amount", "targets", "rebalance", "take_profit", "stop_loss", "start",
        "auto_invest", "unknown")), *(f"auto_invest.{name}" for name in (*AutoInvestProgress.model_fields, "unknown")),
        *(f"peak.{name}" for name in (*PeakRecorded.model_fields, "unknown"))]
)  # fmt: skip
_POSITION_PATHS = st.sampled_from(
    ["", *PositionChanged.model_fields, "unknown", "holdings.BTC", "holdings.new", "fees_paid.USDT"]
)
_STRATEGIES = st.sampled_from(
    [
        strategy("s1"),
        strategy("s1", "paused", 9),
        strategy("s1", rebalance={"interval": "7d"}),
        strategy("s1", rebalance={"threshold": {"points": "5", "per_asset": {"BTC": "3"}}}),
        strategy("s1", take_profit="10", stop_loss={"percent": "-8", "trailing": True, "action": "pause"}),
        strategy("s1", start={"asset": "BTC", "at_or_below": "5"}),
        strategy("s1", requests=(asked("r1", "rebalance"),)),
        strategy("s1", invested=investing(), auto_invest=FRIDAYS),
        strategy("s1", invested=investing(), auto_invest={"amount": "1", "schedule": "3d", "asset": "BTC"}),
        strategy("s1", invested=investing(3, settled_until=AT, carried=Decimal("0.5"), pending=True, reason="x")),
        strategy("s1", take_profit={"percent": "9", "trailing": "3"}).model_copy(update={"peak": PEAK}),
        strategy("s1").model_copy(
            update={"inputs": {"a": "b"}, "active_since": None, "exit_reason": "stopped_by_user"}
        ),
    ]
)


@settings(max_examples=1500, deadline=None)
@given(message=_STRATEGIES, path=_STRATEGY_PATHS, value=st.sampled_from(_ODD))
def test_read_strategy_when_it_reads_a_message_is_equal_to_the_model(
    message: StrategyChanged, path: str, value: Any
) -> None:
    headers, body = headers_of(message, META), _mutated(message, path, value)
    quick = read_strategy(headers, body, PlainDocuments())
    assert quick is None or quick == _slow_view(headers, body)


@settings(max_examples=1500, deadline=None)
@given(path=_POSITION_PATHS, value=st.sampled_from(_ODD))
def test_read_position_when_it_reads_a_message_is_equal_to_the_model(path: str, value: Any) -> None:
    message = position("s1", {"BTC": "0.00000001", "ETH": "12345678901234567890.123456789012345678"})
    headers, body = headers_of(message, META), _mutated(message, path, value)
    quick = read_position(headers, body)
    assert quick is None or quick == _slow_position(headers, body)


_AMOUNTS = st.decimals(min_value="-1e20", max_value="1e20", places=18, allow_nan=False) | st.decimals(
    min_value=0, max_value=10**6, places=8
)


@settings(max_examples=300, deadline=None)
@given(holdings=st.dictionaries(st.from_regex(r"[A-Z0-9]{1,15}", fullmatch=True), _AMOUNTS, max_size=12), cash=_AMOUNTS)
def test_read_position_when_amounts_are_common_reads_them_exactly(holdings: dict[str, Any], cash: Any) -> None:
    message = position("s1", {}).model_copy(update={"holdings": holdings, "contributed": cash, "fees_paid": holdings})
    headers, body = headers_of(message, META), payload_of(message)
    quick = read_position(headers, body)
    assert quick is not None or any(abs(amount) >= 10**20 for amount in (*holdings.values(), cash))
    assert quick is None or quick == _slow_position(headers, body)


def test_common_messages_when_read_are_not_left_to_the_models() -> None:
    """What loads a million in time: else it would be slow, and nobody would notice."""
    rng, documents = random.Random(1), PlainDocuments()
    rules = set()
    for number in range(200):
        (_, told), (_, held), _ = told_of(number, rng)
        view = read_strategy(headers_of(told, META), payload_of(told), documents)
        found = read_position(headers_of(held, META), payload_of(held))
        assert view == _slow_view(headers_of(told, META), payload_of(told))
        assert found == _slow_position(headers_of(held, META), payload_of(held))
        assert view is not None
        rules.add(id(view.definition.rule))
    assert len(rules) <= 51  # one per threshold, not one per strategy


@pytest.mark.parametrize("kind", dict.fromkeys(MIX))
def test_strategies_of_every_rule_when_read_are_not_left_to_the_models(kind: Kind) -> None:
    rng, documents, parts = random.Random(1), PlainDocuments(), set()
    for number in range(100):
        (_, told), *_ = told_of(number, rng, kind=kind)
        view = read_strategy(headers_of(told, META), payload_of(told), documents)
        assert view is not None
        assert view == _slow_view(headers_of(told, META), payload_of(told))
        definition = view.definition
        parts |= {id(part) for part in (definition.take_profit, definition.stop_loss, definition.auto_invest)}
    assert len(parts) < 90  # shared, too


@pytest.mark.parametrize(
    ("name", "value"),
    [("ce-type", "trimtab.x"), ("ce-schemaversion", "2"), ("ce-schemaversion", "01"), ("ce-time", "yesterday"),
     ("ce-time", "2026-01-01T00:00:00"), ("ce-id", None), ("ce-source", None), ("ce-causationid", None)],
)  # fmt: skip
def test_messages_when_headers_are_not_as_they_should_be_are_left_to_the_decoder(name: str, value: str | None) -> None:
    for message in (strategy("s1"), position("s1", {"BTC": "1"})):
        headers = headers_of(message, META)
        assert _read(headers, payload_of(message)) is not None
        headers = {**headers, name: value} if value else {key: text for key, text in headers.items() if key != name}
        assert _read(headers, payload_of(message)) is None
        assert _read(headers, b"{") is None


def _read(headers: dict[str, str], body: bytes) -> object:
    return read_strategy(headers, body, PlainDocuments()) or read_position(headers, body)


def test_handlers_when_messages_are_plain_take_the_newest_and_leave_the_others() -> None:
    world = World()
    handlers = Handlers(world.evaluation)
    portfolio = world.evaluation.portfolios.of("s1")

    def tell(message: Message) -> bool:
        take = handlers.plain_strategy if isinstance(message, StrategyChanged) else handlers.plain_position
        return take(headers_of(message, META), payload_of(message))

    assert tell(strategy("s1", version=5))
    assert tell(strategy("s1", "paused", version=4))
    assert portfolio.view is not None
    assert (portfolio.view.version, portfolio.view.status.value) == (5, "active")
    assert not tell(strategy("s1", version=6, requests=(asked("r1", "rebalance"),)))
    assert portfolio.view.version == 5
    assert tell(position("s1", {"BTC": "2"}, version=3))
    assert tell(position("s1", {"BTC": "1"}, version=2))
    assert portfolio.position is not None
    assert portfolio.position.version == 3


@pytest.mark.parametrize("trouble", [None, RuntimeError("trouble")])
def test_garbage_collector_when_all_is_loaded_or_loading_failed_works_again(trouble: Exception | None) -> None:
    try:
        with suppress(RuntimeError), nothing_collected():
            assert not gc.isenabled()
            if trouble is not None:
                raise trouble
        assert gc.isenabled()
        assert (gc.get_freeze_count() > 0) is (trouble is None)
    finally:
        gc.unfreeze()
