"""What open orders hold: the same in whatever order words, fills and withdrawals come, nothing once all have ended."""

import random
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_rebuild import rebuild
from services.ledger.adapters.postgres_reservations import AvailableAnswers
from services.ledger.pages import TransferState
from services.ledger.requests import Body
from services.ledger.reservations import Phase
from shared.contracts.reservations import AssetAvailable, ReportAvailable
from shared.contracts.wire import Meta
from shared.core.errors import Refused
from tests.services.ledger.messages import Scene, request_of
from tests.services.ledger.order_histories import Delivery, held_by_movements, history
from tests.services.ledger.projecting import projector_on
from tests.services.ledger.stories import deliver

D = Decimal
SCENE = Scene()
SEEDS = 200
KEY = ("paper-s1", "o1")
META = Meta("q", "test", datetime(2026, 1, 1, tzinfo=UTC), "q", "")
MONEY = (SCENE.deposit(), SCENE.fund())
INTENT = SCENE.word(may_take=(("USDT", "500"),))


def delivered(*bodies: Body) -> Delivery:
    delivery = Delivery()
    delivery.deliver([*MONEY, *bodies], random.Random(0))
    return delivery


def held(delivery: Delivery) -> dict[str, Decimal]:
    return delivery.pages.reservations.orders[KEY].held


def moved(delivery: Delivery) -> list[tuple[Phase, str, Decimal, int | None]]:
    return [(made.phase, made.asset, made.amount, made.sequence) for made in delivery.pages.reservations.movements]


def test_hold_when_an_order_is_intended_filled_in_part_and_ended_is_pending_posted_and_voided() -> None:
    delivery = delivered(INTENT, SCENE.fill(1), SCENE.word(1, "partially_filled", 2))
    assert moved(delivery) == [
        (Phase.PENDING, "USDT", D(500), None),
        (Phase.POSTED, "USDT", D(400), 3),
        (Phase.VOIDED, "USDT", D(100), None),
    ]
    assert held(delivery) == {}


@pytest.mark.parametrize("state", ["withheld", "rejected", "unfilled", "absent", "filled", "partially_filled"])
def test_hold_when_an_order_has_ended_is_nothing_even_if_its_intent_comes_after(state: str) -> None:
    end = SCENE.word(1, state, 2)
    assert held(delivered(INTENT, end)) == {}
    late = delivered(end, INTENT, INTENT)
    assert held(late) == {}
    assert moved(late) == []
    assert late.pages.reservations.orders[KEY].may_take == {"USDT": D(500)}


def test_hold_when_the_venue_takes_an_end_back_is_there_again_less_what_was_filled() -> None:
    delivery = delivered(INTENT, SCENE.word(1, "rejected", 2), SCENE.fill(1), SCENE.word(1, "open", 3))
    assert held(delivery) == {"USDT": D(100)}


def test_hold_when_a_fill_comes_before_the_intent_is_what_is_left() -> None:
    assert held(delivered(SCENE.fill(1), INTENT)) == {"USDT": D(100)}
    assert held(delivered(SCENE.fill(1, quote_quantity="510"), INTENT)) == {}


def test_fill_when_it_takes_more_than_its_order_held_is_booked_all_the_same() -> None:
    delivery = delivered(SCENE.word(may_take=(("USDT", "100"),)), SCENE.fill(1))
    assert delivery.pages.balance("strategy:paper-s1", "USDT") == D(200)
    assert held(delivery) == {}


def test_word_when_it_counts_no_versions_reserves_nothing() -> None:
    assert delivered(SCENE.word(version=0, may_take=(("USDT", "500"),))).pages.reservations.orders == {}


@pytest.mark.parametrize(
    ("word", "field"),
    [
        (SCENE.word(may_take=(("USDT", "499"),)), "may_take"),
        (SCENE.word(2, may_take=(("USDT", "-1"),)), "may_take"),
        (SCENE.word(1, "filled", 1), "state"),
        (SCENE.word(1, "lost", 2), "state"),
        (SCENE.word(1, "filled", 2).model_copy(update={"venue": "other"}), "venue"),
        (SCENE.word(2, "open", -1), "version"),
    ],
)
def test_word_when_it_contradicts_an_earlier_one_is_refused_and_changes_nothing(word: Body, field: str) -> None:
    delivery = delivered(INTENT)
    before = str(delivery.figures())
    with pytest.raises(Refused, match=field):
        delivery.pages.reservations.learn(word)  # type: ignore[arg-type]
    assert str(delivery.figures()) == before


