"""Files as rows of raw cells: text from csv, values from parquet. Knows nothing of prices."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.core.errors import Refused

if TYPE_CHECKING:
    from _csv import Reader

ENDINGS = ".csv, .csv.gz or .parquet"


@dataclass(frozen=True, slots=True)
class RawTable:
    """Column names, and rows as (line or row number, cells)."""

    header: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[object]]]


def read_table(path: Path) -> RawTable:
    """Open a file by its ending. Raises Refused when it cannot be read, is empty or is not what its ending says."""
    name = path.name.lower()
    if not path.is_file():
        raise Refused.one(str(path), "no such file", f"a file ending in {ENDINGS}", "cannot be found")
    if path.stat().st_size == 0:
        raise Refused.one(path.name, "0 bytes", "a header and at least one row of prices", "file is empty")
    if name.endswith(".parquet"):
        return _read_parquet(path)
    if name.endswith((".csv", ".csv.gz")):
        return _read_csv(path)
    raise Refused.one(path.name, path.suffix or "no ending", ENDINGS, "file has an unknown ending")


def _read_csv(path: Path) -> RawTable:
    try:
        raw = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise Refused.one(path.name, str(error), "a readable file", "cannot be read") from None
    except UnicodeDecodeError as error:
        raise Refused.one(path.name, f"byte {error.start}", "UTF-8 text", "is not a text file") from None
    if "\0" in text[:4096]:
        raise Refused.one(path.name, "zero bytes", "UTF-8 text", "is not a text file")
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next((row for row in reader if any(cell.strip() for cell in row)), None)
    if header is None:
        raise Refused.one(path.name, "blank lines", "a header and at least one row of prices", "file is empty")
    return RawTable(tuple(header), _csv_rows(reader, path))


def _csv_rows(reader: "Reader", path: Path) -> Iterator[tuple[int, Sequence[object]]]:
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Refused.one(f"{path.name} line {reader.line_num}", str(error), "comma-separated text", "") from None
        if row:
            yield reader.line_num, row


def _read_parquet(path: Path) -> RawTable:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise Refused.one(path.name, str(error), "an Apache Parquet file", "cannot be read") from None
    return RawTable(tuple(table.column_names), _parquet_rows(table))


def _parquet_rows(table: object) -> Iterator[tuple[int, Sequence[object]]]:
    number = 0
    for batch in table.to_batches(max_chunksize=10_000):  # type: ignore[attr-defined]
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield number, row
