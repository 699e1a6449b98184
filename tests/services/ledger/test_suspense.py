"""Facts that do not fit: fees in an asset nobody holds, fills of closed and unknown strategies, differences."""

from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.bookkeeping import Bookkeeper, NotCovered
from services.ledger.handlers import TRIES_UNTIL_SUSPENSE, Handlers
from services.ledger.requests import Body, Request
from shared.contracts.catalogue import LEDGER_FILLS
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.contracts.orders import OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered, BooksTotalled, SuspenseChanged
from shared.core.errors import Refused
from tests.services.ledger.messages import START, Scene, meta_of, request_of
from tests.services.ledger.test_bookkeeping import STRATEGY, keeper_after, told
from tests.services.ledger.test_journal import post

D = Decimal
SCENE = Scene()
CASH = (SCENE.deposit(), SCENE.fund())


def bnb_fee(number: int = 1, fee: str = "0.3") -> OrderFilled:
    return SCENE.fill(number).model_copy(update={"fee": D(fee), "fee_asset": "BNB"})


def last_try(body: Body) -> Request:
    return Request(body, meta_of(body), is_last_try=True)


def difference(amount: str, number: int = 1, asset: str = "BTC") -> BalanceDiffered:
    return BalanceDiffered(
        difference_id=f"x{number}",
        venue="paper",
        asset=asset,
        amount=D(amount),
        at_venue=D(0),
        in_books=D(0),
        market_time=START,
    )


def acceptance(amount: str, asset: str = "BTC") -> AcceptSuspense:
    return AcceptSuspense(venue="paper", asset=asset, amount=D(amount))


def held(keeper: Bookkeeper, *accounts: str) -> dict[str, Decimal]:
    """What these accounts hold together."""
    totals: dict[str, Decimal] = {}
    for account in accounts:
        for asset, amount in keeper.pages.holdings(account).items():
            totals[asset] = totals.get(asset, D(0)) + amount
    return {asset: amount for asset, amount in totals.items() if amount}


@pytest.mark.parametrize(
    ("before", "strategy", "wallet", "suspense"),
    [
        ((SCENE.deposit(2, "1", "BNB"), SCENE.fund(2, "1", asset="BNB")), "0.7", None, None),
        ((SCENE.deposit(2, "1.1", "BNB"), SCENE.fund(2, "0.1", asset="BNB")), None, "0.8", None),
        ((SCENE.deposit(2, "0.2", "BNB"), SCENE.fund(2, "0.15", asset="BNB")), None, None, "-0.1"),
        ((), None, None, "-0.3"),
    ],
    ids=["strategy holds it", "wallet bears the rest", "both are too small", "nobody holds it"],
)
def test_fee_in_a_third_asset_when_posted_is_borne_by_strategy_then_wallet_then_suspense(
    before: Iterable[Body], strategy: str | None, wallet: str | None, suspense: str | None
) -> None:
    keeper = keeper_after(*CASH, *before, bnb_fee())
    for account, amount in ((STRATEGY, strategy), ("wallet:paper", wallet), ("suspense:paper", suspense)):
        assert keeper.pages.holdings(account).get("BNB") == (None if amount is None else D(amount)), account
    assert keeper.pages.holdings("fees:paper") == {"BNB": D("0.3")}
    assert keeper.pages.strategies["paper-s1"].fees == {"BNB": D("0.3")}
    alerts = told(keeper, NotificationRaised)
    assert len(alerts) == (0 if suspense is None else 1)
    (books,) = told(keeper, BooksTotalled)
    assert isinstance(books, BooksTotalled)
    assert books.held == held(keeper, STRATEGY, "wallet:paper", "suspense:paper")
    assert books.suspense == ({} if suspense is None else {"BNB": D(suspense)})


def test_fee_when_an_earlier_fill_is_missing_waits_so_that_order_decides_nothing() -> None:
    keeper = keeper_after(*CASH)
    assert [type(one) for one in keeper.settle_all([request_of(bnb_fee(2))])] == [NotCovered]
    bought = SCENE.fill(1, base="BNB", quantity="1", quote_quantity="10", fee="0")
    assert keeper.settle_all([request_of(bnb_fee(2)), request_of(bought)]) == [None, None]
    assert keeper.pages.holdings(STRATEGY)["BNB"] == D("0.7")


