"""The live terminal view of a demo: prices, weights against targets with their bands, decisions, orders, progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 24


@dataclass(frozen=True, slots=True)
class WeightLine:
    """One asset of a strategy: percent of its value; the band is None for rules without one."""

    asset: str
    target: Decimal
    actual: Decimal
    band: Decimal | None


@dataclass(frozen=True, slots=True)
class StrategyPanel:
    """What the view shows of one strategy."""

    name: str
    status: str
    value: Decimal
    contributed: Decimal
    profit_pct: Decimal
    rebalances: int
    weights: Sequence[WeightLine]


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision: market time, strategy, reason code, the figures behind it."""

    at: str
    strategy: str
    code: str
    detail: str
    acted: bool


@dataclass(frozen=True, slots=True)
class DemoView:
    """Everything on the screen at one moment."""

    source: str
    market_time: str
    ticks: int
    rows_done: int
    rows_total: int | None
    elapsed_s: float
    prices: Mapping[str, str] = field(default_factory=dict)
    strategies: Sequence[StrategyPanel] = ()
    waiting: Sequence[str] = ()
    decisions: Sequence[DecisionLine] = ()
    orders: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    gateway_url: str = ""


def render(view: DemoView) -> RenderableType:
    """The whole screen."""
    return Group(
        _progress(view),
        _prices(view),
        *[_strategy(panel) for panel in view.strategies],
        *([Text(f"waiting to be listed: {', '.join(view.waiting)}", style="dim")] if view.waiting else []),
        _decisions(view),
        _footer(view),
    )


def _progress(view: DemoView) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    done = f"row {view.rows_done}" + (f" of {view.rows_total}" if view.rows_total else "")
    bar: RenderableType = (
        ProgressBar(total=view.rows_total, completed=view.rows_done, width=30) if view.rows_total else Text("")
    )
    grid.add_row(
        Text("Trimtab", style="bold cyan"), view.source, f"market time {view.market_time}", done, bar,
        f"{view.ticks} ticks", f"{view.elapsed_s:.0f} s",
    )  # fmt: skip
    return grid


def _prices(view: DemoView) -> RenderableType:
    text = Text("  ".join(f"{asset} {price}" for asset, price in view.prices.items()), style="white")
    return Panel(text, title="bid, USDT", title_align="left", border_style="dim")


def _strategy(panel: StrategyPanel) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for line in panel.weights:
        off = line.actual - line.target
        within = line.band is None or abs(off) < line.band
        table.add_row(
            Text(line.asset, style="bold"),
            f"{line.target:.2f} %",
            Text(f"{line.actual:6.2f} %", style="green" if within else "yellow"),
            _bar(line),
            Text(f"{off:+.2f}", style="dim"),
        )
    style = "green" if panel.profit_pct >= 0 else "red"
    title = (
        f"{panel.name}  [dim]{panel.status}[/dim]  {panel.value:.2f} USDT  "
        f"[{style}]{panel.profit_pct:+.2f} %[/{style}]  [dim]{panel.rebalances} rebalances[/dim]"
    )
    return Panel(table, title=title, title_align="left", border_style="cyan" if panel.status == "active" else "dim")


def _bar(line: WeightLine) -> Text:
    """Where the weight stands: the target in the middle, the ends of the bar are the band (or +-10 points)."""
    reach = line.band if line.band else Decimal(10)
    place = float((line.actual - line.target) / reach)
    middle = BAR_WIDTH // 2
    index = max(0, min(BAR_WIDTH, middle + round(place * middle)))
    cells = ["-"] * (BAR_WIDTH + 1)
    cells[middle] = "|"
    cells[index] = "#"
    return Text("[" + "".join(cells) + "]", style="green" if abs(place) < 1 else "yellow")


def _decisions(view: DemoView) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for line in view.decisions:
        table.add_row(
            Text(line.at, style="dim"), line.strategy, Text(line.code, style="bold yellow" if line.acted else "white"),
            Text(line.detail, style="dim", overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return Panel(table, title="decisions", title_align="left", border_style="dim")


def _footer(view: DemoView) -> RenderableType:
    orders = "  ".join(f"{state} {count}" for state, count in view.orders.items()) or "none yet"
    restarts = "  ".join(f"{name} restarted {count}x" for name, count in view.restarts.items() if count)
    return Text(
        f"orders: {orders}   {restarts}   API: {view.gateway_url}/docs   Ctrl-C ends with a summary", style="dim"
    )
