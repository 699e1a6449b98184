"""Strategies and previews as people read them; and small forms of numbers, times and names."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Column, Table

STATUS_STYLES: Mapping[str, str] = {"paused": "yellow", "failed": "red", "refused": "red", "exiting": "yellow"}
WIDE = 110
"""Columns from which on a table may have more of them."""

_TOLD_OF_STATUS = frozenset({"paused", "failed", "funding_refused"})
"""Changes whose reason is that of the status; of another it is about something else, as an Auto-Invest that stopped."""
ENDED = frozenset({"closed", "refused"})


def print_preview(found: Mapping[str, Any], console: Console) -> None:
    """What a strategy would do: its rules, targets and first orders."""
    document = found["document"]
    rule = rule_in_words(document["rebalance"])
    console.print(f"[bold]{safe(document['name'])}[/bold] at {document['venue']}: {rule}")
    console.print(f"amount {document['amount']} {document['funding_asset']}, worth {money(found['value_usdt'])} USDT")
    console.print(f"smallest possible amount {found['minimum_amount']} {document['funding_asset']}")
    _print_further_rules(document, console)
    if "start" in document:
        console.print(f"the first purchase waits for {in_words(document['start'])}")
    weights = Table("asset", Column("target %", justify="right"), box=None)
    for asset, weight in document["targets"].items():
        weights.add_row(asset, weight)
    console.print(weights)
    figures = [Column(name, justify="right") for name in ("quantity", "price", "value")]
    orders = Table("first orders", *figures, box=None)
    for one in found["first_orders"]:
        orders.add_row(f"{one['side']} {one['asset']}", one["quantity"], one["price"], money(one["value"]))
    console.print(orders)
    console.print(f"estimated fees {rounded(found['estimated_fees_usdt'], 4)} USDT")
    _print_warnings(found["warnings"], console)


def print_strategy(one: Mapping[str, Any], console: Console) -> None:
    """One strategy in full."""
    document, status = one["document"], one["status"]
    console.print(f"[bold]{safe(one['name'])}[/bold] {one['id']}")
    why = one["exit_reason"] or (one["reason"] if one["change"] in _TOLD_OF_STATUS else "")
    because = why.replace("_", " ").removeprefix("paused ")
    style = STATUS_STYLES.get(status, "none")
    told = [f"[{style}]{status}[/{style}]{f' ({safe(because)})' if because else ''} at {one['venue']}"]
    told += ["its coins are kept as they are"] if one["exit_action"] == "keep" else []
    console.print(", ".join([*told, f"revision {one['revision']}"]))
    if one["active_since"]:
        console.print(f"active since {moment(one['active_since'])} (market time)")
    if status not in ENDED:
        console.print(rule_in_words(document["rebalance"]))
        _print_further_rules(document, console)
        _print_auto_invest(one["auto_invest"], console)
    if status == "closed":
        _print_end(one, console)
    else:
        _print_holdings(one, console)
    _print_under_way(one, console)
    if plan := one["last_plan"]:
        console.print(
            f"last plan: {plan['kind']} ({plan['reason']}) {plan['outcome']}, {plan['orders']} orders, "
            f"{plan['fills']} fills, {moment(plan['market_time'])} (market time)",
            soft_wrap=True,
        )
    if one["open_plan_id"]:
        console.print(f"a plan is open: {one['open_plan_id']}")
    if status == "paused":
        console.print(f"it does nothing by itself: `trimtab strategy resume {one['id']}` lets it go on", soft_wrap=True)
    if status == "failed":
        console.print(
            f"what it holds could not be returned: `trimtab strategy stop {one['id']}` tries again", soft_wrap=True
        )
    _print_warnings(one["warnings"], console)


def _print_further_rules(document: Mapping[str, Any], console: Console) -> None:
    for name in ("take_profit", "stop_loss"):
        if name in document:
            console.print(f"{name.replace('_', '-')} {level_in_words(document[name], document['funding_asset'])}")
    if "orders" in document:
        console.print(f"Orders: {_orders_in_words(document['orders'])}")
    if "auto_invest" in document:
        console.print(f"Auto-Invest: {auto_invest_in_words(document['auto_invest'], document['funding_asset'])}")


def _print_end(one: Mapping[str, Any], console: Console) -> None:
    """What a closed strategy gave back, and what came of it as far as that is known."""
    returned = ", ".join(f"{amount} {asset}" for asset, amount in sorted(one["released"].items()))
    console.print(f"returned: {returned or 'all it had'} (`trimtab wallet show`; what could not be sold is dust there)")
    if one["profit"] is not None:
        taken = f", taken out before {money(one['withdrawn'])}" if Decimal(one["withdrawn"] or 0) else ""
        console.print(
            f"put in {money(one['contributed_in'])}{taken}, "
            f"profit in the end {money(one['profit'])} ({rounded(one['profit_pct'])} %)"
        )


def _print_holdings(one: Mapping[str, Any], console: Console) -> None:
    profit = f"profit {money(one['profit'])} ({rounded(one['profit_pct'])} %)" if one["profit"] is not None else ""
    peak = f"peak {rounded(one['peak_profit_pct'])} %" if one.get("peak_profit_pct") is not None else ""
    figures_told = [f"value {money(one['value'])}", f"put in {money(one['contributed'])}", profit, peak]
    console.print(", ".join(filter(None, figures_told)))
    if Decimal(one["withdrawn"] or 0):
        console.print(
            f"ever put in {money(one['contributed_in'])}, taken out {money(one['withdrawn'])}, "
            f"profit in all {money(one['total_profit'])}"
        )
    figures = ("target %", "actual %", "band %", "quantity", "value")
    table = Table("asset", *(Column(name, justify="right") for name in figures), box=None)
    for asset in one["assets"]:
        band = f"{asset['lower_pct']} - {asset['upper_pct']}" if asset["lower_pct"] is not None else ""
        figures_of = (rounded(asset["actual_pct"]), band, asset["quantity"], money(asset["value"]))
        table.add_row(asset["asset"], asset["target_pct"], *figures_of)
    console.print(table)


def _orders_in_words(orders: str | Mapping[str, str]) -> str:
    """How orders are placed, as in "maker (patience 2m)"."""
    if isinstance(orders, str):
        return orders
    figures = ", ".join(f"{name} {value}" for name, value in orders.items() if name != "style")
    return f"{orders['style']} ({figures})" if figures else orders["style"]


def _print_auto_invest(progress: Mapping[str, Any] | None, console: Console) -> None:
    """How far Auto-Invest is; below what it is."""
    if progress is None:
        return
    console.print(f"  {safe(progress['sentence'])}", soft_wrap=True)
    made = f", the last one {moment(progress['last_made_at'])} (market time)" if progress["last_made_at"] else ""
    console.print(f"  invested {money(progress['invested'])} so far, {progress['cycle']} cycles decided{made}")
    if coming := progress["next_dates"]:
        console.print(f"  next {', '.join(moment(date)[:-3] for date in coming)} (UTC)")


def _print_under_way(one: Mapping[str, Any], console: Console) -> None:
    """What was asked for and is not finished."""
    if one["requests"]:
        console.print("under way:")
    for number, request in enumerate(one["requests"], start=1):
        console.print(f"  {number}. {safe(request['sentence'])}", soft_wrap=True)


def _print_warnings(warnings: list[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {safe(warning)}")


def rule_in_words(rebalance: Mapping[str, Any]) -> str:
    """When it rebalances: in words where one condition is all there is, else as it is written."""
    match rebalance:
        case {"hold": _}:
            return "never rebalances by itself"
        case {"threshold": str() as points, **others} if not others:
            return f"rebalances when an asset is {points} percentage points off its target"
        case {"interval": interval, **others} if not others:
            return f"rebalances every {interval}"
    return f"rebalances by {in_words(rebalance)}"


_ACTIONS: Mapping[str, str] = {
    "sell": "sells everything into {funding} and returns it to the wallet",
    "keep": "returns the coins to the wallet as they are",
    "pause": "pauses and keeps what it holds",
}


def level_in_words(written: Any, funding_asset: str) -> str:
    """When a take-profit or stop-loss acts, and what it does then, in words."""
    level = written if isinstance(written, dict) else {"percent": written}
    text = f"at {level['percent']} % of the money put in"
    if level.get("trailing") is True:
        text = f"at {level['percent']} % of the value at its peak"
    elif "trailing" in level:
        text = f"armed {text}, when the profit has fallen {level['trailing']} points from its peak"
    text = f"{text}, on {level['confirm']} consecutive quotes" if "confirm" in level else text
    return f"{text}: {_ACTIONS[level.get('action', 'sell')].format(funding=funding_asset)}"


def auto_invest_in_words(written: Mapping[str, Any], funding_asset: str) -> str:
    """How much goes in and when, in words."""
    parts = [f"{written['amount']} {written.get('asset', funding_asset)}"]
    if "schedule" in written:
        parts.append(_schedule_in_words(written["schedule"]))
    if "drawdown" in written:
        loss = written["drawdown"]
        and_ = "and " if "schedule" in written else ""
        parts.append(f"{and_}at a loss of {loss['loss']} %, every {loss['min_interval']} at most")
    if "pause_at_total" in written:
        parts.append(f"until {written['pause_at_total']} in all")
    return " ".join(parts[:2]) + "".join(f", {part}" for part in parts[2:])


def _schedule_in_words(written: Any) -> str:
    schedule = written if isinstance(written, dict) else {"every": written}
    told = f"on day {schedule['monthly']} of each month" if "monthly" in schedule else f"every {schedule['every']}"
    at = f" at {schedule['at']}" if "at" in schedule else ""
    zone = f" {schedule['zone']}" if "zone" in schedule else ""
    return f"{told}{at}{zone}"


def in_words(rule: Mapping[str, Any]) -> str:
    """A rule as it is written in a file, on one line."""
    words = []
    for name, value in rule.items():
        told = f"({in_words(value)})" if isinstance(value, dict) else safe(str(value))
        words.append(f"{name.replace('_', ' ')} {told}")
    return ", ".join(words)


def safe(text: str) -> str:
    """Text that rich shows as it is: users choose names, and [red] is not a colour there."""
    return text.replace("[", r"\[")


def money(text: str | None) -> str:
    """An amount of money with two decimals."""
    return rounded(text, 2)


def rounded(text: str | None, decimals: int = 2) -> str:
    """A number with so many decimals; "?" for one that is not known."""
    return "?" if text is None else f"{Decimal(text):.{decimals}f}"


def moment(text: str | None) -> str:
    """A time to the second."""
    return "" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
