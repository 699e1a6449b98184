"""Price files: shapes that are read, and broken ones that are refused with where, what and what is allowed."""

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from services.simulated_exchange.markets.files import load_prices, summarise
from shared.core.errors import Refused
from tests.services.simulated_exchange.running import real_data

D = Decimal
DAY = 86_400_000
NEW_YEAR = 1_704_067_200_000

WIDE = "date,BTC,eth,ONEUSDT,SOL-USD\n2024-01-01,10000.10,,0.02,\n2024-01-02,10100,2000,,\n2024-01-03,,,0.021,55.5\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_prices_when_wide_are_exact_and_keep_gaps(tmp_path: Path) -> None:
    table = load_prices(written(tmp_path / "p.csv", WIDE))
    assert table.assets == ("BTC", "ETH", "ONE", "SOL")
    assert table.times_ms == (NEW_YEAR, NEW_YEAR + DAY, NEW_YEAR + 2 * DAY)
    assert table.prices == (
        (D("10000.10"), None, D("0.02"), None),
        (D("10100"), D("2000"), None, None),
        (None, None, D("0.021"), D("55.5")),
    )
    assert str(table.price(0, 0)) == "10000.10"
    assert [table.row_at(NEW_YEAR + offset) for offset in (-1, 0, DAY - 1, DAY, 9 * DAY)] == [-1, 0, 0, 1, 2]


def test_prices_when_gzipped_are_the_same_as_plain(tmp_path: Path) -> None:
    path = tmp_path / "p.csv.gz"
    path.write_bytes(gzip.compress(WIDE.encode(), mtime=0))
    assert load_prices(path).prices == load_prices(written(tmp_path / "p.csv", WIDE)).prices


def test_summary_when_listed_late_tells_the_first_price(tmp_path: Path) -> None:
    summary = summarise(load_prices(written(tmp_path / "p.csv", WIDE)))
    assert (summary.rows, summary.ticks) == (3, 6)
    assert (summary.first, summary.last) == ("2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z")
    assert summary.listed["SOL"] == "2024-01-03T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2024-01-01", NEW_YEAR),
        ("2024-01-01T00:00:00", NEW_YEAR),
        ("2024-01-01 00:00:00+00:00", NEW_YEAR),
        ("2024-01-01T02:00:00+02:00", NEW_YEAR),
        ("2024-01-01T00:00:00.250Z", NEW_YEAR + 250),
        ("1704067200", NEW_YEAR),
        ("1704067200.5", NEW_YEAR + 500),
        ("1704067200000", NEW_YEAR),
        ("1704067200000000", NEW_YEAR),
        ("1704067200000000000", NEW_YEAR),
    ],
)
def test_time_when_in_any_known_form_is_epoch_milliseconds(tmp_path: Path, text: str, time_ms: int) -> None:
    assert load_prices(written(tmp_path / "p.csv", f"time,BTC\n{text},1\n")).times_ms == (time_ms,)


def test_prices_when_long_are_gathered_by_time(tmp_path: Path) -> None:
    text = (
        "time,symbol,open,close\n2024-01-01,BTCUSDT,1,10\n2024-01-02,BTCUSDT,1,11\n"
        "2024-01-02,ETHUSDT,1,20\n2024-01-03,ETHUSDT,1,\n"
    )
    table = load_prices(written(tmp_path / "p.csv", text))
    assert table.assets == ("BTC", "ETH")
    assert table.prices == ((D(10), None), (D(11), D(20)), (None, None))


def test_prices_when_wide_ohlcv_are_the_closes(tmp_path: Path) -> None:
    text = "BTC_open,BTC_close,ETH_close,ETH_volume,ts\n1,10,20,5,2024-01-01\n"
    table = load_prices(written(tmp_path / "p.csv", text))
    assert (table.assets, table.prices) == (("BTC", "ETH"), ((D(10), D(20)),))


