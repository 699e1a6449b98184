"""What the executor believes a strategy holds is what the ledger will say it holds, whoever bears the fees."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.order_executor.records import FillRecord, PlanRecord, holdings_of
from shared.core.double_entry import Cover, Trade, changes_of, covered, postings_of_fill, strategy_account
from shared.core.matching import Side
from tests.services.order_executor.test_steps import line, record

D = Decimal
AT = datetime(2024, 1, 1, tzinfo=UTC)

small = st.integers(0, 3).map(lambda n: D(n) / 10)
trades = st.lists(
    st.tuples(st.sampled_from([Side.BUY, Side.SELL]), st.sampled_from(["BNB", "BTC"]), small, st.sampled_from("BQN")),
    max_size=12,
)


def fill_of(number: int, side: Side, asset: str, fee: Decimal, fee_in: str) -> FillRecord:
    fee_asset = {"B": asset, "Q": "USDT", "N": "BNB"}[fee_in]
    return FillRecord(f"t{number}", f"o{number}", asset, "USDT", side, D(1), D(2), fee, fee_asset, AT)


@given(trades=trades, bnb=st.integers(0, 2).map(D))
def test_holdings_when_fees_are_taken_anywhere_are_the_ledgers(
    trades: list[tuple[Side, str, Decimal, str]], bnb: Decimal
) -> None:
    fills = [fill_of(number, *trade) for number, trade in enumerate(trades)]
    start = record(line("BNB", str(bnb), "2", "50"), line("BTC", "20", "2", "50"), line("USDT", "50", "1", "0"))
    held = {"BNB": bnb, "BTC": D(20), "USDT": D(50)}
    kept: list[FillRecord] = []
    for fill in fills:
        if fill.side is Side.SELL and held[fill.asset] < fill.quantity:
            continue  # never sent: sizing sells what is held
        kept.append(fill)
        money = (fill.quantity, fill.quote_quantity, fill.fee, fill.fee_asset)
        trade = Trade("paper", "s1", fill.side.value, fill.asset, fill.quote, *money)
        postings = covered(postings_of_fill(trade), trade, Cover(held, {}))
        for (account, asset), change in changes_of(postings).items():
            if account == strategy_account("s1"):
                held[asset] += change
    believed = holdings_of(PlanRecord(start.plan, is_open=True, fills=tuple(kept)))
    assert believed == held
