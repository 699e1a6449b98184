"""The wire format: every message survives the trip, nothing else gets in."""

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import shared.contracts
from shared.contracts.catalogue import STREAMS
from shared.contracts.frames import FrameQuote, PriceFrame, decode_frame, encode_frame
from shared.contracts.orders import DepositObserved
from shared.contracts.strategies import CommandRefused
from shared.contracts.wire import (
    MESSAGE_ID_HEADER,
    Amount,
    Message,
    Meta,
    Number,
    Part,
    Timestamp,
    headers_of,
    meta_from,
    payload_of,
)
from shared.messaging.decoding import TYPES, Undecodable, decode

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)

amounts = st.decimals(min_value=-(10**18), max_value=10**18, places=8, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def values(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    whole = Annotated[annotation, *metadata] if metadata else annotation
    if whole in (Amount, Number):
        return amounts
    if whole == Timestamp:
        return times
    simple = {
        str: texts,
        int: st.integers(0, 2**53),
        float: st.floats(0, 1e6),
        bool: st.booleans(),
        Any: texts,
        NoneType: st.none(),
    }
    if annotation in simple:
        return simple[annotation]
    if inspect.isclass(annotation):
        return st.sampled_from(annotation) if issubclass(annotation, Enum) else parts(annotation)
    return composed(get_origin(annotation), get_args(annotation))


def composed(origin: Any, arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin is Annotated:
        return values(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return st.one_of(*(values(one) for one in arguments))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(texts, values(arguments[1]), max_size=3)
    raise AssertionError(f"no values for {origin!r}")


def parts(part: type[Part]) -> st.SearchStrategy[Any]:
    fields = {name: values(field.annotation, tuple(field.metadata)) for name, field in part.model_fields.items()}
    return st.fixed_dictionaries(fields).map(lambda given_values: part(**given_values))


def contract_modules() -> Iterator[Any]:
    for module in pkgutil.iter_modules(shared.contracts.__path__):
        yield importlib.import_module(f"shared.contracts.{module.name}")


def all_parts() -> list[type[Part]]:
    found = {
        value
        for module in contract_modules()
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Part)
    }
    return sorted(found - {Part, Message}, key=lambda part: part.__name__)


def test_registry_when_built_knows_every_message_of_every_contract_module():
    assert set(TYPES.values()) == {part for part in all_parts() if issubclass(part, Message)}


@pytest.mark.parametrize("message_type", TYPES.values(), ids=lambda one: one.__name__)
def test_message_when_sent_and_read_back_is_equal(message_type):
    @settings(max_examples=30, deadline=None)
    @given(parts(message_type), times)
    def round_trip(message, occurred_at):
        meta = Meta("id-1", "ledger", occurred_at, "story", "")
        headers = headers_of(message, meta)
        assert decode(headers, payload_of(message)) == (message, meta)

    round_trip()


@pytest.mark.parametrize("part", all_parts(), ids=lambda part: part.__name__)
def test_part_when_looked_at_is_frozen_and_refuses_unknown_fields(part):
    assert part.model_config.get("frozen") is True
    assert part.model_config.get("extra") == "forbid"
    assert part.__doc__


@pytest.mark.parametrize("part", all_parts(), ids=lambda part: part.__name__)
def test_part_when_it_holds_numbers_never_holds_a_float(part):
    floats = {(part.__name__, name) for name, field in part.model_fields.items() if "float" in str(field.annotation)}
    assert floats <= {("CommandDeferred", "after_s")}, "only a pause may be a float"


@pytest.mark.parametrize("message_type", TYPES.values(), ids=lambda one: one.__name__)
def test_message_when_named_follows_the_rules(message_type):
    assert message_type.TYPE.startswith("trimtab.")
    assert message_type.TYPE.lower() == message_type.TYPE
    assert message_type.SCHEMA_VERSION >= 1
    assert not message_type.__name__.endswith(("Event", "Message", "DTO", "Command"))


def test_headers_when_made_are_cloudevents_of_the_nats_binding():
    message = DepositObserved(deposit_id="d", venue="v", asset="USDT", amount=Decimal(1), market_time=AT)
    headers = headers_of(message, Meta("id-1", "ledger", AT, "story", "cause"))
    assert headers == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-datacontenttype": "application/json",
        "ce-dataschema": "urn:trimtab:deposit.observed:1",
        "ce-subject": "v",
        "ce-id": "id-1",
        "ce-source": "trimtab/ledger",
        "ce-type": "trimtab.deposit.observed",
        "ce-time": "2026-01-02T03:04:05.678000+00:00",
        "ce-schemaversion": "1",
        "ce-correlationid": "story",
        "ce-causationid": "cause",
        MESSAGE_ID_HEADER: "id-1",
    }


def test_time_when_in_another_zone_is_sent_as_utc():
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    message = DepositObserved(deposit_id="d", venue="v", asset="USDT", amount=Decimal(1), market_time=elsewhere)
    assert b"2026-01-02T03:04:05.678000Z" in payload_of(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 1.5),
        ("amount", "NaN"),
        ("amount", "Infinity"),
        ("amount", "1" * 40),
        ("amount", None),
        ("amount", True),
        ("market_time", "2026-01-01T00:00:00"),
        ("market_time", "soon"),
        ("venue", 7),
    ],
)
def test_message_when_a_value_is_not_allowed_is_refused(field, value):
    good = {"deposit_id": "d", "venue": "v", "asset": "USDT", "amount": "1", "market_time": AT.isoformat()}
    DepositObserved(**good)
    with pytest.raises(ValidationError):
        DepositObserved(**{**good, field: value})