def test_fill_when_short_of_money_goes_to_suspense_with_the_last_try_only() -> None:
    keeper = keeper_after(*CASH)
    short = SCENE.fill(1, quote_quantity="700")
    assert [type(one) for one in keeper.settle_all([request_of(short)])] == [NotCovered]
    assert keeper.settle_all([last_try(short)]) == [None]
    assert keeper.pages.holdings(STRATEGY) == {"BTC": D("0.00999")}
    assert keeper.pages.holdings("suspense:paper") == {"USDT": D(-100)}
    (move,) = told(keeper, SuspenseChanged)
    assert isinstance(move, SuspenseChanged)
    assert (move.kind, move.strategy_id, move.asset, move.balance) == ("fill", "paper-s1", "USDT", D(-100))
    (alert,) = told(keeper, NotificationRaised)
    assert isinstance(alert, NotificationRaised)
    assert alert.severity is Severity.ALERT
    assert "100 USDT was not covered by it" in alert.text


def test_last_try_when_what_covers_it_is_in_the_group_needs_no_suspense() -> None:
    keeper = keeper_after(*CASH)
    assert keeper.settle_all([last_try(SCENE.fill(2, "SELL", "0.005", "210", "0.21")), request_of(SCENE.fill(1))]) == [
        None,
        None,
    ]
    assert keeper.changes.suspense == []


@pytest.mark.parametrize("closed", [True, False])
def test_fill_when_its_strategy_is_closed_or_unknown_is_in_suspense_whole(closed: bool) -> None:
    before = (*CASH, SCENE.release(0)) if closed else (SCENE.deposit(),)
    keeper = keeper_after(*before)
    late = SCENE.fill(1)
    assert keeper.settle_all([request_of(late) if closed else last_try(late)]) == [None]
    assert keeper.settle_all([request_of(SCENE.fill(2, "SELL", "0.001", "50", "0.05"))]) == [None]
    assert keeper.pages.holdings(STRATEGY) == {}
    assert keeper.pages.holdings("suspense:paper") == {"BTC": D("0.00899"), "USDT": D("-350.05")}
    assert keeper.pages.strategies["paper-s1"].fills_posted == 2
    assert held(keeper, STRATEGY, "wallet:paper", "suspense:paper") == {"BTC": D("0.00899"), "USDT": D("649.95")}
    assert len(told(keeper, NotificationRaised)) == 4


def test_difference_when_it_is_gone_again_leaves_nothing_in_suspense_and_says_so() -> None:
    keeper = keeper_after(SCENE.deposit(), difference("-0.5"), difference("-0.5"), difference("0.5", 2))
    assert keeper.pages.holdings("suspense:paper") == {}
    assert keeper.pages.sequence == 3
    severities = [one.severity for one in told(keeper, NotificationRaised) if isinstance(one, NotificationRaised)]
    assert severities == [Severity.ALERT, Severity.INFO]


@pytest.mark.parametrize(("amount", "wallet"), [("250", "1250"), ("-250", "750")])
def test_acceptance_when_it_names_what_is_in_suspense_gives_it_to_the_wallet(amount: str, wallet: str) -> None:
    keeper = keeper_after(SCENE.deposit(), difference(amount, asset="USDT"))
    command = request_of(acceptance(amount, "USDT"))
    assert keeper.settle_all([command, command]) == [None, None]
    assert keeper.pages.holdings("wallet:paper") == {"USDT": D(wallet)}
    assert keeper.pages.holdings("suspense:paper") == {}
    assert keeper.pages.sequence == 3


@pytest.mark.parametrize(
    ("amount", "asset", "message"),
    [("-1", "USDT", "is not what is in suspense"), ("0", "BTC", "is not what"), ("-2000", "USDT", "be borne by the")],
)
def test_acceptance_when_it_does_not_fit_is_refused(amount: str, asset: str, message: str) -> None:
    keeper = keeper_after(SCENE.deposit(), difference("-2000", asset="USDT"))
    with pytest.raises(Refused, match=message):
        keeper.settle(request_of(acceptance(amount, asset)))
    assert keeper.pages.sequence == 2


def test_tries_when_counted_end_before_the_consumer_gives_a_fill_up() -> None:
    assert LEDGER_FILLS.max_deliver > TRIES_UNTIL_SUSPENSE


class OneByOne:
    """Answers of a journal in which nothing is ever covered before the last try."""

    def __init__(self) -> None:
        self.last_tries = 0

    async def post(self, request: Request) -> None:
        if not request.is_last_try:
            raise NotCovered("not yet")
        self.last_tries += 1


async def test_handler_when_a_fill_stays_short_makes_the_last_try_after_the_others() -> None:
    books = OneByOne()
    handlers = Handlers(books)  # type: ignore[arg-type]
    fill = SCENE.fill(1)
    for _ in range(TRIES_UNTIL_SUSPENSE - 1):
        with pytest.raises(NotCovered):
            await handlers.fill(fill, meta_of(fill))
    assert books.last_tries == 0
    await handlers.fill(fill, meta_of(fill))
    assert books.last_tries == 1


