"""Dust: /wallets and `trimtab wallet`, with a real ledger behind the gateway."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.command_line import wallet
from shared.contracts import subjects
from tests.servers import PostgresServer
from tests.services.ledger.messages import Scene
from tests.services.strategy_registry.world import TOKEN, World
from tests.services.strategy_registry.worlds import world_with_ledger

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def world(
    postgres_server: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with world_with_ledger(postgres_server, migrated_template, tmp_path_factory.mktemp("ledger")) as running:
        yield running


@pytest.fixture
def dusty(world: World, request: pytest.FixtureRequest) -> str:
    """A venue of the test's own whose one strategy was sold, but for 0.00009 BTC."""
    scene = Scene(f"v{abs(hash(request.node.name)) % 10**9}")
    world.publish(subjects.deposits(scene.venue), scene.deposit())
    world.until(lambda: of(world, scene.venue).get("balances"), "the money is there")
    world.publish(subjects.transfer_commands(scene.venue), scene.fund())
    for fill in (scene.fill(1), scene.fill(2, "SELL", "0.0099", "396", "0.396")):
        world.publish(subjects.orders_filled(fill.strategy_id), fill)
    world.publish(subjects.transfer_commands(scene.venue), scene.release(2, sold_into="USDT"))
    world.until(lambda: of(world, scene.venue)["balances"] == {"USDT": "995.604"}, "the money is back")
    world.until(lambda: of(world, scene.venue)["dust"] == {"BTC": "0.00009"}, "the dust is told")
    return scene.venue


def of(world: World, venue: str) -> dict[str, Any]:
    answer: dict[str, Any] = world.http.get(f"/wallets/{venue}").json()
    return answer


def test_sweep_when_sent_twice_with_a_key_is_one(world: World, dusty: str) -> None:
    body, headers = {"asset": "BTC", "amount": "0.00004"}, {"Idempotency-Key": f"once-{dusty}"}
    answers = [world.http.post(f"/wallets/{dusty}/dust/sweep", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    world.until(lambda: of(world, dusty)["dust"] == {"BTC": "0.00005"}, "a part is left")
    world.until(lambda: of(world, dusty)["balances"].get("BTC") == "0.00004", "the wallet has it")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"asset": "BTC", "amount": "0.0001"}, "amount"),
        ({"asset": "BTC", "amount": "0"}, "amount"),
        ({"asset": "ETH", "amount": "1"}, "amount"),
        ({"asset": "BTC"}, "amount"),
        ({"asset": "BTC", "amount": "1", "to": "me"}, "to"),
    ],
)
def test_sweep_when_it_is_not_there_is_refused(world: World, dusty: str, body: dict[str, Any], field: str) -> None:
    answer = world.http.post(f"/wallets/{dusty}/dust/sweep", json=body)
    assert (answer.status_code, answer.json()["error"]["problems"][0]["field"]) == (422, field)
    assert of(world, dusty)["dust"] == {"BTC": "0.00009"}


def test_sweep_when_the_venue_is_unknown_is_404(world: World) -> None:
    body = {"asset": "BTC", "amount": "1"}
    assert world.http.post("/wallets/nowhere/dust/sweep", json=body).status_code == 404


def test_commands_when_run_show_dust_and_sweep_it(
    world: World, dusty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"GATEWAY_URL": world.url, "API_TOKEN": TOKEN, "DATA": str(tmp_path)}.items():
        monkeypatch.setenv(f"TRIMTAB_{name}", value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(wallet.app, [*arguments, "--venue", dusty], env=dict(os.environ))
        return result.exit_code, result.output

    code, text = run("show")
    assert code == 0
    assert "dust" in text
    assert "0.00009" in text
    assert run("sweep", "ETH")[0] == 2
    assert run("sweep", "BTC") == (0, f"0.00009 BTC is in the wallet of {dusty} now\n")
    world.until(lambda: of(world, dusty)["dust"] == {}, "the view has it")
    assert "dust" not in run("show")[1]
    assert run("sweep") == (0, f"there is no dust at {dusty}\n")
