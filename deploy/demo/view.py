"""The live terminal view of a demo: prices, weights against targets with their bands, decisions, orders, progress.

It fits the terminal: cells stand in as many columns as there is room for, nothing wraps, and when the screen is too low
the decisions give way first, then the last strategies, with a line that says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_BAR_HALF = 5
_BAND_WITHOUT_RULE = Decimal(10)  # percentage points: the ends of a bar whose rule has no band
_DECISIONS_LEAST = 3
_SIGNIFICANT_DIGITS = 5
_WIDE = 100  # columns; below, the year is left out
_GAP = "   "


@dataclass(frozen=True, slots=True)
class PriceLine:
    """An asset's bid in the quote currency, and its change in percent since the demo began."""

    asset: str
    bid: Decimal
    change_pct: Decimal


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
    profit_pct: Decimal
    rebalances: int
    cash_pct: Decimal
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
    phase: str
    market_time: str
    ticks: int
    rows_done: int
    rows_total: int | None
    elapsed_s: float
    prices: Sequence[PriceLine] = ()
    strategies: Sequence[StrategyPanel] = ()
    waiting: Sequence[str] = ()
    decisions: Sequence[DecisionLine] = ()
    orders: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    gateway_url: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The whole screen, exactly as many lines as it has at most."""
        for line in lines_of(self, options.max_width, options.height or console.height):
            line.truncate(options.max_width, overflow="ellipsis")
            yield line


def lines_of(view: DemoView, width: int, height: int) -> list[Text]:
    """The lines of a screen of this size; no more than ``height``."""
    head = [*_progress(view, width), *_prices(view, width)]
    foot = _footer(view)
    room = height - len(head) - len(foot) - 1 - _DECISIONS_LEAST
    middle = _strategies(view, width, room)
    decisions = _decisions(view, width, height - len(head) - len(middle) - len(foot))
    return [*head, *middle, *decisions, *foot][:height]


def _progress(view: DemoView, width: int) -> list[Text]:
    first = Text.assemble(("Trimtab ", "bold cyan"), f" {view.source}")
    right = f"{view.phase}  {view.elapsed_s:.0f} s"
    first.append(" " * max(2, width - first.cell_len - len(right)) + right, "dim")
    second = Text.assemble("market time ", (view.market_time or "-", "bold"), f"{_GAP}{view.ticks:,} ticks{_GAP}")
    if view.rows_total:
        share = min(1.0, view.rows_done / view.rows_total)
        second.append(f"row {view.rows_done:,} of {view.rows_total:,}{_GAP}")
        cells = max(5, min(40, width - second.cell_len - 6))
        full = round(share * cells)
        second.append("━" * full, "cyan").append("━" * (cells - full), "bright_black").append(f" {share:4.0%}")
    else:
        second.append(f"row {view.rows_done:,}")
    return [first, second]


def _title(text: Text, width: int, style: str = "dim") -> Text:
    line = Text.assemble(("── ", style), text, " ")
    return line.append("─" * max(0, width - line.cell_len), style)


def _in_columns(cells: Sequence[Text], width: int) -> list[Text]:
    """Cells side by side, row by row, each as wide as the widest."""
    if not cells:
        return []
    wide = max(cell.cell_len for cell in cells)
    columns = max(1, (width - 1 + len(_GAP)) // (wide + len(_GAP)))
    rows = []
    for first in range(0, len(cells), columns):
        row = Text(" ")
        for number, cell in enumerate(cells[first : first + columns]):
            row.append(_GAP if number else "").append_text(cell).append(" " * (wide - cell.cell_len))
        rows.append(row)
    return rows


def _prices(view: DemoView, width: int) -> list[Text]:
    if not view.prices:
        return []
    name = max(len(one.asset) for one in view.prices)
    figures = [price_text(one.bid) for one in view.prices]
    wide = max(len(figure) for figure in figures)
    cells = [
        Text.assemble(
            (f"{one.asset:<{name}} ", "bold"),
            f"{figure:>{wide}}",
            (f" {one.change_pct:+7.1f} %", _sign(one.change_pct)),
        )
        for one, figure in zip(view.prices, figures, strict=True)
    ]
    return [_title(Text("bid in USDT, change since the start"), width), *_in_columns(cells, width)]


def price_text(price: Decimal) -> str:
    """A price at five significant digits, whole digits always all: 38,259 or 1,727.7 or 0.0083913."""
    decimals = max(0, _SIGNIFICANT_DIGITS - 1 - price.adjusted()) if price else 0
    return f"{price:,.{decimals}f}"


def _sign(value: Decimal) -> str:
    return "green" if value >= 0 else "red"


def _strategies(view: DemoView, width: int, room: int) -> list[Text]:
    lines: list[Text] = []
    for number, panel in enumerate(view.strategies):
        mine = _strategy(panel, width)
        left = len(view.strategies) - number
        if len(lines) + len(mine) + (1 if left > 1 else 0) > room and lines:
            lines.append(Text(f" ... and {left} more: the terminal is too low", style="dim"))
            break
        lines += mine
    return lines + [Text(f" waiting to be listed: {one}", style="dim") for one in view.waiting]


def _strategy(panel: StrategyPanel, width: int) -> list[Text]:
    title = Text.assemble(
        (panel.name, "bold"), f"  {panel.status}  {panel.value:,.2f} USDT  ",
        (f"{panel.profit_pct:+.2f} %", _sign(panel.profit_pct)),
        f"  {panel.rebalances} rebalance{'' if panel.rebalances == 1 else 's'}  cash {panel.cash_pct:.1f} %",
    )  # fmt: skip
    name = max((len(one.asset) for one in panel.weights), default=0)
    target = max((len(_plain(one.target)) for one in panel.weights), default=0)
    cells = [_weight(line, name, target) for line in panel.weights]
    return [_title(title, width, "cyan" if panel.status == "active" else "dim"), *_in_columns(cells, width)]


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _weight(line: WeightLine, name: int, target: int) -> Text:
    """`BTC   31.62/30 [-----|-#---]  +1.62`: the ends of the bar are the band, or 10 points off for rules without."""
    off = line.actual - line.target
    place = float(off / (line.band or _BAND_WITHOUT_RULE))
    index = max(0, min(2 * _BAR_HALF, _BAR_HALF + round(place * _BAR_HALF)))
    bar = ["-"] * (2 * _BAR_HALF + 1)
    bar[_BAR_HALF] = "|"
    bar[index] = "#"
    style = "green" if line.band is None or abs(place) < 1 else "yellow"
    return Text.assemble(
        (f"{line.asset:<{name}} ", "bold"), (f"{line.actual:6.2f}", style),
        (f"/{_plain(line.target):<{target}} ", "dim"), ("[" + "".join(bar) + "]", style), (f" {off:+6.2f}", "dim"),
    )  # fmt: skip


def _decisions(view: DemoView, width: int, room: int) -> list[Text]:
    if room < 2:
        return []
    shown = view.decisions[: room - 1]
    name = min(24, max((len(one.strategy) for one in shown), default=0))
    code = max((len(one.code) for one in shown), default=0)
    lines = [_title(Text("decisions, newest first"), width)]
    for one in shown:
        strategy = one.strategy if len(one.strategy) <= name else one.strategy[: name - 1] + "…"
        lines.append(
            Text.assemble(
                (f" {one.at if width >= _WIDE else one.at[5:]}  ", "dim"),
                f"{strategy:<{name}}  ",
                (f"{one.code:<{code}}  ", "bold yellow" if one.acted else ""),
                (one.detail, "dim"),
            )
        )
    return lines


def _footer(view: DemoView) -> list[Text]:
    orders = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(view.orders.items()))
    line = Text(f" orders: {orders or 'none yet'}{_GAP}", style="dim")
    if restarts := [f"{name} restarted {count}x" for name, count in view.restarts.items() if count]:
        line.append(", ".join(restarts) + _GAP, "yellow")
    return [line.append(f"Ctrl-C ends{_GAP}{view.gateway_url}/docs")]
