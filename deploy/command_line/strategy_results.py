"""`trimtab strategy results|history|position`: what a strategy has earned and held."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_options import IdArgument, hint, path_of
from deploy.command_line.strategy_text import moment, money, rounded


class MethodOption(StrEnum):
    """Which lots a sale closes first."""

    FIFO = "fifo"
    LIFO = "lifo"
    HIFO = "hifo"
    AVERAGE = "average"


def results(
    strategy_id: IdArgument,
    method: Annotated[MethodOption, typer.Option(help="Which lots a sale closes first.")] = MethodOption.FIFO,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show profit, returns, fees, and what rebalancing brought against holding.

    \b
    Examples:
      trimtab strategy results ID
      trimtab strategy results ID --method hifo --json
    """
    with reported(), gateway_of(data) as api, hint():
        found = api.get(f"{path_of(strategy_id)}/results", method=method.value)
    if as_json:
        print_json(found)
        return
    console = Console()
    _print_money(found, console)
    numbers = ("quantity", "cost", "value", "unrealised", "realised", "fees (in it)")
    table = Table("asset", *(Column(name, justify="right") for name in numbers), box=None)
    for one in found["assets"]:
        figures = (one["cost"], one["value"], one["unrealised"], one["realised"])
        table.add_row(one["asset"], one["quantity"], *map(money, figures), one["fees"])
    console.print(table)


def history(
    strategy_id: IdArgument,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many.")] = 24,
    before: Annotated[str, typer.Option(metavar="TIME", help="Only what is older (market time).")] = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show value and weights over time, newest first.

    \b
    Examples:
      trimtab strategy history ID
      trimtab strategy history ID --limit 168 --before 2024-03-01
    """
    with reported(), gateway_of(data) as api, hint():
        query: dict[str, str | int] = {"limit": limit} | ({"before": before} if before else {})
        found = api.get(f"{path_of(strategy_id)}/history", **query)
    if as_json:
        print_json(found)
        return
    numbers = ("value", "put in", "taken out", "if held", "TWR %")
    table = Table(
        Column("market time (UTC)", no_wrap=True),
        *(Column(name, justify="right") for name in numbers),
        "weights %",
        box=None,
    )
    for point in found["points"]:
        weights = "  ".join(f"{asset} {rounded(weight)}" for asset, weight in sorted(point["weights"].items()))
        figures = (point["value"], point["put_in"], point["taken_out"], point["held_value"])
        table.add_row(moment(point["at"]), *map(money, figures), _percent(point["twr"]), weights)
    console = Console()
    console.print(table)
    if found["next"]:
        console.print(f"older ones: --before {found['next']}")


def position(
    strategy_id: IdArgument,
    at: Annotated[str, typer.Option(metavar="TIME", help="Market time, as in 2024-03-01T12:00; now without it.")] = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show what it held at a time, or what it holds now and how much of that open orders have reserved.

    \b
    Examples:
      trimtab strategy position ID
      trimtab strategy position ID --at 2024-03-01T12:00
    """
    with reported(), gateway_of(data) as api, hint():
        path = path_of(strategy_id)
        found = api.get(f"{path}/position", at=at) if at else api.get(f"{path}/available")
    if as_json:
        print_json(found)
        return
    if not at:
        Console().print(_available(found))
        return
    table = Table("asset", Column("quantity", justify="right"), box=None)
    for asset, quantity in sorted(found["holdings"].items()):
        table.add_row(asset, quantity)
    Console().print(table)


def _available(found: Mapping[str, Any]) -> Table:
    table = Table("asset", *(Column(name, justify="right") for name in ("balance", "reserved", "available")), box=None)
    for one in found["assets"]:
        table.add_row(one["asset"], one["balance"], one["reserved"], one["available"])
    return table


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(results)
    app.command()(history)
    app.command()(position)


def _print_money(found: Mapping[str, Any], console: Console) -> None:
    name = "profit in the end" if found["final"] else "profit"
    told = f"put in {money(found['put_in'])}, taken out {money(found['taken_out'])}, value {money(found['value'])}"
    console.print(f"{told} {found['quote']}")
    split = f"realised {money(found['realised'])}, unrealised {money(found['unrealised'])}"
    console.print(f"{name} {money(found['profit'])}: {split} ({found['method']})")
    rates = ("simple", "simple_return"), ("XIRR by the year", "xirr"), ("TWR", "twr")
    console.print("return: " + ", ".join(f"{label} {_percent(found[field])} %" for label, field in rates))
    gain, costs = money(found["rebalancing_gain"]), money(found["rebalancing_costs"])
    net = f"{money(found['rebalancing_net'])} (all fees {money(found['fees_worth'])})"
    console.print(f"against holding: {gain} from rebalancing, less {costs} of fees: {net}", soft_wrap=True)
    if found["at_cost"]:
        console.print(f"without a price, at cost: {', '.join(found['at_cost'])}")


def _percent(fraction: str | None) -> str:
    return "-" if fraction is None else rounded(str(Decimal(fraction) * 100))
