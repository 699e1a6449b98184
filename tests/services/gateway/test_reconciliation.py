"""/reconciliation and `trimtab reconcile`, with a real ledger behind the gateway."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.command_line import reconcile
from shared.contracts import subjects
from shared.contracts.orders import DepositObserved
from shared.contracts.reconciliation import BalanceDiffered, ForeignOrderFound
from tests.servers import PostgresServer
from tests.services.strategy_registry.world import TOKEN, World
from tests.services.strategy_registry.worlds import world_with_ledger

pytestmark = pytest.mark.servers

D = Decimal


@pytest.fixture(scope="module")
def world(
    postgres_server: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with world_with_ledger(postgres_server, migrated_template, tmp_path_factory.mktemp("ledger")) as running:
        yield running


@pytest.fixture
def differing(world: World, request: pytest.FixtureRequest) -> str:
    """A venue of the test's own with 1000 USDT, of which 100 are missing, and 2 BTC too many."""
    venue = f"v{abs(hash(request.node.name)) % 10**9}"
    deposit = DepositObserved(
        deposit_id="d", venue=venue, asset="USDT", amount=D(1000), market_time=datetime(2024, 1, 1, tzinfo=UTC)
    )
    world.publish(subjects.deposits(venue), deposit)
    for number, (asset, amount) in enumerate([("USDT", "-100"), ("BTC", "2")]):
        seen = BalanceDiffered(
            difference_id=str(number),
            venue=venue,
            asset=asset,
            amount=D(amount),
            at_venue=D(900) if asset == "USDT" else D(2),
            in_books=D(1000) if asset == "USDT" else D(0),
            market_time=deposit.market_time,
            detail="trades in BTCUSDT that are not Trimtab's: BTCUSDT:7: 2 for 100" if asset == "BTC" else "",
        )
        world.publish(subjects.balances_differed(venue), seen)
    world.until(lambda: len(shown(world, venue).get("suspense", [])) == 2, "both are in suspense")
    world.until(lambda: len(shown(world, venue)["events"]) == 4, "and told")
    return venue


def shown(world: World, venue: str) -> dict[str, Any]:
    answer: dict[str, Any] = world.http.get(f"/reconciliation/{venue}").json()
    return answer


def test_reconciliation_when_something_is_in_suspense_shows_it_and_why(world: World, differing: str) -> None:
    found = shown(world, differing)
    assert found["reconciled"] is False
    assert found["suspense"] == [
        {"asset": "BTC", "amount": "2", "at_venue": "2", "wallet": "0"},
        {"asset": "USDT", "amount": "-100", "at_venue": "900", "wallet": "1000"},
    ]
    texts = " | ".join(event["text"] for event in found["events"])
    assert "holds 2 BTC more than the books (trades in BTCUSDT that are not Trimtab's: BTCUSDT:7" in texts
    assert "900 USDT at the venue, 1000 in the books" in texts
    every = world.http.get("/reconciliation").json()["venues"]
    assert [one["reconciled"] for one in every if one["venue"] == differing] == [False]
    alerts = [one["text"] for one in world.http.get("/notifications").json()["notifications"]]
    assert any(f"the account at {differing} holds 100 USDT less" in text for text in alerts)


def test_acceptance_when_sent_twice_with_a_key_is_one_and_the_wallet_bears_it(world: World, differing: str) -> None:
    body, headers = {"asset": "USDT", "amount": "-100"}, {"Idempotency-Key": f"once-{differing}"}
    answers = [world.http.post(f"/reconciliation/{differing}/accept", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    world.until(lambda: [one["asset"] for one in shown(world, differing)["suspense"]] == ["BTC"], "it is gone")
    assert world.http.get(f"/wallets/{differing}").json()["balances"] == {"USDT": "900"}
    assert "was borne by the wallet" in shown(world, differing)["events"][0]["text"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"asset": "USDT", "amount": "-99"}, "amount"),
        ({"asset": "ETH", "amount": "1"}, "amount"),
        ({"asset": "btc", "amount": "2"}, "asset"),
        ({"asset": "BTC"}, "amount"),
        ({"asset": "BTC", "amount": 2.0}, "amount"),
        ({"asset": "BTC", "amount": "2", "to": "me"}, "to"),
    ],
)
def test_acceptance_when_it_is_not_what_is_there_is_refused(
    world: World, differing: str, body: dict[str, Any], field: str
) -> None:
    answer = world.http.post(f"/reconciliation/{differing}/accept", json=body)
    assert (answer.status_code, answer.json()["error"]["problems"][0]["field"]) == (422, field)
    assert len(shown(world, differing)["suspense"]) == 2


def test_venue_when_unknown_is_404(world: World) -> None:
    assert world.http.get("/reconciliation/nowhere").status_code == 404
    assert world.http.post("/reconciliation/nowhere/accept", json={"asset": "A", "amount": "1"}).status_code == 404


def test_foreign_order_when_found_is_among_the_events(world: World, differing: str) -> None:
    order = ForeignOrderFound(venue=differing, symbol="BTCUSDT", venue_order_id="77", client_order_id="web_1")
    world.publish(subjects.foreign_orders(differing), order)
    wanted = "order 77 in BTCUSDT is open and is not Trimtab's"
    world.until(lambda: shown(world, differing)["events"][0]["text"] == wanted, "it is told")


def test_commands_when_run_show_and_accept(
    world: World, differing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"GATEWAY_URL": world.url, "API_TOKEN": TOKEN, "DATA": str(tmp_path)}.items():
        monkeypatch.setenv(f"TRIMTAB_{name}", value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(reconcile.app, [*arguments, "--venue", differing], env=dict(os.environ))
        return result.exit_code, result.output

    code, text = run("show")
    assert code == 0
    assert "USDT" in text
    assert "-100" in text
    assert run("accept", "USDT", "-99")[0] == 2
    assert run("accept", "ETH")[0] == 2
    assert run("accept", "USDT", "-100") == (0, f"the wallet of {differing} has borne 100 USDT\n")
    world.until(lambda: len(shown(world, differing)["suspense"]) == 1, "the view has it")
    assert run("accept", "BTC") == (0, f"2 BTC is in the wallet of {differing} now\n")
    world.until(lambda: shown(world, differing)["reconciled"], "the view has it")
    assert "the books and the account agree" in run("show")[1]