@pytest.mark.parametrize("text", ["0.1", "123456789012345678.123456789012345678", "-0.000000000000000001", "1000000"])
def test_amount_when_sent_keeps_every_digit_without_exponent(text):
    message = DepositObserved(deposit_id="d", venue="v", asset="USDT", amount=text, market_time=AT)
    assert f'"amount":"{text}"'.encode() in payload_of(message)
    assert decode(headers_of(message, Meta("i", "s", AT, "c", "")), payload_of(message))[0] == message


def valid_headers() -> dict[str, str]:
    return headers_of(CommandRefused(problems=()), Meta("id", "source", AT, "story", ""))


@pytest.mark.parametrize("missing", ["ce-id", "ce-source", "ce-type", "ce-time", "ce-correlationid", "ce-causationid"])
def test_message_when_a_header_is_missing_is_undecodable(missing):
    headers = valid_headers()
    del headers[missing]
    with pytest.raises(Undecodable):
        decode(headers, b'{"problems":[]}')


@pytest.mark.parametrize("version", ["", "0", "-1", "1.0", "2", "²", "latest"])
def test_message_when_its_schema_version_is_not_ours_is_undecodable(version):
    with pytest.raises(Undecodable, match="schema version"):
        decode(valid_headers() | {"ce-schemaversion": version}, b'{"problems":[]}')


@given(st.binary(max_size=200))
def test_decode_when_given_any_bytes_raises_nothing_but_undecodable(body):
    try:
        message, _ = decode(valid_headers(), body)
    except Undecodable:
        return
    assert isinstance(message, CommandRefused)


@given(st.dictionaries(st.sampled_from([*valid_headers(), "other"]), texts))
def test_decode_when_given_any_headers_raises_nothing_but_undecodable(headers):
    with contextlib.suppress(Undecodable):
        decode({**valid_headers(), **headers}, b'{"problems":[]}')


def test_meta_when_read_back_drops_nothing():
    meta = Meta("id", "ledger", AT, "story", "cause")
    assert meta_from(headers_of(CommandRefused(problems=()), meta)) == meta


quotes = st.builds(
    FrameQuote,
    asset=texts,
    bid=amounts.map(str),
    ask=amounts.map(str),
    at_ms=st.integers(0, 2**45),
    received_ns=st.integers(0, 2**63 - 1),
)


@given(
    st.builds(
        PriceFrame,
        venue=texts,
        epoch=texts,
        sequence=st.integers(0, 2**53),
        market_time_ms=st.integers(0, 2**45),
        quotes=st.lists(quotes, max_size=4).map(tuple),
    )
)
def test_frame_when_sent_and_read_back_is_equal(frame):
    assert decode_frame(encode_frame(frame)) == frame


@given(st.binary(max_size=100))
def test_frame_when_given_any_bytes_raises_only_what_it_says(data):
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_frame(data)


def test_frame_quote_when_asked_is_exact():
    quote = FrameQuote("BTC", "100000.1", "100000.2", 1_767_323_045_678, 1).quote()
    assert (quote.bid, quote.ask, quote.at) == (Decimal("100000.1"), Decimal("100000.2"), AT)


def test_largest_message_when_sent_fits_the_servers_default_payload():
    assert all(spec.max_bytes > 1024 * 1024 for spec in STREAMS)
