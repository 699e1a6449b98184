"""Commands twice, at once, late and with wrong keys: one effect, the same reply."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.contracts import subjects
from shared.contracts.books import FundStrategy
from shared.contracts.strategies import ConfirmStrategy, PreviewStrategy, StopStrategy, StrategyChanged
from shared.contracts.wire import Message, Meta
from shared.core.errors import Refused
from shared.messaging.requests import request
from tests.services.strategy_registry.world import World, document, settled

pytestmark = pytest.mark.servers


def meta(message_id: str) -> Meta:
    return Meta(message_id, "test", datetime.now(UTC), message_id, "")


def ask(world: World, command: Message, message_id: str) -> Any:
    return world.call(request(world._broker, subjects.STRATEGY_COMMANDS, command, meta(message_id), timeout_s=10))


def ask_at_once(world: World, command: Message, message_ids: list[str]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        asked = [
            request(world._broker, subjects.STRATEGY_COMMANDS, command, meta(one), timeout_s=10) for one in message_ids
        ]
        return list(await asyncio.gather(*asked))

    return world.call(all_of_them())


def test_preview_when_repeated_with_its_id_replies_the_same(world: World) -> None:
    first = ask(world, PreviewStrategy(document=document()), "preview.1")
    world.feed_is_alive = False
    try:
        assert ask(world, PreviewStrategy(document=document()), "preview.1") == first
    finally:
        world.feed_is_alive = True


def test_refusal_when_repeated_with_its_id_is_the_same(world: World) -> None:
    bad = PreviewStrategy(document=document(amount="0", name="\x00"))
    problems = []
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            ask(world, bad, "preview.bad")
        problems.append(refused.value.problems)
    assert problems[0] == problems[1]
    assert {one.field for one in problems[0]} == {"amount", "name"}


def test_command_id_when_used_for_something_else_is_refused(world: World) -> None:
    ask(world, PreviewStrategy(document=document()), "preview.2")
    with pytest.raises(Refused, match="was used for another request"):
        ask(world, PreviewStrategy(document=document(amount="1300")), "preview.2")


def test_confirm_when_sent_many_times_at_once_makes_one_strategy(world: World) -> None:
    preview = ask(world, PreviewStrategy(document=document()), "preview.3")
    command = ConfirmStrategy(preview_id=preview.preview_id)
    replies = ask_at_once(world, command, ["confirm.3"] * 6 + [f"confirm.3.{n}" for n in range(6)])
    assert len({(one.strategy_id, one.version) for one in replies}) == 1
    strategy_id = replies[0].strategy_id
    world.until(lambda: world.published(FundStrategy, strategy_id), "FundStrategy")
    assert world.rows("SELECT count(*) FROM registry.strategies WHERE id = $1", strategy_id)[0][0] == 1
    stored = world.rows("SELECT subject FROM registry.outbox WHERE message_id LIKE $1", f"{strategy_id}%")
    assert [row["subject"] for row in stored] == [f"strategies.{strategy_id}"]
    assert len(world.published(FundStrategy, strategy_id)) == 1


def test_confirm_when_the_preview_has_expired_is_refused_and_nothing_is_made(world: World) -> None:
    preview = ask(world, PreviewStrategy(document=document()), "preview.4")
    world.rows("UPDATE registry.previews SET expires_at = now() WHERE id = $1", preview.preview_id)
    with pytest.raises(Refused, match="expired at"):
        ask(world, ConfirmStrategy(preview_id=preview.preview_id), "confirm.4")
    assert not world.rows("SELECT 1 FROM registry.strategies WHERE preview_id = $1", preview.preview_id)


def test_confirm_when_made_before_the_preview_expired_still_replies_the_strategy(world: World) -> None:
    preview = ask(world, PreviewStrategy(document=document()), "preview.5")
    made = ask(world, ConfirmStrategy(preview_id=preview.preview_id), "confirm.5")
    world.rows("UPDATE registry.previews SET expires_at = now() WHERE id = $1", preview.preview_id)
    again = ask(world, ConfirmStrategy(preview_id=preview.preview_id), "confirm.5.again")
    assert (again.strategy_id, again.version) == (made.strategy_id, made.version)


def test_stop_when_sent_many_times_at_once_is_one_change(world: World) -> None:
    preview = ask(world, PreviewStrategy(document=document()), "preview.6")
    made = ask(world, ConfirmStrategy(preview_id=preview.preview_id), "confirm.6")
    commands = StopStrategy(strategy_id=made.strategy_id, reason="take_profit", inputs={"profit_pct": "15.1"})
    replies = ask_at_once(world, commands, ["stop.6"] * 4 + [f"stop.6.{n}" for n in range(4)])
    assert {one.version for one in replies} == {2}
    newer = commands.model_copy(update={"inputs": {"profit_pct": "15.3"}})
    assert ask(world, newer, "stop.6").inputs == {"profit_pct": "15.1"}


def test_stop_when_strategy_is_unknown_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="is not known"):
        ask(world, StopStrategy(strategy_id="stnone", reason="take_profit"), "stop.7")


def test_word_when_about_an_unknown_transfer_is_refused_and_changes_nothing(world: World) -> None:
    preview = ask(world, PreviewStrategy(document=document()), "preview.8")
    made = ask(world, ConfirmStrategy(preview_id=preview.preview_id), "confirm.8")
    world.until(lambda: world.published(StrategyChanged, made.strategy_id), "confirmed")
    stray = settled(made.strategy_id, "trnone", "fund")
    with pytest.raises(Refused, match="is not of this strategy"):
        world.call(world.registry._registry.transfer_settled(stray, meta("stray")))  # type: ignore[union-attr]
    assert len(world.published(StrategyChanged, made.strategy_id)) == 1


def test_previews_when_expired_long_ago_and_not_confirmed_are_forgotten(world: World) -> None:
    unused = ask(world, PreviewStrategy(document=document()), "preview.9")
    used = ask(world, PreviewStrategy(document=document()), "preview.10")
    ask(world, ConfirmStrategy(preview_id=used.preview_id), "confirm.10")
    ids = [unused.preview_id, used.preview_id]
    world.rows("UPDATE registry.previews SET expires_at = now() - interval '2 days' WHERE id = ANY($1)", ids)
    world.call(world.registry._registry.forget_old())  # type: ignore[union-attr]
    kept = world.rows("SELECT id FROM registry.previews WHERE id = ANY($1)", ids)
    assert [row["id"] for row in kept] == [used.preview_id]
