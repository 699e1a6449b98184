"""The life of a strategy, step by step, with the ledger's and the executor's words published on a real server."""

from decimal import Decimal
from typing import Any

import pytest

from shared.contracts import subjects
from shared.contracts.books import FundStrategy, ReleaseStrategy
from shared.contracts.plans import SealStrategy
from shared.contracts.strategies import PeakRecorded, RecordPeak, StrategyChanged
from shared.core.errors import Refused
from shared.core.identity import transfer_id
from shared.core.position import PlanOutcome
from tests.services.strategy_registry.test_commands import ask
from tests.services.strategy_registry.world import MARKET_TIME, World, document, progressed, settled

pytestmark = pytest.mark.servers


def created(world: World, **changes: Any) -> str:
    """Preview and confirm; the id."""
    preview = world.http.post("/strategies/preview", json=document(**changes))
    assert preview.status_code == 200, preview.text
    strategy = world.http.post("/strategies", json={"preview_id": preview.json()["preview_id"]})
    assert strategy.status_code == 201, strategy.text
    return str(strategy.json()["id"])


def say_settled(world: World, strategy_id: str, purpose: str, *, reason: str = "", message_id: str = "") -> None:
    transfer = transfer_id(strategy_id, purpose, 0)
    message = settled(strategy_id, transfer, purpose, reason=reason)
    world.publish(subjects.transfers(strategy_id), message, message_id)


def say_progressed(world: World, strategy_id: str, sequence: int, change: str, **words: Any) -> None:
    world.publish(subjects.plan_results(strategy_id), progressed(strategy_id, sequence, change, **words))


def until_change(world: World, strategy_id: str, change: str) -> StrategyChanged:
    def newest() -> StrategyChanged | None:
        changes = world.published(StrategyChanged, strategy_id)
        return changes[-1] if changes and changes[-1].change == change else None

    found: StrategyChanged = world.until(newest, f"{strategy_id} {change}")
    return found


def changes_of(world: World, strategy_id: str) -> list[tuple[int, str, str]]:
    return [(one.version, one.change, one.status.value) for one in world.published(StrategyChanged, strategy_id)]


WHOLE_LIFE = [
    (1, "confirmed", "funding"),
    (2, "funded", "building"),
    (3, "activated", "active"),
    (4, "exit_requested", "exiting"),
    (5, "sealed", "exiting"),
    (6, "closed", "closed"),
]


def test_life_when_everything_answers_goes_through_every_step(world: World) -> None:
    strategy_id = created(world)
    (fund,) = world.until(lambda: world.published(FundStrategy, strategy_id), "FundStrategy")
    assert (fund.asset, str(fund.amount), str(fund.value_usdt)) == ("USDT", "1200", "1200")
    say_settled(world, strategy_id, "fund")
    until_change(world, strategy_id, "funded")
    say_progressed(world, strategy_id, 1, "accepted")
    say_progressed(world, strategy_id, 2, "closed", kind="initial", fills=3)
    assert until_change(world, strategy_id, "activated").active_since == MARKET_TIME
    stopped = world.http.post(f"/strategies/{strategy_id}/stop")
    assert stopped.json()["status"] == "exiting"
    assert until_change(world, strategy_id, "exit_requested").exit_reason == "stopped_by_user"
    say_progressed(world, strategy_id, 3, "closed", kind="exit", fills=6)
    world.until(lambda: world.published(SealStrategy, strategy_id), "SealStrategy")
    say_progressed(world, strategy_id, 4, "sealed", kind="exit", fills=6, sealed=True)
    (release,) = world.until(lambda: world.published(ReleaseStrategy, strategy_id), "ReleaseStrategy")
    assert (release.fills_required, release.sold_into) == (6, "USDT")
    say_settled(world, strategy_id, "release")
    until_change(world, strategy_id, "closed")
    assert changes_of(world, strategy_id) == WHOLE_LIFE
    stored = world.rows(
        "SELECT version, change, status FROM registry.strategy_versions WHERE strategy_id = $1 ORDER BY version",
        strategy_id,
    )
    assert [tuple(row) for row in stored] == WHOLE_LIFE


