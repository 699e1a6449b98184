"""Rows as CSV, JSON Lines or Parquet, written as they come. Amounts are exact: text, or decimals in Parquet."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Protocol

from shared.core.money import plain

ROWS_PER_GROUP = 10_000


class Sink(Protocol):
    """Takes rows, one after the other; ``close`` writes what is left."""

    def add(self, row: Sequence[Any]) -> None:
        """One more row."""

    def close(self) -> None:
        """No more rows."""


class CsvSink:
    """Comma-separated, RFC 4180, with a header."""

    def __init__(self, out: BinaryIO, columns: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        self._writer = csv.writer(self._text)
        self._writer.writerow(columns)

    def add(self, row: Sequence[Any]) -> None:
        """One line."""
        self._writer.writerow(["" if value is None else _text(value) for value in row])

    def close(self) -> None:
        """Write what is buffered."""
        self._text.flush()
        self._text.detach()


class JsonLinesSink:
    """One JSON object per line; amounts are text."""

    def __init__(self, out: BinaryIO, columns: Sequence[str]) -> None:
        self._out, self._columns = out, columns

    def add(self, row: Sequence[Any]) -> None:
        """One line."""
        fields = {name: _text(value) for name, value in zip(self._columns, row, strict=True)}
        self._out.write(json.dumps(fields).encode() + b"\n")

    def close(self) -> None:
        """Write what is buffered."""
        self._out.flush()


class ParquetSink:
    """Row groups of 10,000; amounts are decimals of 56 digits, 18 of them after the point."""

    def __init__(self, out: BinaryIO, columns: Sequence[str]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._arrow, self._columns = pyarrow, columns
        kinds = {
            **dict.fromkeys(("sequence", "line", "piece"), pyarrow.int64()),
            **dict.fromkeys(("amount", "quantity", "cost", "proceeds", "gain"), pyarrow.decimal256(56, 18)),
            **dict.fromkeys(
                ("market_time", "received_at", "posted_at", "opened_at", "closed_at"), pyarrow.timestamp("us", "UTC")
            ),
        }
        self._schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns])
        self._writer = pyarrow.parquet.ParquetWriter(out, self._schema)
        self._rows: list[Sequence[Any]] = []

    def add(self, row: Sequence[Any]) -> None:
        """One row; a group is written when it is full."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._write()

    def close(self) -> None:
        """Write the last group and the footer."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [
                self._arrow.array(list(values), type=field.type)
                for values, field in zip(columns, self._schema, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
            self._rows = []


SINKS: dict[str, type[CsvSink] | type[JsonLinesSink] | type[ParquetSink]] = {
    "csv": CsvSink,
    "jsonl": JsonLinesSink,
    "parquet": ParquetSink,
}


def _text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return value.isoformat() if isinstance(value, datetime) else value
