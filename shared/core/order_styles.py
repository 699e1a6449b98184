"""How a strategy's orders are placed: the styles, and the field ``orders`` of a strategy file.

* ``limit`` (default): limit, immediate-or-cancel, at most the executor's slippage bound beyond the touch.
* ``market``: takes whatever the book has. A sale is of a quantity, a purchase of a value: it spends no more than that.
* ``maker``: rests at the touch on its own side, post-only, for ``patience``; then what is left goes as ``limit``.
* ``twap``: as ``limit``, but an order above ``slice`` (quote currency) or ``depth_share`` (percent of the visible book
  within the slippage bound) goes out in slices, one every ``every``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from shared.core.document_fields import Collector, fields_of, interval_text, parse_between, parse_choice, parse_duration
from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, plain

MAX_SLICES = 20
"""An order is cut into at most so many slices: a larger one gets larger slices."""
MIN_PAUSE = timedelta(minutes=1)
MAX_PAUSE = timedelta(hours=1)
MAX_SLICE = Decimal(10_000_000)
ORDERS_FIELDS = ("style", "patience", "slice", "depth_share", "every")


class OrderStyle(StrEnum):
    """The way the orders of a strategy are placed; see the module."""

    LIMIT = "limit"
    MARKET = "market"
    MAKER = "maker"
    TWAP = "twap"


class OrderKind(StrEnum):
    """What a venue is sent: a limit order that ends at once, a market order, or a limit order that only rests."""

    IOC = "ioc"
    MARKET = "market"
    MAKER = "maker"


@dataclass(frozen=True, slots=True)
class Styling:
    """A style with its figures: patience of a maker; slice (quote currency), share (percent) and pause of a TWAP."""

    style: OrderStyle = OrderStyle.LIMIT
    patience: timedelta = MIN_PAUSE
    slice_notional: Decimal | None = None
    depth_share_pct: Decimal | None = None
    every: timedelta = MIN_PAUSE

    @property
    def longest(self) -> timedelta:
        """The time a plan may need beyond that of a plan with the default style."""
        if self.style is OrderStyle.MAKER:
            return 2 * self.patience  # the sales, then the purchases
        return MAX_SLICES * self.every if self.style is OrderStyle.TWAP else timedelta(0)


DEFAULT_STYLING = Styling()
_OF_STYLE: Mapping[str, OrderStyle] = {
    "patience": OrderStyle.MAKER,
    "slice": OrderStyle.TWAP,
    "depth_share": OrderStyle.TWAP,
    "every": OrderStyle.TWAP,
}


def parse_orders(value: object) -> Styling:
    """The ``orders`` of a strategy file: the name of a style, or a mapping. Raises Refused with every problem."""
    if value is None:
        return DEFAULT_STYLING
    allowed = f"{', '.join(OrderStyle)}, or {{style: ..., ...}}"
    given = {"style": value} if isinstance(value, str) else fields_of(value, "orders", ORDERS_FIELDS, allowed)
    style = parse_choice(given.get("style"), "orders.style", tuple(OrderStyle), OrderStyle.LIMIT)
    collector = Collector()
    collector.problems += [
        Problem(f"orders.{name}", shown(given[name]), f"only with style: {of}", f"means nothing with style {style}")
        for name, of in _OF_STYLE.items()
        if name in given and style is not of
    ]
    take = collector.take
    styling = Styling(
        style=style,
        patience=take(lambda: _pause(given, "patience"), MIN_PAUSE),
        slice_notional=take(lambda: _number(given, "slice", MAX_SLICE), None),
        depth_share_pct=take(lambda: _number(given, "depth_share", HUNDRED), None),
        every=take(lambda: _pause(given, "every"), MIN_PAUSE),
    )
    collector.done()
    if style is OrderStyle.TWAP and styling.slice_notional is None and styling.depth_share_pct is None:
        raise Refused.one("orders", "twap", 'slice ("5000"), depth_share ("10"), or both', "has nothing to slice by")
    return styling


def orders_document(styling: Styling) -> object:
    """The file form: ``parse_orders`` reads it back to an equal styling."""
    if styling.style in {OrderStyle.LIMIT, OrderStyle.MARKET}:
        return styling.style.value
    document: dict[str, object] = {"style": styling.style.value}
    if styling.style is OrderStyle.MAKER:
        return document | {"patience": interval_text(styling.patience)}
    if styling.slice_notional is not None:
        document["slice"] = plain(styling.slice_notional)
    if styling.depth_share_pct is not None:
        document["depth_share"] = plain(styling.depth_share_pct)
    return document | {"every": interval_text(styling.every)}


def styling_warnings(styling: Styling) -> list[str]:
    """What a style costs that may not be expected, for the preview."""
    if styling.style is OrderStyle.MARKET:
        return ["orders: market has no bound on the price: in a thin market it may trade far from the last price"]
    if styling.style is OrderStyle.MAKER:
        return [
            f"orders: maker rests at the touch for up to {interval_text(styling.patience)} a side before it takes; "
            "until a plan has ended nothing else is decided, a stop-loss included (an exit itself never rests)"
        ]
    if styling.style is OrderStyle.TWAP:
        return [
            f"orders: twap may spread a plan over up to {interval_text(styling.longest)}; "
            "until it has ended nothing else is decided, a stop-loss included"
        ]
    return []


def _pause(given: Mapping[str, object], name: str) -> timedelta:
    if name not in given:
        return MIN_PAUSE
    return parse_duration(given[name], f"orders.{name}", MIN_PAUSE, MAX_PAUSE)


def _number(given: Mapping[str, object], name: str, most: Decimal) -> Decimal | None:
    if name not in given:
        return None
    return parse_between(given[name], f"orders.{name}", f"more than 0, at most {plain(most)}", most)
