"""`trimtab audit` and /audit, with a real ledger behind the gateway and its real database."""

import json
import signal
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from typer.testing import CliRunner, Result

from deploy.command_line.audit import app
from shared.contracts import subjects
from shared.contracts.orders import DepositObserved
from tests.servers import PostgresServer, run_apart
from tests.services.order_executor.rig import Process
from tests.services.strategy_registry.world import TOKEN, World
from tests.services.strategy_registry.worlds import running_world

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "signing-key.pem"


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer, migrated_template: str, key_file: Path) -> Iterator[World]:
    """Registry, gateway, and a ledger that signs, with 40 entries."""
    with running_world(postgres_server, migrated_template) as running:
        environment = {
            "TRIMTAB_NATS_URL": running.nats_url,
            "TRIMTAB_POSTGRES_DSN": running.dsn,
            "TRIMTAB_LEDGER_SIGNING_KEY_FILE": str(key_file),
        }
        ledger = Process("services.ledger", environment, key_file.parent / "ledger.log")
        try:
            for number in range(40):
                running.publish(subjects.deposits("paper"), deposit(number))
            running.until(lambda: size_of(running) == 40, "all are in the log")
            yield running
        finally:
            ledger.end(signal.SIGKILL)


def deposit(number: int) -> DepositObserved:
    return DepositObserved(
        deposit_id=f"d{number}",
        venue="paper",
        asset="USDT",
        amount=Decimal(number + 1) / 8,
        market_time=datetime(2024, 1, 1, tzinfo=UTC),
    )


def size_of(world: World) -> int:
    answer = world.http.get("/audit/tree-head", params={"covering_all": "true"})
    return int(answer.json()["size"]) if answer.is_success else 0


@pytest.fixture
def audit(world: World, monkeypatch: pytest.MonkeyPatch) -> "Audit":
    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", world.url)
    monkeypatch.setenv("TRIMTAB_API_TOKEN", TOKEN)
    monkeypatch.setenv("TRIMTAB_AUDITOR_DSN", world.dsn)
    return Audit(world)


