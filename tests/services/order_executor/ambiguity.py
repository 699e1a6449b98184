"""Orders whose replies do not tell what became of them, under every rule set for client order ids: never one twice,
never one lost. Shared by the tests, a file for each kind of rule set, and by ``check_orders``.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from types import MappingProxyType
from typing import Any

import pytest

from services.order_executor.app import Executor, ccxt_venue
from services.order_executor.settings import Settings
from services.simulated_exchange.conditions import Conditions
from services.simulated_exchange.faults.rules import Kind
from services.simulated_exchange.identity import IdentityName
from shared.contracts.plans import RebalancePlanned
from shared.core.identity import plan_id
from shared.venues.binance import BINANCE
from shared.venues.capabilities import Scope, VenueCapabilities
from tests.services.order_executor.rig import Stack, eventually, plan_for
from tests.services.order_executor.test_plans import check_books

TIMEOUT_MS = 900
LATE_MS = 1_200
RECEIVE_WINDOW_MS = 1_500
READ_LAG_MS = 100
UNDER_WAY, SENDING = 60, 12
"""Plans under way at once, and those whose orders are about to leave: fewer at a time where the machine is slow."""
LOOK_EVERY_S = 0.1
_UNDER_WAY = """
SELECT (SELECT count(*) FROM executor.plans WHERE outcome IS NOT NULL) AS closed,
       (SELECT count(DISTINCT plan_id) FROM executor.orders) AS begun,
       (SELECT count(DISTINCT plan_id) FROM executor.orders WHERE state = 'intended') AS sending
