"""The demo's live view on terminals of every size."""

from decimal import Decimal

import pytest
from rich.console import Console

from deploy.demo.picture import decision_lines, detail_of
from deploy.demo.view import DecisionLine, DemoView, PriceLine, StrategyPanel, WeightLine, price_text

ASSETS = ("BTC", "ETH", "SOL", "ONE", "BNB", "XRP", "ADA", "DOGE", "AVAX", "1000SATS")


def panel(name: str, assets: tuple[str, ...]) -> StrategyPanel:
    target = Decimal(100) / len(assets)
    weights = [WeightLine(one, target.quantize(Decimal("0.01")), target + 1, Decimal(2)) for one in assets]
    return StrategyPanel(name, "active", Decimal("1234567.891"), Decimal("-12.3"), 2, Decimal("0.04"), weights)


VIEW = DemoView(
    source="binance_daily_close_2018-2026.csv",
    phase="running",
    market_time="2024-01-27 14:00",
    ticks=7668,
    rows_done=639,
    rows_total=2924,
    elapsed_s=33.2,
    prices=[PriceLine(one, Decimal("0.00001234"), Decimal("1234.5")) for one in ASSETS],
    strategies=[
        panel("Three", ASSETS[:3]),
        panel("A name of many, many words [red]", ASSETS),
        panel("Two", ASSETS[:2]),
    ],
    waiting=["Late (SOL)"],
    decisions=[DecisionLine("2024-01-27 14:00", "Three", "threshold_reached:ONE", "ONE 45.07 %", True)] * 20,
    orders={"filled": 34, "partially_filled": 1},
    restarts={"ledger": 2, "nats": 0},
    gateway_url="http://127.0.0.1:8080",
)


def screen(view: DemoView, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 45), (160, 50), (60, 20), (40, 8)])
def test_view_when_terminal_has_any_size_fits_without_wrapping(size: tuple[int, int]) -> None:
    width, height = size
    lines = screen(VIEW, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "Trimtab" in lines[0]


def test_view_when_terminal_is_usual_shows_market_strategies_decisions_and_orders() -> None:
    text = "\n".join(screen(VIEW, 80, 40))
    for part in (
        *("row 639 of 2,924", "22%", "market time 2024-01-27 14:00", "Three  active  1,234,567.89 USDT  -12.30 %"),
        *("[red]", "waiting to be listed: Late (SOL)", "threshold_reached:ONE", "34 filled, 1 partially filled"),
        *("ledger restarted 2x", "Ctrl-C ends"),
    ):
        assert part in text


def test_view_when_terminal_is_low_says_which_strategies_are_left_out() -> None:
    text = "\n".join(screen(VIEW, 80, 24))
    assert "more: the terminal is too low" in text
    assert "threshold_reached:ONE" in text


def test_view_when_nothing_is_known_yet_is_drawn() -> None:
    view = DemoView("starting", "first purchases", "", 0, 0, None, 0.0)
    assert "first purchases" in screen(view, 80, 24)[0]


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ("38259.14", "38,259"),
        ("123456.7", "123,457"),
        ("1727.666", "1,727.7"),
        ("4.5", "4.5000"),
        ("0.00839129", "0.0083913"),
        ("0.00001234", "0.000012340"),
        ("0", "0"),
    ],
)
def test_price_when_of_any_size_has_five_digits(price: str, shown: str) -> None:
    assert price_text(Decimal(price)) == shown


def test_decisions_when_steps_lie_between_show_only_decisions_newest_first() -> None:
    def one(code: str, at: str) -> dict[str, object]:
        return {"code": code, "last_at": at, "count": 2, "acted": True, "inputs": {}}

    found = {"a": [one("plan_open", "3"), one("within_band", "1")], "b": [one("stale_price:ETH", "2")]}
    lines = decision_lines(found, {"a": "A"})
    assert [(line.strategy, line.code) for line in lines] == [("b", "stale_price:ETH x2"), ("A", "within_band x2")]


def test_detail_when_an_asset_is_named_is_about_it_else_about_the_furthest() -> None:
    inputs = {"weight.BTC": "31", "target.BTC": "30", "weight.ONE": "37.5", "target.ONE": "40", "threshold": "5"}
    assert detail_of({"code": "within_band", "inputs": inputs}) == "ONE 37.50 % (-2.50 of 5 points)"
    assert detail_of({"code": "threshold_reached:BTC", "inputs": inputs}) == "BTC 31.00 % (+1.00 of 5 points)"