def test_funding_when_ledger_refuses_ends_refused_with_its_reason(world: World) -> None:
    strategy_id = created(world)
    say_settled(world, strategy_id, "fund", reason="the wallet holds 10 USDT")
    changed = until_change(world, strategy_id, "funding_refused")
    assert (changed.status.value, changed.reason) == ("refused", "the wallet holds 10 USDT")
    stopped = world.http.post(f"/strategies/{strategy_id}/stop")
    assert (stopped.status_code, stopped.json()["status"], stopped.json()["version"]) == (200, "refused", 2)


def test_stop_when_funding_is_on_its_way_exits_once_it_has_settled(world: World) -> None:
    strategy_id = created(world)
    stopped = world.http.post(f"/strategies/{strategy_id}/stop").json()
    assert (stopped["status"], stopped["exit_reason"]) == ("funding", "stopped_by_user")
    say_settled(world, strategy_id, "fund")
    world.until(lambda: len(world.published(StrategyChanged, strategy_id)) == 4, "four versions")
    assert changes_of(world, strategy_id) == [
        (1, "confirmed", "funding"),
        (2, "exit_requested", "funding"),
        (3, "funded", "building"),
        (4, "exit_requested", "exiting"),
    ]


def test_life_when_words_come_early_twice_and_in_any_order_is_the_same(world: World) -> None:
    strategy_id = created(world)
    say_progressed(world, strategy_id, 2, "closed", kind="initial", outcome=PlanOutcome.PARTIAL, fills=2)
    say_progressed(world, strategy_id, 1, "accepted")
    say_settled(world, strategy_id, "fund", message_id=f"{strategy_id}.a")
    say_settled(world, strategy_id, "fund", message_id=f"{strategy_id}.b")
    until_change(world, strategy_id, "activated")
    say_progressed(world, strategy_id, 2, "closed", kind="initial", fills=2)
    world.http.post(f"/strategies/{strategy_id}/stop")
    world.http.post(f"/strategies/{strategy_id}/stop")
    say_progressed(world, strategy_id, 5, "sealed", kind="exit", fills=4, sealed=True)
    say_progressed(world, strategy_id, 4, "closed", kind="exit", fills=4)
    say_progressed(world, strategy_id, 5, "sealed", kind="exit", fills=4, sealed=True)
    world.until(lambda: world.published(ReleaseStrategy, strategy_id), "ReleaseStrategy")
    say_settled(world, strategy_id, "release", message_id=f"{strategy_id}.c")
    say_settled(world, strategy_id, "release", message_id=f"{strategy_id}.d")
    until_change(world, strategy_id, "closed")
    assert changes_of(world, strategy_id) == WHOLE_LIFE
    assert len(world.published(ReleaseStrategy, strategy_id)) == 1


@pytest.mark.parametrize("outcome", [PlanOutcome.NOTHING_TRADABLE, PlanOutcome.EXPIRED, PlanOutcome.STALE])
def test_initial_plan_when_it_bought_nothing_leaves_the_strategy_building(world: World, outcome: PlanOutcome) -> None:
    strategy_id = created(world)
    say_settled(world, strategy_id, "fund")
    say_progressed(world, strategy_id, 1, "closed", kind="initial", outcome=outcome)
    say_progressed(world, strategy_id, 2, "closed", kind="initial", fills=1)
    until_change(world, strategy_id, "activated")
    assert [change for _, change, _ in changes_of(world, strategy_id)] == ["confirmed", "funded", "activated"]


