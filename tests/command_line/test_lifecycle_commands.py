"""The commands on a strategy that runs, as a user gives them, against a gateway and a registry that answers as told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from deploy.command_line import notifications, strategy
from deploy.command_line.strategy_file import load_document, parse_document
from shared.contracts import lifecycle, subjects
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.contracts.strategies import PreviewStrategy, RequestMade, RequestStage, StopStrategy
from shared.core.errors import Conflict
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyStatus
from tests.services.gateway.registry_stand_in import MADE_AT, StandInWorld, running_stand_in
from tests.services.strategy_registry.world import TOKEN, document, position

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInWorld]:
    with running_stand_in() as running:
        yield running


@pytest.fixture
def world(stand_in: StandInWorld, monkeypatch: pytest.MonkeyPatch) -> StandInWorld:
    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", stand_in.url)
    monkeypatch.setenv("TRIMTAB_API_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")
    return stand_in


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(strategy.app, list(arguments), input=answer)


def succeeded(*arguments: str, answer: str | None = None) -> str:
    result = run(*arguments, answer=answer)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(code: int, *arguments: str, answer: str | None = None) -> str:
    result = run(*arguments, answer=answer)
    assert result.exit_code == code, result.output
    return result.stderr


def test_edit_when_agreed_shows_the_changes_first_and_makes_them(world: StandInWorld) -> None:
    one = world.running("[red]edited", revision=2)
    text = succeeded("edit", one, "--set", "take_profit=15", "--set", "targets.BTC=50", "--set", "targets.ETH=20",
                     answer="y\n")  # fmt: skip
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == f"[red]edited {one}, revision 2"
    assert {"take_profit (none) 15", "targets.BTC 40 50", "targets.ETH 30 20"} <= set(lines)
    assert "it is traded towards the new targets at once" in lines
    assert world.last_asked() == lifecycle.EditStrategy(
        strategy_id=one,
        revision=2,
        changes={"take_profit": "15", "targets": {"BTC": "50", "ETH": "20", "SOL": "30"}},
        rebalance=True,
    )


def test_edit_when_paused_or_investing_says_when_it_trades_and_what_stops(world: StandInWorld) -> None:
    one = world.auto_investing("investing and edited")
    targets = ("--set", "targets.BTC=50", "--set", "targets.ETH=20", "--yes")
    assert "Auto-Invest stops with it" in succeeded("edit", one, *targets)
    other = world.running("resting and edited")
    succeeded("pause", other)
    text = succeeded("edit", other, *targets)
    assert "it is traded towards the new targets once it is resumed" in text
    assert "Auto-Invest" not in text


def test_edit_when_not_agreed_or_not_clear_changes_nothing(world: StandInWorld, tmp_path: Path) -> None:
    one, before = world.running("not edited"), len(world.stand_in.asked)
    file = tmp_path / "file.yaml"
    file.write_text("name: x")
    assert "nothing was changed" in failed(1, "edit", one, "--set", "name=x", answer="n\n")
    assert "--set or --file" in failed(2, "edit", one, "--yes")
    assert "--set or --file" in failed(2, "edit", one, "--set", "name=x", "--file", str(file), "--yes")
    assert "cannot be changed" in failed(2, "edit", one, "--set", "venue=binance", "--yes")
    assert "changes nothing" in failed(2, "edit", one, "--set", "name=not edited", "--yes")
    assert len(world.stand_in.asked) == before


def test_edit_when_another_edit_came_first_exits_1_and_says_so(world: StandInWorld) -> None:
    one = world.running("edited by two")
    world.stand_in.refusal = Conflict.one("revision", 1, "2", "is not the newest revision")
    assert "not the newest revision" in failed(1, "edit", one, "--set", "name=x", "--yes")


def test_edit_when_a_file_is_given_makes_it_like_the_file(world: StandInWorld, tmp_path: Path) -> None:
    one = world.running("like a file", document={"take_profit": "15", "stop_loss": "-8"})
    file = tmp_path / "file.yaml"
    succeeded("export", one, "--output", str(file))
    file.write_text(file.read_text().replace('take_profit: "15"\n', "").replace("-8", "-9.0"))
    found = json.loads(succeeded("edit", one, "--file", str(file), "--yes", "--no-rebalance", "--json"))
    assert found["document"] == document(name="like a file", stop_loss="-9")
    command = world.last_asked()
    assert isinstance(command, lifecycle.EditStrategy)
    assert (command.changes, command.rebalance) == ({"take_profit": None, "stop_loss": "-9"}, False)


ASKED: list[tuple[list[str], type[Any], dict[str, Any]]] = [
    (["add", "ID", "500"], lifecycle.AddMoney, {"amount": "500"}),
    (["add", "ID", "0.01", "--asset", "BTC"], lifecycle.AddMoney, {"amount": "0.01", "asset": "BTC"}),
    (["withdraw", "ID", "--amount", "250"], lifecycle.WithdrawMoney, {"amount": "250"}),
    (
        ["withdraw", "ID", "--percent", "25", "--asset", "BTC"],
        lifecycle.WithdrawMoney,
        {"percent": "25", "asset": "BTC"},
    ),
    (["pause", "ID"], lifecycle.PauseStrategy, {"reason": "paused_by_user"}),
    (["resume", "ID"], lifecycle.ResumeStrategy, {}),
    (["rebalance", "ID"], lifecycle.RebalanceNow, {}),
    (["stop", "ID"], StopStrategy, {"reason": "stopped_by_user", "action": ExitAction.SELL}),
    (["stop", "ID", "--keep"], StopStrategy, {"reason": "stopped_by_user", "action": ExitAction.KEEP}),
]


@pytest.mark.parametrize(("words", "kind", "fields"), ASKED, ids=[" ".join(row[0]) for row in ASKED])
def test_command_when_given_asks_for_that_and_shows_the_state(
    world: StandInWorld, words: list[str], kind: type[Any], fields: dict[str, Any]
) -> None:
    one = world.running(" ".join(words))
    command = [one if word == "ID" else word for word in words]
    assert f"{one} is " in succeeded(*command)
    assert world.last_asked() == kind(strategy_id=one, **fields)
    assert json.loads(succeeded(*command, "--json"))["version"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "ID", "-5"], "must be positive"),
        (["add", "ID", "1e5"], "not a plain decimal"),
        (["withdraw", "ID"], "exactly one"),
        (["withdraw", "ID", "--amount", "5", "--percent", "5"], "exactly one"),
        (["withdraw", "ID", "--percent", "100"], "to take out all, stop it"),
        (["calendar"], "--file FILE"),
        (["clone", "ID", "--amount", "-5"], "must be positive"),
        (["clone", "ID", "--set", "leverage=5"], "not a field"),
    ],
)
def test_command_when_bad_exits_2_with_the_reason(world: StandInWorld, words: list[str], message: str) -> None:
    one = world.running("given badly")
    assert message in failed(2, *[one if word == "ID" else word for word in words])


@pytest.mark.parametrize(
    "words", ["edit ID --set name=x", "add ID 5", "pause ID", "stop ID", "clone ID", "export ID", "versions ID"]
)
def test_strategy_when_unknown_exits_1_and_tells_where_the_ids_are(world: StandInWorld, words: str) -> None:
    assert "trimtab strategy list" in failed(1, *words.replace("ID", "stnone").split())


def test_clone_when_agreed_previews_the_copy_and_starts_it(world: StandInWorld) -> None:
    one = world.running("cloned", document={"stop_loss": "-8"})
    answer = run("clone", one, "--name", "Second", "--amount", "500", "--set", "stop_loss=", "--set", "targets.SOL=",
                 "--set", "targets.BTC=70", answer="n\n")  # fmt: skip
    assert (answer.exit_code, "not started" in answer.stderr) == (1, True)
    assert "Second at paper" in answer.stdout
    wanted = document(name="Second", amount="500", targets={"BTC": "70", "ETH": "30"})
    assert world.last_asked() == PreviewStrategy(document=wanted)


def test_export_when_written_reads_back_and_does_not_overwrite(world: StandInWorld, tmp_path: Path) -> None:
    one = world.running("exported", document={"auto_invest": {"amount": "50", "schedule": {"monthly": "31"}}})
    wanted = document(name="exported", auto_invest={"amount": "50", "schedule": {"monthly": "31"}})
    assert parse_document(succeeded("export", one).encode(), "x") == wanted
    assert json.loads(succeeded("export", one, "--json")) == wanted
    for name, options in (("a.yaml", []), ("a.json", ["--json"])):
        file = tmp_path / name
        assert succeeded("export", one, "--output", str(file), *options) == ""
        assert load_document(file) == wanted
        assert "--force" in failed(1, "export", one, "--output", str(file))
        succeeded("export", one, "--output", str(file), "--force")
    assert "No such file" in failed(1, "export", one, "--output", str(tmp_path / "none" / "a.yaml"))


def test_import_when_not_agreed_shows_what_it_would_do_and_starts_nothing(world: StandInWorld, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    succeeded("export", world.running("imported"), "--output", str(file))
    answer = run("import", str(file), answer="n\n")
    assert (answer.exit_code, "imported at paper" in answer.stdout) == (1, True)
    assert world.last_asked() == PreviewStrategy(document=document(name="imported"))


def test_versions_when_shown_tell_who_when_and_what(world: StandInWorld) -> None:
    one = world.running("versioned")
    succeeded("edit", one, "--set", "take_profit=15", "--yes")
    succeeded("pause", one)
    lines = [" ".join(line.split()) for line in succeeded("versions", one, "--limit", "2").splitlines()]
    assert lines[1] == "6 2026-01-01 13:06:00 user Paused"
    assert lines[2:4] == [
        "5 2026-01-01 13:05:00 user The definition was edited: take profit",
        "take_profit: (none) -> 15",
    ]
    assert lines[4] == "older ones: --before 5"
    assert len(json.loads(succeeded("versions", one, "--json"))["versions"]) == 3


def test_calendar_when_shown_tells_local_time_utc_and_remarks(world: StandInWorld, tmp_path: Path) -> None:
    one = world.auto_investing("dated", cycle=1, settled_until=datetime(2026, 1, 2, 13, tzinfo=UTC))
    lines = [" ".join(line.split()) for line in succeeded("calendar", one, "--count", "2").splitlines()]
    assert lines[1:3] == [
        "Fri 2026-01-09 14:00 Europe/Berlin 2026-01-09 13:00",
        "Fri 2026-01-16 14:00 Europe/Berlin 2026-01-16 13:00",
    ]
    file = tmp_path / "monthly.yaml"
    file.write_text("auto_invest: {amount: 50, schedule: {monthly: 31, at: '08:00', zone: Europe/Berlin}}\n")
    text = succeeded("calendar", "--file", str(file), "--since", "2026-02-01T00:00:00Z", "--count", "1")
    assert "2026-02-28 08:00" in text
    assert "28 days" in text
    assert "time with zone" in failed(2, "calendar", "--file", str(file), "--since", "tomorrow")


def test_notifications_when_shown_come_newest_first(world: StandInWorld) -> None:
    def told(*arguments: str) -> str:
        app = typer.Typer()
        app.command()(notifications.notifications)
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    one = world.running("[b]told of")
    assert "nothing to be told" in told("--strategy", one)
    for number, severity in enumerate((Severity.INFO, Severity.ALERT)):
        raised = NotificationRaised(
            strategy_id=one, strategy_version=number, kind="failed", severity=severity, text=f"[x]thing {number}"
        )
        world.publish(subjects.notifications(one), raised, f"cli.{number}")
    world.until(lambda: "thing 1" in told("--strategy", one), "both of them")
    lines = [" ".join(line.split()[2:]) for line in told("--strategy", one).splitlines()]
    assert lines[1:] == [f"alert [x]thing 1 {one}", f"info [x]thing 0 {one}"]
    assert [found["severity"] for found in json.loads(told("--json", "--limit", "1"))["notifications"]] == ["alert"]


def test_show_when_much_is_under_way_tells_all_of_it(world: StandInWorld) -> None:
    request = RequestMade(
        request_id="rq1",
        kind=RequestKind.WITHDRAW,
        stage=RequestStage.OPEN,
        cause="user",
        asked_at=MADE_AT,
        amount="100",
    )
    one = world.auto_investing("busy", cycle=2, invested="100")
    busy = world.stand_in.states[one][-1].model_copy(
        update={
            "version": 9,
            "status": StrategyStatus.PAUSED,
            "change": "paused",
            "reason": "paused_by_user",
            "requests": (request,),
        }
    )
    world.publish(subjects.strategies(one), busy, f"{one}.9")
    world.publish(subjects.positions(one), position(one, 1, "1200", BTC="0.0101", ETH="0.144", SOL="3.6"))
    world.until(lambda: json.loads(succeeded("show", one, "--json"))["version"] == 9, "the newest state")
    world.until(lambda: "value 1225.00" in succeeded("show", one), "the position")
    text = succeeded("show", one)
    for part in (
        "paused (by user) at paper, revision 1",
        "Auto-Invest: 50 USDT every friday at 14:00 Europe/Berlin",
        "Waits until the strategy is resumed",
        "invested 100.00 so far, 2 cycles decided",
        "1. Withdraw 100 USDT: at work on it",
        f"trimtab strategy resume {one}",
    ):
        assert part in text
    assert "paused" in succeeded("list")


def test_show_when_something_else_than_the_status_had_a_reason_does_not_mix_them(world: StandInWorld) -> None:
    one = world.running("investing", change="auto_invest_stopped", reason="composition_changed")
    assert "active at paper, revision 1" in succeeded("show", one)


def test_show_when_closed_tells_what_came_back_and_the_final_profit(world: StandInWorld) -> None:
    state = {"status": StrategyStatus.CLOSED, "change": "closed", "exit_reason": "stopped_by_user"}
    one = world.running("closed", exit_action=ExitAction.KEEP, released={"BTC": "0.02", "USDT": "3"},
                        inputs={"profit": "-75.5"}, **state)  # fmt: skip
    moved = {"contributed_in": "1500", "withdrawn": "300"}
    made = position(one, 9, "0").model_dump() | moved
    world.publish(subjects.positions(one), type(position(one, 9, "0")).model_validate(made))
    world.until(lambda: "profit in the end" in succeeded("show", one), "the position")
    text = succeeded("show", one)
    assert "returned: 0.02 BTC, 3 USDT (`trimtab wallet show`; what could not be sold is dust there)" in text
    assert "put in 1500.00, taken out before 300.00, profit in the end -75.50 (-5.03 %)" in text
    assert "its coins are kept as they are" in text