"""

FAULTS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "lost request": {"kind": Kind.LOST_REQUEST},
        "late request": {"kind": Kind.LATE_REQUEST, "delay_ms": LATE_MS},
        "lost reply": {"kind": Kind.LOST_REPLY},
        "late reply": {"kind": Kind.LATE_REPLY, "delay_ms": LATE_MS},
        "5xx before": {"kind": Kind.ERROR_BEFORE},
        "5xx after": {"kind": Kind.ERROR_AFTER},
        "garbage": {"kind": Kind.GARBAGE},
        "reset": {"kind": Kind.RESET},
        "contradictory": {"kind": Kind.CONTRADICTION, "status": 408, "code": -1007},
        "refused": {"kind": Kind.CONTRADICTION},
    }
)
NEVER_ARRIVE = frozenset({"lost request", "5xx before"})
MAY_ARRIVE = frozenset({"late request"})  # when it is later than the receive window the venue refuses it
NOT_OPEN = frozenset({"refused"})  # a definite word, and a wrong one: found before anybody believes it
BESIDE = frozenset({"late request", "contradictory", "refused"})
"""Further kinds, beside the seven that are asked for: a quarter as many."""
SCOPES = MappingProxyType(
    {
        IdentityName.BINANCE: Scope.OPEN_ORDERS,
        IdentityName.KRAKEN: Scope.OPEN_ORDERS,
        IdentityName.OKX: Scope.EVER,
        IdentityName.DAY: Scope.DAY,
        IdentityName.NONE: Scope.UNSTATED,
    }
)
"""Where each rule set keeps client order ids unique, as the executor knows it."""
CASES = 200
"""Orders that each fault is to hit under each rule set in the normal run."""
SPARE = 20
"""One of so many is hit beyond them: where the machine is slow, a request outlives the receive window and the venue
refuses it, and what a fault does to its reply is no case."""


@dataclass
class Tally:
    """What was injected, and what became of the orders it hit. ``taken``: hits whose order is in the venue's own book;
    ``states``: by fault, whether the venue has the order, and what the executor has concluded.
    """

    hits: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    states: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    orders: int = 0
    arrived: int = 0
    fills: int = 0

    def add(self, other: "Tally") -> None:
        for mine, its in (
            (self.hits, other.hits),
            (self.taken, other.taken),
            (self.unknown, other.unknown),
            (self.states, other.states),
        ):
            mine.update(its)  # type: ignore[arg-type]
        self.orders, self.arrived = self.orders + other.orders, self.arrived + other.arrived
        self.fills += other.fills

    def told(self, identity: IdentityName) -> str:
        """A line for the rule set and one for each fault."""
        lines = [
            f"rule set {identity.value}: {self.orders} intents, {self.arrived} orders at the venue, "
            f"{self.fills} fills, {self.unknown.total()} outcomes unknown"
        ]
        for name in FAULTS:
            ends = ", ".join(
                f"{count} {state}" for (fault, _, state), count in sorted(self.states.items()) if fault == name
            )
            counts = f"{self.hits[name]:5} hit, {self.taken[name]:5} at the venue, {self.unknown[name]:5} unknown"
            lines.append(f"  {name:14} {counts}; then {ends}")
        return "\n".join(lines)


def capabilities(identity: IdentityName) -> VenueCapabilities:
    """The venue as the executor knows it."""
    return replace(
        BINANCE,
        client_ids=replace(BINANCE.client_ids, scope=SCOPES[identity], queryable=identity is not IdentityName.NONE),
        receive_window_ms=RECEIVE_WINDOW_MS,
        read_lag_ms=READ_LAG_MS,
        has_user_stream=False,
    )


async def measure(stack: Stack, identity: IdentityName, cases: int, seed: int) -> Tally:
    """Send orders until each fault has hit ``cases`` of them and every plan has ended; then compare all books.

    Raises AssertionError when an order is at the venue twice, or a fill is not booked exactly once.
    """
    exchange = stack.exchange
    await exchange.deposit("first", "USDT", "5000000")
    await exchange.call(
        "POST", "/control/conditions", {"identity": identity.value, "read_lag_ms": READ_LAG_MS * 3 // 4}
    )
    try:
        await stack.start(executor(stack, capabilities(identity)))
        rules = await _inject(stack, cases, seed)
        await _send_until_all_hit(stack, rules, cases)
        log = await exchange.call("GET", "/control/faults/log")
    finally:
        await exchange.call("DELETE", "/control/faults")
    await exchange.call("POST", "/control/conditions", Conditions().model_dump(mode="json"))
    tally = await _tally(stack, {number: name for name, number in rules.items()}, log)
    await check_books(stack)
    return tally


def executor(stack: Stack, known: VenueCapabilities) -> Executor:
    """An executor in this process, at a venue with these capabilities."""
    names = {name.removeprefix("TRIMTAB_").lower(): value for name, value in stack.environment("in").items()}
    names["venue_rest_url"] = stack.exchange.url  # the faults are the exchange's own
    wide = {"guard_orders_per_minute": 10_000_000, "guard_day_notional": 10**12, "concurrent_plans": UNDER_WAY}
    fast = {"request_timeout_ms": TIMEOUT_MS, "send_deadline_ms": 800, "venue_deposits_poll_s": 5}
    settings = Settings(**{**names, **wide, **fast})  # type: ignore[arg-type]
    venue: Any = ccxt_venue(settings)
    venue.capabilities = known
    return Executor(settings, venue)


async def _inject(stack: Stack, cases: int, seed: int) -> dict[str, int]:
    """One rule for each fault, drawn evenly, each until it has hit ``cases`` orders; their numbers."""
    numbers = {}
    for place, (name, fault) in enumerate(FAULTS.items()):
        rule = {
            **fault,
            "method": "POST",
            "path": "/api/v3/order",
            "rate": 1 / (len(FAULTS) - place),
            "seed": seed * 100 + place,
            "times": wanted_hits(name, cases),
        }
        numbers[name] = (await stack.exchange.call("POST", "/control/faults", rule))["id"]
    return numbers


async def _send_until_all_hit(stack: Stack, rules: Mapping[str, int], cases: int) -> None:
    """Plans that buy every asset, until each fault has hit enough; all of them to their end."""
    assets = sorted(await stack.exchange.quotes())
    targets = {asset: str(100 // len(assets)) for asset in assets}
    pattern = await plan_for(stack.exchange, "s", targets, {"USDT": str(30 * len(assets))}, kind="initial")

    async def left() -> int:
        view = await stack.exchange.call("GET", "/control/faults")
        hits = {rule["id"]: rule["injected"] for rule in view["rules"]}
        return sum(wanted_hits(name, cases) - hits[number] for name, number in rules.items())

    async def under_way() -> tuple[int, int]:
        """Open plans, and those of them with orders about to leave."""
        (row,) = await stack.rows(_UNDER_WAY)
        return sent - row["closed"], sent - row["begun"] + row["sending"]

    sent = 0
    while wanted := await left():
        is_open, is_sending = await under_way()
        for _ in range(min(UNDER_WAY - is_open, SENDING - is_sending, ceil(wanted / len(assets)))):
            await stack.send_plan(_plan_like(pattern, f"s{sent}"))
            sent += 1
        await asyncio.sleep(LOOK_EVERY_S)

    async def none_open() -> bool:
        return (await under_way())[0] == 0

    await eventually(none_open, 90, pause_s=LOOK_EVERY_S)


def _plan_like(pattern: RebalancePlanned, strategy_id: str) -> RebalancePlanned:
    now = datetime.now(UTC)
    return pattern.model_copy(
        update={
            "plan_id": plan_id(strategy_id, pattern.position_version, ""),
            "strategy_id": strategy_id,
            "decided_at": now,
            "expires_at": now + timedelta(seconds=120),
        }
    )


async def _tally(stack: Stack, names: Mapping[int, str], log: list[dict[str, Any]]) -> Tally:
    rows = {row["client_order_id"]: row for row in await stack.rows("SELECT * FROM executor.orders")}
    at_venue = {order["clientOrderId"] for order in await stack.exchange.orders()}
    tally = Tally(orders=len(rows), fills=len(await stack.rows("SELECT FROM executor.fills")))
    tally.arrived = sum(row["venue_order_id"] != "" for row in rows.values())
    for entry in log:
        if entry["rule"] not in names:
            continue
        name, row = names[entry["rule"]], rows[entry["client_order_id"]]
        is_taken = row["client_order_id"] in at_venue
        tally.hits[name] += 1
        tally.taken[name] += is_taken
        tally.unknown[name] += row["was_unknown"]
        tally.states[name, is_taken, row["state"]] += 1
    return tally


def wanted_hits(name: str, cases: int) -> int:
    """How many orders a fault is to hit, those to spare with them."""
    wanted = wanted_cases(name, cases)
    return wanted + ceil(wanted / SPARE)


def wanted_cases(name: str, cases: int) -> int:
    """How many orders a fault must have hit at least."""
    return cases // 4 if name in BESIDE else cases


async def prove(stack: Stack, identity: IdentityName, capsys: pytest.CaptureFixture[str]) -> None:
    """``CASES`` of each fault under a rule set. The counts are printed: a run without unknowns would prove nothing."""
    tally = await measure(stack, identity, CASES, seed=1)
    with capsys.disabled():
        print(f"\n{tally.told(identity)}")  # noqa: T201 - see above
    check(tally, CASES)


def rule_sets(*scopes: Scope) -> "pytest.MarkDecorator":
    """Parametrizes a test with the rule sets of some scopes."""
    found = [identity for identity, scope in SCOPES.items() if scope in scopes]
    return pytest.mark.parametrize("identity", found, ids=lambda identity: identity.value)


def check(tally: Tally, cases: int) -> None:
    """Each fault has hit as often as it should, left the outcome open each time, and ended as the venue's book says."""
    for name in FAULTS:
        hits, taken, unknown = tally.hits[name], tally.taken[name], tally.unknown[name]
        assert hits == wanted_hits(name, cases), f"{name}: {hits} of {wanted_hits(name, cases)} hits"
        assert hits, f"{name}: no case, which proves nothing"
        assert unknown == hits or name in NOT_OPEN, f"{name}: only {unknown} of {hits} outcomes were unknown"
        if name in NEVER_ARRIVE:
            assert taken == 0, f"{name}: {taken} orders are at the venue"
        else:
            wanted = 1 if name in MAY_ARRIVE else wanted_cases(name, cases)
            assert taken >= wanted, f"{name}: {taken} of {hits} orders came to the venue, {wanted} should"
        for (fault, is_taken, state), count in tally.states.items():
            right = {"filled"} if is_taken else ({"absent", "rejected"} if name in NOT_OPEN else {"absent"})
            assert fault != name or state in right, f"{name}: {count} {state}, not {right}, at the venue: {is_taken}"
