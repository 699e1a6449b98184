"""What a request does to the books: pure, without a database."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.announcements import announcements_of
from services.ledger.bookkeeping import Bookkeeper, NotCovered
from services.ledger.pages import Entry, Pages, TransferState
from services.ledger.requests import Body
from shared.contracts.books import PositionChanged, TransferSettled, WalletChanged
from shared.contracts.wire import Message
from shared.core.double_entry import changes_of, may_be_negative, unbalanced
from shared.core.errors import Refused
from shared.core.money import plain
from tests.services.ledger.messages import RECEIVED, START, Scene, request_of

D = Decimal
SCENE = Scene()
STRATEGY = "strategy:paper-s1"


def keeper_after(*bodies: Body) -> Bookkeeper:
    keeper = Bookkeeper(Pages(sequence=0, posted_at=RECEIVED), RECEIVED)
    outcomes = keeper.settle_all([request_of(body) for body in bodies])
    assert outcomes == [None] * len(bodies)
    return keeper


def told(keeper: Bookkeeper, of: type[Message]) -> list[Message]:
    announced = announcements_of(keeper.pages, keeper.changes, keeper.posted_at)
    return [each.message for each in announced if isinstance(each.message, of)]


def test_life_of_a_strategy_when_posted_leaves_everything_in_the_wallet_and_the_fees() -> None:
    keeper = keeper_after(
        SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.fill(2, "SELL", "0.005", "210", "0.21"), SCENE.release(2)
    )
    pages = keeper.pages
    assert pages.holdings("wallet:paper") == {"BTC": D("0.00499"), "USDT": D("809.79")}
    assert pages.holdings("fees:paper") == {"BTC": D("0.00001"), "USDT": D("0.21")}
    assert pages.holdings(STRATEGY) == {}
    record = pages.strategies["paper-s1"]
    assert (record.version, record.fills_posted) == (4, 2)
    assert (record.contributed, record.contributed_in) == (D(0), D(600))
    assert record.fees == {"BTC": D("0.00001"), "USDT": D("0.21")}
    assert pages.sequence == 5
    assert pages.venues["paper"].wallet_version == 3
    assert pages.venues["paper"].market_time == START + timedelta(seconds=2)


def test_position_when_several_entries_share_a_group_is_told_once_with_every_version_counted() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.fill(2, "SELL", "0.005", "210", "0.21"))
    (position,) = told(keeper, PositionChanged)
    assert position == PositionChanged(
        strategy_id="paper-s1",
        venue="paper",
        version=3,
        fills_posted=2,
        holdings={"BTC": D("0.00499"), "USDT": D("409.79")},
        contributed=D(600),
        fees_paid={"BTC": D("0.00001"), "USDT": D("0.21")},
        contributed_in=D(600),
    )
    (wallet,) = told(keeper, WalletChanged)
    assert wallet == WalletChanged(venue="paper", version=2, balances={"USDT": D(400)})


def test_fill_when_it_overtook_what_covers_it_is_posted_in_the_same_group() -> None:
    keeper = Bookkeeper(Pages(sequence=0, posted_at=RECEIVED), RECEIVED)
    bodies: list[Body] = [SCENE.fill(2, "SELL", "0.005", "210", "0.21"), SCENE.fill(1), SCENE.deposit()]
    assert [type(o) for o in keeper.settle_all([request_of(b) for b in bodies])] == [NotCovered, NotCovered, type(None)]
    assert keeper.settle_all([request_of(b) for b in [*bodies[:2], SCENE.fund()]]) == [None, None, None]
    assert [entry.transaction.kind for entry in keeper.changes.entries] == ["deposit", "fund", "fill", "fill"]


@pytest.mark.parametrize(
    ("fill", "needs"),
    [
        (SCENE.fill(1, quote_quantity="600.01"), "holds 600 USDT, needs 600.01"),
        (SCENE.fill(1, "SELL", "0.01", "400", "0"), "holds 0 BTC, needs 0.01"),
    ],
)
def test_fill_when_it_moves_more_than_is_held_changes_nothing(fill: Body, needs: str) -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund())
    before = (keeper.pages.sequence, dict(keeper.pages.balances))
    (outcome,) = keeper.settle_all([request_of(fill)])
    assert isinstance(outcome, NotCovered)
    assert needs in str(outcome)
    assert (keeper.pages.sequence, dict(keeper.pages.balances)) == before


def test_fund_when_the_wallet_holds_less_is_refused_for_good_with_the_reason() -> None:
    keeper = keeper_after(SCENE.deposit(amount="599.99"), SCENE.fund(), SCENE.deposit(2))
    keeper.settle(request_of(SCENE.fund()))
    assert told(keeper, TransferSettled) == [
        TransferSettled(
            transfer_id="paper-t1",
            strategy_id="paper-s1",
            venue="paper",
            purpose="fund",
            posted=False,
            reason="wallet holds 599.99 USDT, needs 600",
        )
    ]
    assert "paper-s1" not in keeper.pages.strategies


@pytest.mark.parametrize("changes", [{"amount": D(-1)}, {"amount": D(0)}, {"value_usdt": D(-1)}, {"venue": "other"}])
def test_fund_when_senseless_is_refused_durably_and_changes_nothing(changes: dict[str, object]) -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(1, "100"))
    command = SCENE.fund(2).model_copy(update=changes)
    assert keeper.settle_all([request_of(command)]) == [None]
    transfer = keeper.changes.transfers["paper-t2"]
    assert transfer.state is TransferState.REFUSED
    assert transfer.reason
    assert keeper.pages.sequence == 2
    assert keeper.pages.strategies["paper-s1"].version == 1


def test_release_when_fills_are_missing_waits_and_is_settled_with_the_last_of_them() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.release(2), SCENE.fill(1))
    assert told(keeper, TransferSettled)[1:] == []
    assert keeper.changes.transfers["paper-t9"].state is TransferState.WAITING
    keeper.settle(request_of(SCENE.fill(2, "SELL", "0.00999", "400", "0")))
    settled = told(keeper, TransferSettled)[1]
    assert isinstance(settled, TransferSettled)
    assert (settled.posted, settled.amounts) == (True, {"USDT": D(600)})
    assert keeper.pages.holdings(STRATEGY) == {}
    assert keeper.pages.waiting["paper-s1"] == {}


def test_release_when_the_strategy_is_not_funded_yet_waits_for_that() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.release(0))
    assert keeper.changes.settled == []
    keeper.settle(request_of(SCENE.fund()))
    assert [transfer.state for transfer in keeper.changes.settled] == [TransferState.POSTED] * 2
    assert keeper.pages.holdings("wallet:paper") == {"USDT": D(1000)}


def test_release_when_nothing_is_held_is_settled_without_an_entry() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.release(0), SCENE.release(0, number=10))
    transfer = keeper.changes.transfers["paper-t10"]
    assert (transfer.state, transfer.amounts, transfer.sequence) == (TransferState.POSTED, {}, None)
    assert keeper.pages.sequence == 3


@pytest.mark.parametrize("body", [SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.release(5)])
def test_repeat_when_equal_has_no_effect(body: Body) -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.release(5))
    before = (keeper.pages.sequence, dict(keeper.pages.balances), len(keeper.changes.settled))
    assert keeper.settle_all([request_of(body)] * 3) == [None] * 3
    assert (keeper.pages.sequence, dict(keeper.pages.balances), len(keeper.changes.settled)) == before


@pytest.mark.parametrize(
    "body",
    [
        SCENE.deposit(amount="1000.01"),
        SCENE.deposit(asset="USDC"),
        SCENE.fund(amount="600.01"),
        SCENE.fund(strategy="s2"),
        SCENE.fund().model_copy(update={"value_usdt": D(1)}),
        SCENE.fill(1, quantity="0.02"),
        SCENE.fill(1, "SELL"),
        SCENE.fill(1, fee="0.00002"),
        SCENE.fill(1, strategy="s2"),
        SCENE.release(4),
        SCENE.release(5, number=1),
    ],
)
def test_repeat_when_different_is_refused_loudly(body: Body) -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.release(5))
    with pytest.raises(Refused, match="differs"):
        keeper.settle(request_of(body))


def test_repeat_when_only_times_and_counters_differ_is_the_same_fact() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1))
    update = {"received_at": RECEIVED + timedelta(hours=1), "fill_number": 7, "side": "buy", "plan_id": "pl2"}
    assert keeper.settle_all([request_of(SCENE.fill(1).model_copy(update=update))]) == [None]
    assert keeper.pages.sequence == 3


def test_fill_when_of_another_venue_than_its_strategy_is_refused() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund())
    (outcome,) = keeper.settle_all([request_of(SCENE.fill(1).model_copy(update={"venue": "other"}))])
    assert isinstance(outcome, Refused)
    assert keeper.pages.sequence == 2


def test_deposit_when_the_balance_would_not_fit_is_refused() -> None:
    keeper = keeper_after(SCENE.deposit(1, "9" * 38))
    (outcome,) = keeper.settle_all([request_of(SCENE.deposit(2, "1"))])
    assert isinstance(outcome, Refused)
    assert keeper.pages.holdings("wallet:paper") == {"USDT": D("9" * 38)}


def test_posted_at_when_the_clock_goes_back_does_not() -> None:
    keeper = Bookkeeper(Pages(sequence=0, posted_at=RECEIVED), RECEIVED - timedelta(seconds=5))
    assert keeper.posted_at == RECEIVED


amount_texts = st.decimals(
    min_value=D("0.000000000000000001"), max_value=D("10000000"), places=18, allow_nan=False, allow_infinity=False
).map(plain)
small_numbers = st.integers(min_value=1, max_value=6)
strategy_names = st.sampled_from(["s1", "s2"])
any_message = st.one_of(
    st.builds(SCENE.deposit, small_numbers, amount_texts, st.sampled_from(["USDT", "BTC"])),
    st.builds(SCENE.fund, small_numbers, amount_texts, strategy_names, st.sampled_from(["USDT", "BTC"])),
    st.builds(
        SCENE.fill,
        st.integers(min_value=1, max_value=30),
        st.sampled_from(["BUY", "SELL"]),
        amount_texts,
        amount_texts,
        amount_texts,
        strategy_names,
        st.sampled_from(["BTC", "ETH"]),
    ),
    st.builds(
        SCENE.release, st.integers(min_value=0, max_value=3), st.integers(min_value=7, max_value=9), strategy_names
    ),
    st.builds(
        SCENE.withdraw,
        st.integers(min_value=0, max_value=3),
        st.integers(min_value=10, max_value=13),
        strategy_names,
        st.sampled_from(["USDT", "BTC", "ETH"]),
        amount_texts,
    ),
    st.builds(
        SCENE.withdraw,
        st.integers(min_value=0, max_value=3),
        st.integers(min_value=14, max_value=17),
        strategy_names,
        st.sampled_from(["USDT", "BTC", "ETH"]),
        st.none(),
        st.decimals("0.01", "100", places=2).map(plain),
    ),
)


@given(groups=st.lists(st.lists(any_message, max_size=12), max_size=6))
def test_books_when_anything_arrives_are_never_negative_and_always_balance(groups: list[list[Body]]) -> None:
    pages = Pages(sequence=0, posted_at=RECEIVED)
    entries: list[Entry] = []
    for group in groups:
        keeper = Bookkeeper(pages, RECEIVED)
        keeper.settle_all([request_of(body) for body in group])
        entries += keeper.changes.entries
        list(announcements_of(pages, keeper.changes, RECEIVED))
    held = {(account, asset): amount for account, of in pages.balances.items() for asset, amount in of.items()}
    assert unbalanced(held) == {}
    assert all(amount >= 0 for (account, _), amount in held.items() if not may_be_negative(account))
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry.transaction.transaction_id for entry in entries}) == len(entries)
    recomputed = changes_of(posting for entry in entries for posting in entry.transaction.postings)
    assert {key: amount for key, amount in recomputed.items() if amount} == {k: a for k, a in held.items() if a}
    for strategy_id, record in pages.strategies.items():
        own = [entry.transaction for entry in entries if entry.transaction.strategy_id == strategy_id]
        assert (record.version, record.fills_posted) == (len(own), sum(each.kind == "fill" for each in own))