@pytest.mark.parametrize(
    "times",
    [
        [date(2024, 1, 1), date(2024, 1, 2)],
        [datetime(2024, 1, 1), datetime(2024, 1, 2)],  # noqa: DTZ001 - a column without zone is UTC
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)],
        [NEW_YEAR, NEW_YEAR + DAY],
        ["2024-01-01", "2024-01-02"],
    ],
)
def test_parquet_when_times_have_any_type_is_read_with_shortest_floats(tmp_path: Path, times: list[object]) -> None:
    path = tmp_path / "p.parquet"
    columns = {"time": times, "BTC": [0.1, 1e-05], "ETH": [None, 2000.0]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    table = load_prices(path)
    assert table.times_ms == (NEW_YEAR, NEW_YEAR + DAY)
    assert table.prices == ((D("0.1"), None), (D("0.00001"), D(2000)))


@pytest.mark.parametrize(
    ("text", "where", "value", "reason"),
    [
        ("", "p.csv", "0 bytes", "file is empty"),
        ("\n\n", "p.csv", "blank lines", "file is empty"),
        ("date,BTC\n", "p.csv", "0 rows", "holds no rows"),
        ("date\n2024-01-01\n", "p.csv line 1 column header", "date", "there is no price column"),
        ("date,BTC\n2024-01-01,\n", "p.csv", "no price", "holds no price at all"),
        ("date,BTC\n2024-01-01,ten\n", "p.csv line 2 column BTC", "ten", "is not a price"),
        ("date,BTC\n2024-01-01,1\n2024-01-02,0\n", "p.csv line 3 column BTC", "0", "price is zero"),
        ("date,BTC\n2024-01-01,-1\n", "p.csv line 2 column BTC", "-1", "is not a price"),
        ("date,BTC\n2024-01-01,NaN\n", "p.csv line 2 column BTC", "NaN", "is not finite"),
        ("date,BTC\n2024-01-01,inf\n", "p.csv line 2 column BTC", "inf", "is not finite"),
        ("date,BTC\n2024-01-01,1e400\n", "p.csv line 2 column BTC", "1e400", "is not a price"),
        ("date,BTC\n2024-01-01,1e99\n", "p.csv line 2 column BTC", "1e99", "price is out of range"),
        ("date,BTC\n2024-01-01,1_000\n", "p.csv line 2 column BTC", "1_000", "is not a price"),
        ("date,BTC\n2024-01-01,\u0661\n", "p.csv line 2 column BTC", "\u0661", "is not a price"),
        ("date,BTC\n2024-13-01,1\n", "p.csv line 2 column date", "2024-13-01", "is not a time"),
        ("date,BTC\n,1\n", "p.csv line 2 column date", "", "is not a time"),
        ("date,BTC\n1969-12-31,1\n", "p.csv line 2 column date", "1969-12-31", "is not a time"),
        ("date,BTC\n2024-01-02,1\n2024-01-01,1\n", "p.csv line 3 column date", "2024-01-01T00:00:00Z", "backwards"),
        ("date,BTC\n2024-01-02,1\n2024-01-02,1\n", "p.csv line 3 column date", "2024-01-02T00:00:00Z", "repeated"),
        ("date,BTC,BTC\n2024-01-01,1,1\n", "p.csv line 1 column BTC", "BTC", "column comes twice"),
        ("date,BTC,btc\n2024-01-01,1,1\n", "p.csv line 1 column btc", "btc", "column comes twice"),
        ("date,BTC,BTCUSDT\n2024-01-01,1,1\n", "p.csv line 1 column BTCUSDT", "BTCUSDT", "BTC comes twice"),
        ("date,BTC,\n2024-01-01,1,1\n", "p.csv line 1 column 3", "", "column has no name"),
        ("date,USDT\n2024-01-01,1\n", "p.csv line 1 column USDT", "USDT", "is the quote currency"),
        ("date,B T C\n2024-01-01,1\n", "p.csv line 1 column B T C", "B T C", "is not an asset"),
        ("date,BTC\n2024-01-01,1,2\n", "p.csv line 2 column row", "3 cells", "row is broken"),
        ("date,BTC,ETH\n2024-01-01,1\n", "p.csv line 2 column row", "2 cells", "row is broken"),
        ("time,asset,close\n2024-01-01,BTC,x\n", "p.csv line 2 column close", "x", "is not a price"),
        (
            "time,asset,close\n2024-01-01,BTC,1\n2024-01-01,BTC,1\n",
            "p.csv line 3 column time",
            "2024-01-01",
            "repeated",
        ),
        ("date,BTC\n2024-01-01,\0\n", "p.csv", "zero bytes", "is not a text file"),
    ],
)
def test_file_when_broken_is_refused_naming_place_value_and_allowed(
    tmp_path: Path, text: str, where: str, value: str, reason: str
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(Refused) as refused:
        load_prices(path)
    problem = refused.value.problems[0]
    assert problem.field == where
    assert value in problem.value
    assert reason in problem.message
    assert problem.allowed


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("p.csv.gz", b"date,BTC\n", "cannot be read"),
        ("p.csv.gz", gzip.compress(WIDE.encode(), mtime=0)[:-9], "cannot be read"),
        ("p.parquet", b"PAR1 no such thing", "cannot be read"),
        ("p.csv", b"date,BTC\n2024-01-01,\xff\xfe\n", "is not a text file"),
        ("p.xlsx", b"x", "unknown ending"),
        ("p.parquet", b"", "file is empty"),
    ],
)
def test_file_when_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused, match=reason):
        load_prices(path)


def test_file_when_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be found"):
        load_prices(tmp_path / "absent.csv")


def test_parquet_when_a_price_is_nan_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    columns = {"time": ["2024-01-01", "2024-01-02"], "BTC": pyarrow.array([1.0, float("nan")])}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(Refused, match=r"p\.parquet line 2 column BTC: is not finite"):
        load_prices(path)


def test_file_when_wrong_everywhere_names_ten_faults_and_stops(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-{day:02},x\n" for day in range(1, 29))
    with pytest.raises(Refused) as refused:
        load_prices(written(tmp_path / "p.csv", "date,BTC\n" + rows))
    assert len(refused.value.problems) == 10


@pytest.mark.parametrize(
    ("name", "rows", "ticks", "first", "last"),
    [
        ("daily/binance_daily_close_2018-2026.csv", 2924, 31670, "2018-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("daily/yahoo_daily_close_2017-2022_MIT.csv", 1559, 16251, "2017-11-09T00:00:00Z", "2022-02-14T00:00:00Z"),
        (
            "intraday/coinbase_1m_ohlcv_10_2023-11-27_2023-12-29.parquet",
            46446,
            462556,
            "2023-11-27T11:50:00Z",
            "2023-12-29T17:55:00Z",
        ),
    ],
)
def test_recorded_prices_when_read_are_complete(name: str, rows: int, ticks: int, first: str, last: str) -> None:
    summary = summarise(load_prices(real_data(name)))
    assert (summary.rows, summary.ticks, summary.first, summary.last) == (rows, ticks, first, last)
