"""Strategy files: what is written is what is read; anything doubtful is refused with its place."""

from pathlib import Path
from typing import Any

import pytest

from deploy.command_line.strategy_file import load_document, parse_document
from shared.core.errors import Refused
from shared.core.strategy import parse_strategy

GOOD = """\
name: Three majors
venue: paper
funding_asset: USDT
amount: 1200.50
targets: {BTC: 40, ETH: "30", SOL: 30.0}
rebalance:
  threshold: 5   # percentage points
take_profit:
stop_loss: -8
"""


def test_file_when_numbers_are_bare_keeps_the_text() -> None:
    document = parse_document(GOOD.encode(), "x.yaml")
    assert document["amount"] == "1200.50"
    assert document["targets"] == {"BTC": "40", "ETH": "30", "SOL": "30.0"}
    assert document["rebalance"] == {"threshold": "5"}
    assert document["take_profit"] is None
    assert document["stop_loss"] == "-8"
    parse_strategy(document)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("1e400", "1e400"),
        (".nan", ".nan"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("0.1", "0.1"),
        ('""', ""),
        ("", None),
        ("~", None),
        ("null", None),
        ('"null"', "null"),
        ("!!float 5", "5"),
        ("!!python/object/apply:os.system [x]", ["x"]),
    ],
)
def test_scalar_when_yaml_would_convert_it_stays_text(text: str, value: Any) -> None:
    assert parse_document(f"amount: {text}\n".encode(), "x.yaml") == {"amount": value}


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("amount: 1\nname: a\namount: 2\n", "amount", "is given twice (line 3, column 1)"),
        ("targets:\n  BTC: 50\n  ETH: 20\n  BTC: 30\n", "BTC", "is given twice (line 4, column 3)"),
        ("targets: {BTC: 50, BTC: 50}\n", "BTC", "is given twice (line 1, column 20)"),
        ('targets: {BTC: 50, "BTC": 50}\n', "BTC", "is given twice"),
        ("name: [a\n", "file", "is not valid YAML"),
        ("name: a\n  amount: 1\n", "file", "(line 2, column 9)"),
        ("a: &x 1\nb: *x\n", "file", "alias"),
        ("a: 1\n---\nb: 2\n", "file", "is not valid YAML"),
        ("- a\n- b\n", "file", "is not a mapping"),
        ("just text\n", "file", "is not a mapping"),
        ("", "file", "is not a mapping"),
        ("name: \x00\n", "file", "is not valid YAML"),
        ("? [a, b]\n: c\n", "file", "is not valid YAML"),
        ("a: " + "[" * 5000, "file", "is not valid YAML"),
    ],
)
def test_file_when_doubtful_is_refused_with_its_place(text: str, field: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_document(text.encode(), "x.yaml")
    (problem,) = refused.value.problems
    assert problem.field == field
    assert message in problem.message


def test_file_when_not_there_a_folder_or_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a" * 70_000)
    for file, message in ((tmp_path / "none.yaml", "cannot be read"), (tmp_path, "cannot be read"), (large, "large")):
        with pytest.raises(Refused, match=message):
            load_document(file)
