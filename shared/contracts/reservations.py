"""The question to the ledger what a strategy may still use, by request and reply on ``ledger-commands``."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Part


class ReportAvailable(Message):
    """What does a strategy hold, and what of it is reserved for open orders? Answered by AvailableReported."""

    TYPE: ClassVar[str] = "trimtab.available.report"

    strategy_id: str


class AssetAvailable(Part):
    """One asset: ``balance`` = ``reserved`` + ``available``, none of them below zero."""

    asset: str
    balance: Amount
    reserved: Amount
    available: Amount


class OrderReserved(Part):
    """What one open order may still take, by asset; together they may come to more than is held."""

    client_order_id: str
    amounts: dict[str, Amount]


class AvailableReported(Message):
    """The answer to ReportAvailable, as of the journal entry ``sequence``; assets and orders in alphabetical order."""

    TYPE: ClassVar[str] = "trimtab.available.reported"

    strategy_id: str
    sequence: int
    assets: tuple[AssetAvailable, ...]
    orders: tuple[OrderReserved, ...]
