"""Every rule as a strategy file, run twice: once as a user would, once to be asked for each day why it did what it did.

The two reports are equal to the last byte, and every answer is that of a computation of the test's own (`oracle.py`).
"""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.command_line.strategy_file import load_document
from deploy.demo.lockstep import lockstep
from deploy.demo.report import make_report
from deploy.demo.scenario import CYCLES as FUNDED
from deploy.demo.session import Ending
from deploy.embedded.options import ExchangeOptions
from tests.end_to_end.asking import why_command
from tests.end_to_end.oracle import Day, Expectation, Holdings, holdings_at
from tests.end_to_end.replays import SHOWN, STRATEGY_FILES, assert_every_rule_fired, normalised, replay
from tests.end_to_end.rule_market import ROWS, days_in, market_file
from tests.end_to_end.running_stack import RunningStack, running_stack
from tests.servers import run_apart

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

DOCUMENTS = {path.stem: load_document(path) for path in STRATEGY_FILES}
NAMES = {document["name"]: stem for stem, document in DOCUMENTS.items()}
ON_THE_WAY = {
    "plan_open",
    "fills_pending",
    "awaiting_funds",
    "awaiting_activation",
    "awaiting_release",
    "sealed",
    "money_arriving",
    "awaiting_position",
    "awaiting_registry",
}
CYCLES = {"auto_invest_due", "auto_invest_drawdown"}
ACTING = {"initial_purchase", "threshold_reached", "interval_due", "take_profit", "stop_loss", *CYCLES}
HALF_SPREAD = Decimal("0.0002")
ASKED_AT_ONCE = 8

