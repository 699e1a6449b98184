"""What errors mean, dialect by dialect: refuse, retry, unknown or stop."""

import pytest

from shared.core.errors import Refused
from shared.venues.capabilities import VenueError, Verdict
from shared.venues.dialects import BINANCE_ERRORS, DIALECTS, capabilities_of

V = Verdict


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, -1013, "Filter failure: NOTIONAL", V.REFUSE),
        (400, -2010, "Account has insufficient balance for requested action.", V.REFUSE),
        (400, -2010, "Duplicate order sent.", V.UNKNOWN),  # our id is there: go and look
        (400, -2010, "Market is closed.", V.REFUSE),
        (400, -1021, "Timestamp for this request is outside of the recvWindow.", V.RETRY),
        (400, -1121, "Invalid symbol.", V.REFUSE),
        (400, -1111, "Parameter 'price' has too much precision.", V.REFUSE),
        (429, -1003, "Too many requests.", V.RATE_LIMITED),
        (418, -1003, "Way too many requests; IP banned.", V.BANNED),
        (418, None, "", V.BANNED),
        (403, None, "<html>WAF</html>", V.RETRY),
        (401, -2015, "Invalid API-key, IP, or permissions for action.", V.STOP),
        (400, -1022, "Signature for this request is not valid.", V.STOP),
        (400, -1006, "An unexpected response was received.", V.UNKNOWN),
        (400, -1007, "Timeout waiting for response from backend server.", V.UNKNOWN),
        (400, -9999, "something new", V.UNKNOWN),
        (400, None, "not even JSON", V.UNKNOWN),
        (200, None, "", V.UNKNOWN),
        (503, -1008, "Server is currently overloaded.", V.UNKNOWN),
        (500, -1013, "a definite text with an indefinite status", V.UNKNOWN),
        (502, None, "Bad Gateway", V.UNKNOWN),
        (504, None, "Gateway Time-out", V.UNKNOWN),
    ],
)
def test_verdict_when_binance_answers_follows_table(status: int, code: int | None, message: str, expected: V) -> None:
    assert BINANCE_ERRORS.verdict(VenueError(status, code, message)) is expected


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_capabilities_when_listed_bound_the_proof_of_absence(dialect: str) -> None:
    row = capabilities_of(dialect)
    assert row.dialect == dialect
    assert row.absence_reads >= 3
    assert row.receive_window_ms > 0
    assert row.read_lag_ms > 0
    assert row.client_ids.max_length >= 28
    assert all(row.errors.verdict(VenueError(status, None, "")) is V.UNKNOWN for status in range(500, 600))


def test_capabilities_when_dialect_is_unknown_are_refused() -> None:
    with pytest.raises(Refused, match="binance"):
        capabilities_of("nowhere")