def test_exit_plan_when_partial_is_not_sealed_until_nothing_is_left(world: World) -> None:
    strategy_id = created(world)
    say_settled(world, strategy_id, "fund")
    until_change(world, strategy_id, "funded")
    world.http.post(f"/strategies/{strategy_id}/stop")
    say_progressed(world, strategy_id, 1, "closed", kind="exit", outcome=PlanOutcome.PARTIAL, fills=1)
    say_progressed(world, strategy_id, 2, "closed", kind="exit", outcome=PlanOutcome.EXPIRED, fills=1)

    def handled() -> bool:
        info = world.call(world._broker.jetstream.consumer_info("PLAN_RESULTS", "strategy_registry-plan-results"))
        return not info.num_pending and not info.num_ack_pending

    world.until(handled, "both words are handled")
    assert not world.published(SealStrategy, strategy_id)
    say_progressed(world, strategy_id, 3, "closed", kind="exit", outcome=PlanOutcome.NOTHING_TRADABLE, fills=1)
    world.until(lambda: world.published(SealStrategy, strategy_id), "SealStrategy")


def test_release_when_ledger_refuses_is_shown_and_not_closed(world: World) -> None:
    strategy_id = created(world)
    say_settled(world, strategy_id, "fund")
    until_change(world, strategy_id, "funded")
    world.http.post(f"/strategies/{strategy_id}/stop")
    say_progressed(world, strategy_id, 1, "sealed", sealed=True)
    say_settled(world, strategy_id, "release", reason="the books do not allow it")
    changed = until_change(world, strategy_id, "failed")
    assert (changed.status.value, changed.reason) == ("failed", "the books do not allow it")


def test_history_when_rewritten_is_refused_by_the_database(world: World) -> None:
    strategy_id = created(world)
    for statement in ("UPDATE registry.strategy_versions SET change = 'x'", "DELETE FROM registry.strategy_versions"):
        with pytest.raises(Exception, match="append-only"):
            world.rows(statement)
    assert changes_of(world, strategy_id)[0] == (1, "confirmed", "funding")


def test_registry_when_restarted_between_steps_goes_on(world: World) -> None:
    strategy_id = created(world)
    world.restart_registry()
    say_settled(world, strategy_id, "fund")
    until_change(world, strategy_id, "funded")
    world.restart_registry()
    say_progressed(world, strategy_id, 1, "closed", kind="initial", fills=1)
    until_change(world, strategy_id, "activated")


def test_peak_when_told_twice_late_or_lower_only_rises_and_survives_in_the_books(world: World) -> None:
    levels = {"percent": "15", "trailing": "3"}
    strategy_id = created(world, take_profit=levels)

    def told(percent: str, key: str, contributed: str = "1200") -> tuple[int, str, Decimal | None]:
        peak = RecordPeak(strategy_id=strategy_id, profit_pct=Decimal(percent), contributed=Decimal(contributed))
        reply = ask(world, peak, f"{strategy_id}.{key}")
        return reply.version, reply.change, reply.peak.profit_pct if reply.peak else None

    assert told("15", "early") == (1, "confirmed", None), "it is not active yet"
    say_settled(world, strategy_id, "fund")
    say_progressed(world, strategy_id, 2, "closed", kind="initial", fills=3)
    until_change(world, strategy_id, "activated")
    assert told("15", "a") == (4, "peak_raised", Decimal(15))
    assert told("15", "a") == (4, "peak_raised", Decimal(15))
    assert told("16.2", "b") == (5, "peak_raised", Decimal("16.2"))
    assert told("15.9", "late") == (5, "peak_raised", Decimal("16.2"))
    assert told("8.2", "money was added", "2400") == (6, "peak_raised", Decimal("8.2"))
    (row,) = world.rows("SELECT peak_profit_pct, peak_contributed FROM registry.strategies WHERE id = $1", strategy_id)
    assert (row[0], row[1]) == (Decimal("8.2"), Decimal(2400))
    shown = world.http.get(f"/strategies/{strategy_id}").json()
    assert shown["document"]["take_profit"] == levels
    assert until_change(world, strategy_id, "peak_raised").peak == PeakRecorded(
        profit_pct=Decimal("8.2"), contributed=Decimal(2400)
    )


def test_peak_when_the_strategy_is_unknown_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="is not known"):
        ask(world, RecordPeak(strategy_id="stnone", profit_pct=Decimal(1), contributed=Decimal(1)), "peak.unknown")