Answer = dict[str, Any]
Days = list[tuple[datetime, dict[str, Decimal]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a strategy of the second run did, and its answers by day, oldest first."""

    fills: Sequence[Mapping[str, Any]]
    plans: Sequence[datetime]
    answers: Mapping[datetime, list[Answer]]


@dataclass(frozen=True, slots=True)
class Again:
    """The second run. ``minimum``: the venue's smallest order in USDT; ``command``: what `strategy why` said."""

    report: dict[str, Any]
    asked: Mapping[str, Asked]
    minimum: Decimal
    command: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return market_file(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def first(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of `trimtab demo` with every strategy file."""
    return replay(tmp_path_factory.mktemp("first"), prices, STRATEGY_FILES).report


@pytest.fixture(scope="module")
def again(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Again:
    """The same once more on a stack that is still there to be asked."""
    return run_apart(_run_and_ask(prices, tmp_path_factory.mktemp("again")))


async def _run_and_ask(prices: Path, folder: Path) -> Again:
    market = ExchangeOptions(prices_file=prices, start_paused=True)
    async with running_stack(folder, market, list(DOCUMENTS.values()), lockstep=True) as running:
        async with lockstep(running.stack, running.exchange) as driver:
            passed = await driver.run(running.session, Ending(until_end=True), asyncio.Event())
        await running.session.settle()
        report = (await make_report(running.stack, running.session, running.began, passed)).content
        strategies = (await running.gateway.get("/strategies"))["strategies"]
        instruments = (await running.gateway.get("/venues/paper/instruments"))["instruments"]
        ids = {NAMES[one["name"]]: one["id"] for one in strategies}
        asked = {stem: await _ask(running, ids[stem], days_in(prices)) for stem in ids}
        command = await asyncio.to_thread(why_command, running, ids["hybrid_band"], "--at", "2020-03-12")
        return Again(report, asked, max(Decimal(one["min_notional"]) for one in instruments), command)


async def _ask(running: RunningStack, strategy_id: str, days: Days) -> Asked:
    connection = await asyncpg.connect(running.stack.postgres_dsn)
    try:
        fills = await connection.fetch(
            "SELECT f.*, o.side, o.asset FROM executor.fills f JOIN executor.orders o USING (client_order_id) "
            "WHERE f.strategy_id = $1",
            strategy_id,
        )
        plans = await connection.fetch(
            "SELECT (body ->> 'market_time')::timestamptz AS at FROM executor.plans WHERE strategy_id = $1", strategy_id
        )
    finally:
        await connection.close()
    turns = asyncio.Semaphore(ASKED_AT_ONCE)

    async def answer(at: datetime) -> list[Answer]:
        async with turns:
            found = await running.gateway.get(f"/strategies/{strategy_id}/decisions", at=at.isoformat())
        return [one for one in reversed(found["decisions"]) if one["code"] not in ON_THE_WAY]

    answers = await asyncio.gather(*(answer(at) for at, _ in days))
    times = [at for at, _ in days]
    return Asked([dict(one) for one in fills], [one["at"] for one in plans], dict(zip(times, answers, strict=True)))


def test_files_when_run_over_the_days_each_trade_for_the_reasons_they_are_about(first: dict[str, Any]) -> None:
    assert_every_rule_fired(first, NAMES)
    assert first["lockstep"]["rows"] == ROWS - 1


def test_files_when_run_again_give_the_same_report_to_the_last_byte(first: dict[str, Any], again: Again) -> None:
    assert normalised(again.report) == normalised(first)


def test_why_when_asked_on_the_command_line_says_it_in_plain_words(again: Again) -> None:
    assert again.command.returncode == 0, again.command.stderr
    assert again.command.stdout.startswith("2020-03-12 00:00:00: ")
    assert "the threshold is max(20 % of target, 3)" in again.command.stdout


@pytest.mark.parametrize("stem", sorted(SHOWN))
def test_why_when_asked_for_each_day_has_the_reason_that_prices_and_fills_give(
    stem: str, again: Again, prices: Path
) -> None:
    document, asked = DOCUMENTS[stem], again.asked[stem]
    funded: Holdings = {document["funding_asset"]: Decimal(document["amount"])}
    expectation = Expectation(document, again.minimum, wallet=wallet_for(stem))
    acted = 0
    final: list[Answer] = []
    for at, known in days_in(prices):
        answers = asked.answers[at]
        if any(asset not in known for asset in {*document["targets"], document["funding_asset"]} - {"USDT"}):
            assert answers == [], f"{at:%Y-%m-%d}: not listed yet"
            continue
        if expectation.ended:
            assert answers == final, f"{at:%Y-%m-%d}: has ended, the last reason answers"
            continue
        assert answers, f"no reason for {at:%Y-%m-%d}"
        assert {datetime.fromisoformat(one["last_at"]) for one in answers} == {at}
        began, settled = answers[0], answers[-1]
        held = holdings_at(with_money(funded, expectation), asked.fills, at, inclusive=False)
        bids = bids_in(began, held, known)
        day = Day(at, bids, held)
        assert began["code"] in expectation.on(day), (at, began)
        if began["code"] != "paused":
            check_figures(began, expectation, day)
        assert began["acted"] == (began["code"].partition(":")[0] in ACTING)
        if at in asked.plans:
            acted += 1
            expectation.has_traded(at)
        if began["code"] in CYCLES:
            was_made = expectation.cycle_decided(day)
            assert any(one["code"].startswith("new_money") for one in answers) == was_made, (at, answers)
            assert (at in asked.plans) == was_made
        if expectation.ended:
            final = answers
        elif expectation.paused:
            assert settled["code"] == "paused"
        elif began["acted"]:
            after = holdings_at(with_money(funded, expectation), asked.fills, at, inclusive=True)
            assert not settled["acted"], f"{at:%Y-%m-%d}: nothing more to do"
            check_figures(settled, expectation, replace(day, holdings=after))
    assert acted == len(asked.plans)
    assert expectation.ended == (SHOWN[stem].status == "closed")


def wallet_for(stem: str) -> Decimal:
    """What Auto-Invest finds of its asset: plenty of USDT, of a coin what the demo deposits for this strategy alone."""
    plan = DOCUMENTS[stem].get("auto_invest", {})
    return Decimal("Infinity") if plan.get("asset", "USDT") == "USDT" else Decimal(plan["amount"]) * FUNDED * 11 / 10


def with_money(funded: Holdings, expectation: Expectation) -> Holdings:
    """What was put in at first and by every cycle so far."""
    total = dict(funded)
    for _, asset, amount in expectation.money:
        total[asset] = total.get(asset, Decimal(0)) + amount
    return total


def bids_in(answer: Answer, held: Holdings, known: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The recorded prices, which are the day's less half the spread; those that are not recorded are computed."""
    bids = {}
    for asset in {*held, *known} - {"USDT"}:
        text = answer["inputs"].get(f"price.{asset}")
        bids[asset] = Decimal(text) if text else known[asset] * (1 - HALF_SPREAD / 2)
        assert abs(bids[asset] / known[asset] - 1) < HALF_SPREAD, (asset, answer)
    return bids


def check_figures(answer: Answer, expectation: Expectation, day: Day) -> None:
    """Weights, targets, profit and destination are those of the holdings at the day's prices; the sentence says so."""
    inputs, weights, total = answer["inputs"], expectation.weights(day), sum(day.values.values())
    for asset, weight in weights.items():
        assert abs(Decimal(inputs[f"weight.{asset}"]) - weight) < Decimal("1e-7"), answer
        assert Decimal(inputs[f"target.{asset}"]) == expectation.targets.get(asset, 0)
    assert abs(Decimal(inputs["contributed"]) / expectation.put_in - 1) < Decimal("1e-7")
    assert abs(Decimal(inputs["profit_pct"]) - 100 * (total / expectation.put_in - 1)) < Decimal("1e-6")
    code, _, asset = answer["code"].partition(":")
    aims = {name.partition(".")[2]: Decimal(text) for name, text in inputs.items() if name.startswith("aim.")}
    if code == "threshold_reached" and "destination" in expectation.document["rebalance"]:
        assert aims.keys() == weights.keys()
    for aimed, to in expectation.aim(day).items() if aims else ():
        assert abs(aims[aimed] - to) < Decimal("1e-7"), answer
    drifts = expectation.drifts(day)
    about = asset if asset in drifts else max(drifts, key=drifts.__getitem__)
    if code in {"within_band", "threshold_reached", "below_minimum", "cooldown", "below_min_drift"}:
        assert f"{about} was at " in answer["sentence"], answer
    if code in {"within_band", "threshold_reached", "interval_due", "interval_not_due", "hold_mode"}:
        digits = [f"{round(drifts[about], places).normalize():f} points" for places in (2, 4, 6, 8)]
        assert any(text in answer["sentence"] for text in digits), answer
    if code.endswith(("take_profit", "stop_loss")):
        assert f"{round(100 * (total / expectation.put_in - 1), 2).normalize():f} %" in answer["sentence"], answer
