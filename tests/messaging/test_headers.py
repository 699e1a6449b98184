"""Our reading of headers equals that of nats-py, whatever the bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from shared.messaging.broker import make_broker
from shared.messaging.headers import parse_header_lines
from tests.servers import NatsServer

_PIECES = st.sampled_from([b"\r\n", b":", b" ", b"\t", b"\x1c", b"\n", b"ce-id", b"Nats-Msg-Id", b"\xff", "é".encode()])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(_PIECES, st.binary(max_size=4)), max_size=12).map(b"".join))
def test_parse_header_lines_when_given_any_bytes_equals_nats_py(raw: bytes) -> None:
    assert parse_header_lines(raw) == Client._parse_header_lines(raw)


@pytest.mark.parametrize("raw", [b"", b"a: 1\r\nb:2\r\n\r\n", b"a b: 1\r\n", b": x\r\n", b"a:\tz \r\na: 2\r\n"])
def test_parse_header_lines_when_lines_are_odd_equals_nats_py(raw: bytes) -> None:
    assert parse_header_lines(raw) == Client._parse_header_lines(raw)


async def test_broker_when_it_receives_headers_reads_them_so(nats_server: NatsServer) -> None:
    broker = make_broker(nats_server.url, "test-headers")
    await broker.start()
    assert broker.client._parse_header_lines is parse_header_lines
    subscription = await broker.client.subscribe("test-headers.one")
    await broker.client.publish("test-headers.one", b"x", headers={"ce-id": "7", "ce-type": "t"})
    message = await subscription.next_msg(timeout=5)
    assert message.headers == {"ce-id": "7", "ce-type": "t"}
    await broker.stop()