async def test_journal_when_facts_do_not_fit_is_right_in_an_outsiders_eyes(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    assert await post(journal, *CASH, bnb_fee(1)) == [None] * 3
    assert await post(journal, SCENE.release(1)) == [None]
    late = SCENE.fill(2, "SELL", "0.005", "210", "0.21")
    assert await post(journal, late) == [None]
    assert await post(journal, difference("0.25", 1, "ETH"), difference("-1", 2, "USDT")) == [None] * 2
    unknown = SCENE.fill(9, strategy="s9", base="SOL", quote_quantity="5")
    assert [type(one) for one in await post(journal, unknown)] == [NotCovered]
    assert await journal.post([last_try(unknown)]) == [None]
    for body in (bnb_fee(1), late, unknown, difference("-1", 2, "USDT")):
        assert await post(journal, body) == [None], "a repeat changes nothing"
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert {asset: amount for asset, amount in check.totals["suspense"].items() if amount} == {
        "BNB": D("-0.3"),
        "BTC": D("-0.005"),
        "ETH": D("0.25"),
        "SOL": D("0.00999"),
        "USDT": D("203.79"),
    }
    newest = await journal.pool.fetchval(
        "SELECT payload FROM ledger.outbox WHERE subject = 'books.paper' ORDER BY id DESC LIMIT 1"
    )
    assert BooksTotalled.model_validate_json(newest).held == check.held["paper"]


async def test_release_when_nothing_was_held_closes_the_strategy_for_good(journal: PostgresJournal) -> None:
    assert await post(journal, *CASH, SCENE.withdraw(amount="600"), SCENE.release(0)) == [None] * 4
    assert await journal.pool.fetchval("SELECT is_open FROM ledger.strategies") is False
    assert await post(journal, SCENE.fill(1)) == [None]
    rows = await journal.pool.fetch("SELECT account FROM ledger.balances WHERE amount <> 0 AND asset = 'BTC'")
    assert {row["account"] for row in rows} == {"suspense:paper", "fees:paper", "venue:paper"}


async def test_totals_when_the_ledger_starts_are_told_once_and_as_they_are(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    await journal.announce_totals()
    query = "SELECT message_id, payload FROM ledger.outbox WHERE subject LIKE 'books.%' ORDER BY id"
    assert await journal.pool.fetch(query) == [], "there is nothing yet"
    await post(journal, *CASH, bnb_fee(1))
    await journal.pool.execute("DELETE FROM ledger.outbox")  # books of a version that told no totals
    for _ in range(2):
        await journal.announce_totals()
    (told_once,) = await journal.pool.fetch(query)
    assert told_once["message_id"] == "books.paper.3"
    books = BooksTotalled.model_validate_json(told_once["payload"])
    assert books.held == (await check_books(postgres_dsn)).held["paper"]
    assert books.suspense == {"BNB": D("-0.3")}


fees = st.decimals("0", "0.02", places=6).map(str)


@given(
    bodies=st.lists(
        st.one_of(
            st.builds(bnb_fee, st.integers(1, 8), fees),
            st.builds(SCENE.fill, st.integers(9, 20), st.sampled_from(["BUY", "SELL"])),
            st.builds(difference, st.decimals("0.01", "9", places=2).map(str), st.integers(1, 5)),
            st.just(SCENE.release(2)),
            st.builds(SCENE.fund, st.integers(2, 4), st.just("50")),
        ),
        max_size=25,
    )
)
def test_books_when_nothing_is_refused_equal_the_venue_to_the_last_digit(bodies: list[Body]) -> None:
    keeper = keeper_after(*CASH)
    venue = {"USDT": D(1000)}
    for body in {request_of(body).transaction_id: body for body in bodies}.values():
        if keeper.settle_all([last_try(body)]) != [None]:
            assert not isinstance(body, OrderFilled), "a fill is a fact"
        elif isinstance(body, OrderFilled):
            sign = 1 if body.side == "BUY" else -1
            for asset, change in (
                (body.base, sign * body.quantity),
                (body.quote, -sign * body.quote_quantity),
                (body.fee_asset, -body.fee),
            ):
                venue[asset] = venue.get(asset, D(0)) + change
        elif isinstance(body, BalanceDiffered):
            venue[body.asset] = venue.get(body.asset, D(0)) + body.amount
    accounts = (STRATEGY, "wallet:paper", "suspense:paper")
    assert held(keeper, *accounts) == {asset: amount for asset, amount in venue.items() if amount}
    assert all(a >= 0 for account in accounts[:2] for a in keeper.pages.holdings(account).values())
