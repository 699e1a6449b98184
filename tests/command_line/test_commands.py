"""`trimtab strategy|wallet|events` as a user runs them, against a running gateway."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from deploy.command_line import events, strategy, wallet
from shared.contracts import subjects
from shared.contracts.strategies import StrategyChanged
from tests.services.gateway.paper_venue import Faucet
from tests.services.strategy_registry.world import World, decision, document, position, progressed
from tests.services.strategy_registry.world import wallet as wallet_of

pytestmark = pytest.mark.servers

GOOD = """\
name: "[red]Three majors"
venue: paper
funding_asset: USDT
amount: 1200
targets: {BTC: 40, ETH: 30, SOL: 30}
rebalance: {threshold: 5}
take_profit: 15
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return str(file)


def run(app: typer.Typer, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def succeeded(app: typer.Typer, *arguments: str, answer: str | None = None) -> str:
    result = run(app, *arguments, answer=answer)
    assert result.exit_code == 0, result.output
    return result.stdout


def json_of(app: typer.Typer, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(succeeded(app, *arguments, "--json"))
    return found


def test_preview_when_good_shows_what_would_happen(gateway: World, good: str) -> None:
    text = succeeded(strategy.app, "preview", good)
    for part in (
        "[red]Three majors at paper: rebalances when an asset is 5 percentage",
        "buy BTC",
        "1200",
        "105 USDT",
        "take-profit at 15 %",
    ):
        assert part in text
    assert json_of(strategy.app, "preview", good)["minimum_amount"] == "105"


EVERY_RULE = """\
name: Every rule
venue: paper
funding_asset: USDT
amount: 1200
targets: {BTC: 40, ETH: 30, USDT: 30}
rebalance:
  threshold: {factor: 20, floor: 2.5, per_asset: {BTC: 6}}
  interval: 7d
  min_drift: 0.5
  destination: halfway
  cooldown: 1h
  cost_guard: 2
take_profit: {percent: 15, confirm: 5}
stop_loss: {percent: -8}
start: {asset: BTC, at_or_below: 45000.5}
"""


def test_preview_when_the_file_has_every_rule_shows_each(gateway: World, tmp_path: Path) -> None:
    file = tmp_path / "every.yaml"
    file.write_text(EVERY_RULE)
    text = " ".join(succeeded(strategy.app, "preview", str(file)).split())
    for part in ("per asset (BTC 6)", "interval 7d", "min drift 0.5", "destination halfway", "cost guard 2",
                 "take-profit at 15 % of the money put in, on 5 consecutive quotes", "stop-loss at -8 %",
                 "the first purchase waits for asset BTC, at or below 45000.5"):  # fmt: skip
        assert part in text
    kept = json_of(strategy.app, "preview", str(file))["document"]
    assert kept["rebalance"]["threshold"] == {"factor": "20", "floor": "2.5", "per_asset": {"BTC": "6"}}
    assert kept["stop_loss"] == "-8"


def test_schema_when_printed_needs_no_gateway() -> None:
    schema = json.loads(succeeded(strategy.app, "schema", "--max-assets", "20"))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]["targets"]["maxProperties"] == 20


def test_create_when_agreed_starts_one_strategy(gateway: World, good: str) -> None:
    text = succeeded(strategy.app, "create", good, answer="y\n")
    strategy_id = next(word for word in text.split() if word.startswith("st") and len(word) == 28)
    gateway.until(lambda: gateway.published(StrategyChanged, strategy_id), "the strategy")
    assert strategy_id in [one["id"] for one in json_of(strategy.app, "list")["strategies"]]


def test_create_when_not_agreed_changes_nothing(gateway: World, good: str) -> None:
    before = len(json_of(strategy.app, "list")["strategies"])
    assert run(strategy.app, "create", good, answer="n\n").exit_code == 1
    assert len(json_of(strategy.app, "list")["strategies"]) == before


def test_create_when_json_prints_only_json(gateway: World, good: str) -> None:
    assert json_of(strategy.app, "create", good, "--yes")["status"] == "funding"


def test_show_and_stop_when_running_tell_where_it_stands(gateway: World, good: str) -> None:
    strategy_id = json_of(strategy.app, "create", good, "--yes")["id"]
    holdings = position(strategy_id, 1, "1200", BTC="0.0101", ETH="0.144", SOL="3.6")
    gateway.publish(subjects.positions(strategy_id), holdings)
    gateway.publish(subjects.plan_results(strategy_id), progressed(strategy_id, 1, "closed", kind="initial", fills=3))
    gateway.until(lambda: json_of(strategy.app, "show", strategy_id)["last_plan"], "the plan")
    gateway.until(lambda: json_of(strategy.app, "show", strategy_id)["value"], "the value")
    text = succeeded(strategy.app, "show", strategy_id)
    for part in ("[red]Three majors", "value 1225.00, put in 1200.00, profit 25.00 (2.08 %)", "41.22", "35 - 45"):
        assert part in text
    assert "1225.00" in succeeded(strategy.app, "list")
    assert "is funding" in succeeded(strategy.app, "stop", strategy_id)
    assert json_of(strategy.app, "stop", strategy_id)["exit_reason"] == "stopped_by_user"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("BTC: 40", "BTC: 39.99"), "sum 99.99"),
        (GOOD.replace("amount: 1200", "amount: 200000"), "less than 200000 USDT"),
        (GOOD.replace("amount: 1200", "amount: .nan"), "amount"),
        (GOOD.replace("ETH: 30", "BTC: 30"), "is given twice (line 5"),
        (GOOD.replace("SOL: 30", "NOPE: 30"), "targets.NOPE"),
        ("name: [", "not valid YAML"),
    ],
)
def test_file_when_bad_exits_2_with_the_reason(gateway: World, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    for command in ("preview", "create"):
        result = run(strategy.app, command, str(file))
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stdout == ""


def test_strategy_when_unknown_exits_1(gateway: World) -> None:
    result = run(strategy.app, "show", "stnone")
    assert (result.exit_code, "no strategy stnone" in result.stderr) == (1, True)


def test_token_when_wrong_exits_1_with_the_reason(gateway: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_API_TOKEN", "wrong")
    result = run(strategy.app, "list")
    assert (result.exit_code, "the token is wrong" in result.stderr) == (1, True)


def test_deposit_when_the_wallet_shows_it_returns(gateway: World, faucet: Faucet) -> None:
    gateway.publish(subjects.wallets("paper"), wallet_of(100, USDT="10"))
    gateway.until(lambda: json_of(wallet.app, "show")["wallets"][0]["version"] == 100, "the wallet")

    def observed(body: dict[str, Any]) -> None:
        balance = Decimal(10) + Decimal(body["amount"])
        gateway.publish(subjects.wallets("paper"), wallet_of(101, USDT=str(balance)))

    faucet.on_deposit = observed
    try:
        assert "1200 USDT in the wallet" in succeeded(wallet.app, "deposit", "USDT", "1200")
    finally:
        faucet.on_deposit = lambda _: None
    text = succeeded(wallet.app, "show", "--venue", "paper")
    assert "1210" in text


def test_deposit_when_not_waiting_returns_at_once(gateway: World, faucet: Faucet) -> None:
    done = json_of(wallet.app, "deposit", "BTC", "0.5", "--no-wait")
    assert (done["asset"], done["amount"], done["seen"]) == ("BTC", "0.5", False)
    assert faucet.asked[-1][2]["id"] == done["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("USDT", "--", "-5"), "must be positive"), (("USDT", "1e5"), "amount"), (("USDT", "5", "--venue", "x"), "paper")],
)
def test_deposit_when_bad_exits_2(gateway: World, arguments: tuple[str, ...], message: str) -> None:
    result = run(wallet.app, "deposit", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_events_when_tailed_come_one_a_line(gateway: World, good: str) -> None:
    strategy_id = json_of(strategy.app, "create", good, "--yes")["id"]
    for number in range(2):
        message = decision(strategy_id, f"code{number}")
        gateway.publish(subjects.evaluations(strategy_id), message, f"{strategy_id}.{number}")
    chosen = ("tail", "--strategy", strategy_id, "--type", "trimtab.decision.recorded", "--since", "all")
    lines = succeeded(events.app, *chosen, "--count", "2").splitlines()
    assert ["decision.recorded" in line and f"code{number}" in line for number, line in enumerate(lines)] == [True] * 2
    found = [json.loads(line) for line in succeeded(events.app, *chosen, "--count", "2", "--json").splitlines()]
    assert [event["data"]["code"] for event in found] == ["code0", "code1"]


def test_events_when_the_query_is_bad_exits_2(gateway: World) -> None:
    result = run(events.app, "tail", "--since", "yesterday")
    assert (result.exit_code, "since" in result.stderr) == (2, True)


def test_command_when_no_gateway_answers_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.command_line import api

    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(api, "_PATIENCE_S", 0.0)
    result = run(events.app, "tail")
    assert (result.exit_code, "does not answer" in result.stderr) == (1, True)


def test_document_of_the_tests_is_the_one_of_the_file(good: str) -> None:
    from deploy.command_line.strategy_file import load_document

    assert load_document(Path(good)) == document(name="[red]Three majors", take_profit="15")