@pytest.mark.parametrize("out", [SCENE.withdraw(1), SCENE.release(1, 5)], ids=["withdraw", "release"])
def test_money_taken_out_when_an_order_is_open_waits_for_its_end(out: Body) -> None:
    delivery = delivered(INTENT, SCENE.fill(1), out)
    assert delivery.transfers["paper-t5"].state is TransferState.WAITING
    assert delivery.pages.balance("strategy:paper-s1", "USDT") == D(200)
    delivery.deliver([SCENE.word(1, "filled", 2)], random.Random(0))
    assert delivery.transfers["paper-t5"].state is TransferState.POSTED
    assert delivery.pages.balance("strategy:paper-s1", "USDT") < D(200)


@pytest.mark.parametrize("all_end", [True, False])
def test_books_and_holds_when_messages_come_often_and_in_any_order_are_the_same(all_end: bool) -> None:
    for seed in range(SEEDS):
        dice = random.Random(seed)
        phases = history(dice, all_end=all_end)
        plain = Delivery()
        for phase in phases:
            plain.deliver(phase, dice)
        shuffled, come = Delivery(), list[Body]()
        for phase in phases:
            come += phase
            copies = [body for body in phase for _ in range(dice.randint(1, 5))] + dice.sample(come, len(come) // 5)
            dice.shuffle(copies)
            shuffled.deliver(copies, dice)
        assert shuffled.figures() == plain.figures(), f"seed {seed}"
        for delivery in (plain, shuffled):
            reservations = delivery.pages.reservations
            known = {key: order.held for key, order in reservations.orders.items() if order.held}
            assert held_by_movements(reservations.movements) == known, f"seed {seed}"
            assert not (all_end and known), f"seed {seed}"
            assert all(one.state is TransferState.POSTED for one in delivery.transfers.values()), f"seed {seed}"


@pytest.mark.servers
async def test_available_when_orders_are_open_is_what_they_do_not_hold(journal: PostgresJournal) -> None:
    answers = AvailableAnswers(journal.pool)
    await deliver(journal, [request_of(body) for body in (*MONEY, INTENT, SCENE.fill(1))])
    await deliver(journal, [request_of(SCENE.word(2, "intended", 1, "SELL", (("BTC", "1"),)))])
    told = await answers.available(ReportAvailable(strategy_id="paper-s1"), META)
    assert told.sequence == 3
    assert told.assets == (
        AssetAvailable(asset="BTC", balance=D("0.00999"), reserved=D("0.00999"), available=D(0)),
        AssetAvailable(asset="USDT", balance=D(200), reserved=D(100), available=D(100)),
    )
    assert {one.client_order_id: one.amounts for one in told.orders} == {"o1": {"USDT": D(100)}, "o2": {"BTC": D(1)}}
    await deliver(journal, [request_of(SCENE.word(number, "unfilled", 2)) for number in (1, 2)])
    told = await answers.available(ReportAvailable(strategy_id="paper-s1"), META)
    assert [one.available for one in told.assets] == [D("0.00999"), D(200)]
    assert told.orders == ()
    assert (await answers.available(ReportAvailable(strategy_id="nobody"), META)).assets == ()


@pytest.mark.servers
async def test_rebuild_when_orders_were_held_finds_no_difference_and_names_what_was_changed(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    dice = random.Random(1)
    for phase in history(dice, all_end=False):
        requests = [request_of(body) for body in phase for _ in range(dice.randint(1, 3))]
        dice.shuffle(requests)
        await deliver(journal, requests, 7)
    await projector_on(journal.pool).catch_up()
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.order_holds WHERE held <> '{}'") > 0
    assert (await rebuild(postgres_dsn)).differences == ()
    assert (await check_books(postgres_dsn)).differences == ()
    connection = await asyncpg.connect(postgres_dsn)
    try:
        for change, named in (
            ("UPDATE ledger.order_holds SET taken = '{}' WHERE taken <> '{}'", "ledger.order_holds"),
            ("UPDATE ledger.order_holds SET held = '{}' WHERE held <> '{}'", "ledger.reservations"),
        ):
            await connection.execute(change)
            assert any(line.startswith(named) for line in (await rebuild(postgres_dsn)).differences), change
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("UPDATE ledger.reservations SET amount = 1")
    finally:
        await connection.close()
