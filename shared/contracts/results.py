"""Questions to the ledger about results and the past, by request and reply on ``ledger-commands``, and the answers."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp


class ReportResults(Message):
    """What has a strategy earned? ``method``: fifo, lifo, hifo or average. Answered by ResultsReported."""

    TYPE: ClassVar[str] = "trimtab.results.report"

    strategy_id: str
    method: str = "fifo"


class AssetResult(Part):
    """One asset of a strategy, in the quote currency but for ``quantity`` and ``fees`` (in the asset itself).

    ``cost`` of what is held; ``value`` and ``unrealised`` are null without a price.
    """

    asset: str
    quantity: Amount
    cost: Number
    realised: Number
    fees: Amount
    price: Amount | None = None
    value: Number | None = None
    unrealised: Number | None = None


class ResultsReported(Message):
    """All figures of one strategy at its venue's newest prices; see services/ledger/README.md for their formulas.

    Money in the quote currency, returns as fractions (0.1 is 10 %), each null where it has no meaning. ``at``: market
    time of the prices (null: none heard); ``at_cost``: assets without a price, which count at their cost.
    ``final``: it holds nothing any more. ``sequence``: the newest journal entry that is included.
    """

    TYPE: ClassVar[str] = "trimtab.results.reported"

    strategy_id: str
    method: str
    quote: str
    sequence: int
    at: Timestamp | None
    final: bool
    assets: tuple[AssetResult, ...]
    put_in: Number
    taken_out: Number
    value: Number
    profit: Number
    realised: Number
    unrealised: Number
    fees_worth: Number
    simple_return: Number | None
    xirr: Number | None
    twr: Number | None
    held_value: Number
    rebalancing_gain: Number
    rebalancing_costs: Number
    rebalancing_net: Number
    at_cost: tuple[str, ...] = ()


class ReportHistory(Message):
    """Value and weights over time, newest first, strictly before ``before``. Answered by HistoryReported."""

    TYPE: ClassVar[str] = "trimtab.history.report"

    strategy_id: str
    before: Timestamp | None = None
    limit: int = 200


class HistoryPoint(Part):
    """A strategy at a regular mark of market time. ``weights`` in percent; ``held_value``: had it never rebalanced."""

    at: Timestamp
    value: Number
    put_in: Number
    taken_out: Number
    held_value: Number
    twr: Number
    weights: dict[str, Number]


class HistoryReported(Message):
    """The answer to ReportHistory."""

    TYPE: ClassVar[str] = "trimtab.history.reported"

    strategy_id: str
    points: tuple[HistoryPoint, ...]


class ReportHoldings(Message):
    """What did a strategy ("" for: every wallet) hold when its venue's clock showed ``at``?

    Answered by HoldingsReported.
    """

    TYPE: ClassVar[str] = "trimtab.holdings.report"

    strategy_id: str = ""
    at: Timestamp


class AccountHoldings(Part):
    """What one account held, without zeros: ``owner`` is a strategy's id or a venue's name."""

    owner: str
    balances: dict[str, Amount]


class HoldingsReported(Message):
    """The answer to ReportHoldings; ``sequence``: the newest journal entry that could be included."""

    TYPE: ClassVar[str] = "trimtab.holdings.reported"

    at: Timestamp
    sequence: int
    accounts: tuple[AccountHoldings, ...]
