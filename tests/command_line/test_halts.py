"""`trimtab halt|resume`, through the gateway to the switch of a venue's executor, kept in a real database."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deploy.command_line.__main__ import program
from services.order_executor.adapters.postgres_halts import HaltStore
from services.order_executor.halting import HaltSwitch
from shared.contracts import subjects
from shared.contracts.halts import HaltVenue, ResumeVenue
from shared.messaging.broker import make_broker
from shared.messaging.database_postgres import create_pool
from shared.messaging.outbox_postgres import OutboxRelay
from shared.messaging.requests import serve
from tests.services.strategy_registry.world import VENUE, World

pytestmark = pytest.mark.servers


@pytest.fixture
def switch(gateway: World) -> Iterator[HaltSwitch]:
    """The switch of the world's venue, as an executor serves it."""

    async def start() -> tuple[HaltSwitch, Any, Any]:
        pool = await create_pool(gateway.dsn, "switch", max_size=3)
        broker = make_broker(gateway.nats_url, "switch")
        relay = OutboxRelay(pool, "executor", broker)
        made = HaltSwitch(VENUE, HaltStore(pool, VENUE), relay.wake)
        serve(
            broker,
            subjects.halt_commands(VENUE),
            "order_executor",
            {HaltVenue: made.on_halt, ResumeVenue: made.on_resume_asked},
        )
        await broker.start()
        await made.load()
        gateway._spawn(relay.run())
        return made, broker, pool

    made, broker, _ = gateway.call(start())
    yield made
    gateway.call(broker.stop())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program(), list(arguments))


def json_of(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["halts"]
    return found


def test_halt_when_asked_is_in_force_when_the_command_returns_and_until_resumed(
    gateway: World, switch: HaltSwitch
) -> None:
    before = time.monotonic()
    (halted,) = json_of("halt", "--reason", "looks [red]wrong")
    assert time.monotonic() - before < 3  # the program's own start included
    assert (halted["venue"], halted["halted"], halted["cause"]) == (VENUE, True, "asked")
    assert switch.reason == "looks [red]wrong"
    assert json_of("halt", "--show", "--venue", VENUE) == [halted]
    assert json_of("halt", "--show", "--venue", "nowhere") == []
    text = run("halt", "--show").stdout
    assert "looks [red]wrong" in text
    (told,) = gateway.until(
        lambda: gateway.http.get("/notifications?limit=1").json()["notifications"], "the notification"
    )
    assert (told["kind"], told["severity"]) == ("halted", "warning")
    (resumed,) = json_of("resume", "--venue", VENUE)
    assert not resumed["halted"]
    assert switch.reason is None


def test_halt_when_the_token_is_missing_is_refused(gateway: World, switch: HaltSwitch) -> None:
    for path in ("/halt", "/resume"):
        answer = gateway.http.post(path, headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401
    assert gateway.http.get("/halts", headers={"Authorization": ""}).status_code == 401
    assert switch.reason is None


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/halt", {"venue": "a.b"}, "venue"),
        ("/halt", {"venue": 5}, "venue"),
        ("/halt", {"reason": "x" * 201}, "reason"),
        ("/halt", {"why": "x"}, "why"),
        ("/resume", {"reason": "x"}, "reason"),
    ],
)
def test_halt_when_asked_wrongly_names_the_field(
    gateway: World, switch: HaltSwitch, path: str, body: dict[str, Any], field: str
) -> None:
    answer = gateway.http.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["field"] == field
    assert switch.reason is None


def test_halt_when_no_executor_answers_is_never_reported_as_done(gateway: World) -> None:
    answer = gateway.http.post("/halt", json={"venue": "nowhere"})
    assert answer.status_code == 503
    assert "not certain at nowhere" in answer.json()["error"]["message"]
