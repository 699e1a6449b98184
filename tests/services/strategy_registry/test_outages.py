"""NATS and Postgres killed under a running registry and gateway: nothing is lost, everything goes on by itself."""

from collections.abc import Iterator

import httpx
import pytest

from shared.contracts import subjects
from shared.contracts.strategies import StrategyChanged
from shared.core.identity import transfer_id
from tests.servers import EmbeddedNats, EmbeddedPostgres
from tests.services.strategy_registry.world import World, document, settled

pytestmark = pytest.mark.servers


@pytest.fixture
def fragile(fresh_nats: EmbeddedNats, fresh_postgres: EmbeddedPostgres) -> Iterator[World]:
    """A world whose servers may be killed."""
    world = World(fresh_nats.url, fresh_postgres.dsn_of("trimtab"))
    world.start()
    yield world
    world.stop()


def previewed(world: World) -> str:
    return str(world.http.post("/strategies/preview", json=document()).json()["preview_id"])


def confirmed(world: World, preview_id: str) -> str:
    """Confirm, repeating it with the same key for as long as the answer is 'not now'."""

    def once() -> str:
        headers = {"Idempotency-Key": f"confirm.{preview_id}"}
        answer = world.http.post("/strategies", json={"preview_id": preview_id}, headers=headers)
        assert answer.status_code in {201, 503}, answer.text
        return str(answer.json().get("id", ""))

    strategy_id: str = world.until(once, "confirmed", within_s=40)
    return strategy_id


def test_registry_when_postgres_is_killed_answers_not_now_and_then_takes_every_step(
    fragile: World, fresh_postgres: EmbeddedPostgres
) -> None:
    preview_id = previewed(fragile)
    strategy_id = confirmed(fragile, preview_id)
    fresh_postgres.kill()
    answer = fragile.http.post("/strategies/preview", json=document())
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "retry_later")
    fragile.publish(subjects.transfers(strategy_id), settled(strategy_id, transfer_id(strategy_id, "fund", 0), "fund"))
    assert fragile.http.get(f"/strategies/{strategy_id}").json()["status"] == "funding"
    fresh_postgres.restart()
    fragile.until(lambda: len(fragile.published(StrategyChanged, strategy_id)) == 2, "funded", within_s=40)
    assert confirmed(fragile, preview_id) == strategy_id
    assert [one.change for one in fragile.published(StrategyChanged, strategy_id)] == ["confirmed", "funded"]


def test_registry_when_nats_is_killed_publishes_what_was_committed_once_it_is_back(
    fragile: World, fresh_nats: EmbeddedNats
) -> None:
    first = confirmed(fragile, previewed(fragile))
    fragile.until(lambda: fragile.published(StrategyChanged, first), "the first")
    fresh_nats.kill()
    answer = fragile.http.post(f"/strategies/{first}/stop", headers={"Idempotency-Key": "stop"})
    assert answer.status_code == 503
    assert fragile.http.get(f"/strategies/{first}").status_code == 200
    fresh_nats.restart()

    def stopped() -> bool:
        try:
            again = fragile.http.post(f"/strategies/{first}/stop", headers={"Idempotency-Key": "stop"})
        except httpx.TimeoutException:
            return False
        return again.status_code == 200

    fragile.until(stopped, "stopped", within_s=40)
    second = confirmed(fragile, previewed_when_back(fragile))
    fragile.until(lambda: fragile.published(StrategyChanged, second), "the second", within_s=40)
    changes = [one.change for one in fragile.published(StrategyChanged, first)]
    assert sorted(set(changes)) == ["confirmed", "exit_requested"]
    fragile.until(lambda: fragile.http.get("/healthz").status_code == 200, "healthy again", within_s=40)


def previewed_when_back(world: World) -> str:
    def once() -> str:
        answer = world.http.post("/strategies/preview", json=document())
        return str(answer.json().get("preview_id", ""))

    preview_id: str = world.until(once, "previewed", within_s=40)
    return preview_id