class Audit:
    """The commands, and the database behind them."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def json(self, *arguments: str) -> dict[str, Any]:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        answer: dict[str, Any] = json.loads(result.output)
        return answer

    def sql(self, *statements: str) -> list[Any]:
        async def execute() -> list[Any]:
            connection = await asyncpg.connect(self.world.dsn)
            try:
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return list(await connection.fetch(statements[-1]))
            finally:
                await connection.close()

        return run_apart(execute())


def test_key_when_made_is_readable_by_its_owner_only(audit: Audit, key_file: Path) -> None:
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


def test_head_when_shown_is_the_signed_note(audit: Audit) -> None:
    shown = audit.json("head")
    result = audit.run("head")
    assert result.exit_code == 0
    assert result.output.startswith(shown["note"])
    assert "\n40\n" in shown["note"]


@pytest.mark.parametrize("entry", ["1", "40", "deposit:paper:d31"])
def test_prove_when_the_entry_is_there_proves_it(audit: Audit, entry: str) -> None:
    result = audit.run("prove", entry)
    assert result.exit_code == 0, result.output
    assert "is in the log of" in result.output
    assert audit.json("prove", entry)["head"]["size"] >= 40


@pytest.mark.parametrize("entry", ["301000", "deposit:paper:none"])
def test_prove_when_there_is_no_such_entry_is_refused(audit: Audit, entry: str) -> None:
    result = audit.run("prove", entry)
    assert result.exit_code == 2
    assert "cannot be proved" in result.output


def test_prove_when_the_entry_was_changed_is_not_proved(audit: Audit) -> None:
    change = "UPDATE ledger.transactions SET correlation_id = {} WHERE sequence = 7"
    allow = "ALTER TABLE ledger.transactions DISABLE TRIGGER append_only"
    before = audit.sql("SELECT correlation_id FROM ledger.transactions WHERE sequence = 7")[0][0]
    audit.sql(allow, change.format("'other'"), "SELECT 1")
    try:
        result = audit.run("prove", "7")
        verified = audit.run("verify")
    finally:
        audit.sql(
            change.format(f"'{before}'"), "ALTER TABLE ledger.transactions ENABLE TRIGGER append_only", "SELECT 1"
        )
    assert result.exit_code == 1
    assert "entry 7: its path does not lead to the root" in result.output
    assert verified.exit_code == 1
    assert "WRONG entry 7: its content gives the leaf" in verified.output


def test_consistency_when_the_log_has_grown_is_proved_from_the_kept_head(audit: Audit, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    assert audit.json("verify", "--kept", str(kept))["right"]
    before = json.loads(kept.read_text())["heads"][0]["size"]
    audit.world.publish(subjects.deposits("paper"), deposit(10_000 + before))
    audit.world.until(lambda: size_of(audit.world) > before, "one more is in the log")
    result = audit.run("consistency", "--kept", str(kept))
    assert result.exit_code == 0, result.output
    assert "is the one kept" in result.output
    assert audit.json("verify", "--kept", str(kept))["covered_by_heads"] > before
    assert json.loads(kept.read_text())["heads"][0]["size"] > before
    assert audit.run("consistency", "3", "20").exit_code == 0
    assert audit.run("consistency", "20", "3").exit_code == 2
    assert audit.run("consistency").exit_code == 2


def test_verify_when_the_kept_head_is_of_another_history_tells(audit: Audit, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    assert audit.run("verify", "--kept", str(kept)).exit_code == 0
    content = json.loads(kept.read_text())
    content["heads"][0]["root"] = "00" * 32
    kept.write_text(json.dumps(content))
    for command in ("verify", "consistency"):
        result = audit.run(command, "--kept", str(kept))
        assert result.exit_code == 1
        assert "earlier check" in result.output
    assert json.loads(kept.read_text()) == content
    content["keys"] = []
    kept.write_text(json.dumps(content))
    assert "a key that is not accepted" in audit.run("verify", "--kept", str(kept)).output


def test_verify_when_given_exported_events_finds_the_same(audit: Audit, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    rows = audit.sql("SELECT headers ->> 'ce-type', payload FROM ledger.outbox ORDER BY id")
    lines = [orjson.dumps({"type": row[0], "data": orjson.Fragment(row[1])}) for row in rows]
    file.write_bytes(b"\n".join([*reversed(lines), *lines]))
    told, found = audit.json("verify", "--events", str(file)), audit.json("verify")
    assert told["entries"] >= 40
    assert {name: told[name] for name in ("root", "entries", "heads")} == {
        name: found[name] for name in ("root", "entries", "heads")
    }
    file.write_bytes(b"\n".join(line for line in lines if b'"sequence":12,' not in line))
    result = audit.run("verify", "--events", str(file))
    assert result.exit_code == 1
    assert "WRONG entry 12: it is missing" in result.output
    file.write_bytes(b"\n".join(lines).replace(b'"amount":"1.5"', b'"amount":"1.6"', 1))
    assert "WRONG entry 12: its content gives" in audit.run("verify", "--events", str(file)).output


def test_verify_when_there_is_nothing_to_read_says_so(audit: Audit, tmp_path: Path) -> None:
    assert "No such file" in audit.run("verify", "--events", str(tmp_path / "none")).output
    result = audit.run("verify", "--postgres", "postgresql://nobody@127.0.0.1:1/none")
    assert result.exit_code == 1
    assert "the database cannot be read" in result.output


def test_api_when_asked_for_what_cannot_be_is_refused(world: World) -> None:
    assert world.http.get("/audit/proofs/consistency", params={"from": 0}).status_code in (400, 422)
    assert world.http.get("/audit/proofs/inclusion", params={"entry": "nothing"}).status_code in (400, 422)
