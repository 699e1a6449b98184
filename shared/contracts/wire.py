"""How values travel: amounts as plain decimal text, times as UTC, messages as frozen models with CloudEvents headers.

Wire format: CloudEvents 1.0, NATS protocol binding, binary mode. The attributes are NATS headers (``ce-id``,
``ce-type``, ...), the payload is the message as JSON. An auditor needs nothing of ours to read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from shared.core.errors import Refused
from shared.core.money import parse_decimal, plain

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
MESSAGE_ID_HEADER = "Nats-Msg-Id"


def _parse_amount(value: object) -> Decimal:
    try:
        return parse_decimal(value, "amount")
    except Refused as refused:
        raise ValueError(str(refused)) from None


def _parse_number(value: object) -> Decimal:
    """A derived figure (a weight, a profit): finite, any precision. Money itself is an ``Amount``."""
    if isinstance(value, float):
        raise ValueError("must be text: floats are not exact")  # noqa: TRY004 - pydantic turns ValueError into a report
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite():
        raise ValueError("must be finite")
    return number


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must carry a time zone")
    return value.astimezone(UTC)


Amount = Annotated[Decimal, BeforeValidator(_parse_amount), PlainSerializer(plain, return_type=str)]
"""Exact money or quantity: at most 38 digits, 18 decimals; JSON text without exponent."""

Number = Annotated[Decimal, BeforeValidator(_parse_number), PlainSerializer(plain, return_type=str)]
"""An exact derived figure (weight, percent, price ratio); JSON text without exponent."""

Timestamp = Annotated[datetime, AfterValidator(_as_utc)]
"""A UTC instant; ISO 8601 in JSON."""


class Part(BaseModel):
    """A frozen value inside a message. Unknown fields are refused: two sides must mean the same thing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Part):
    """A command or an event. ``TYPE`` is its name on the wire, ``SCHEMA_VERSION`` rises when an older one needs help.

    What was stored once must be readable for ever. A new field with a default needs nothing; any other change of shape
    raises the version, with a step in ``shared.contracts.upcasting`` and a stored sample of each version in the tests.
    """

    TYPE: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Meta:
    """What every message carries besides its body.

    ``correlation_id`` names the story (a plan, a user's command), ``causation_id`` the message that led to this one.
    """

    message_id: str
    source: str
    occurred_at: datetime
    correlation_id: str
    causation_id: str


def schema_name(message_type: str, version: int) -> str:
    """The URI that names the JSON schema of a message's body."""
    return f"urn:{message_type.replace('.', ':', 1)}:{version}"


def headers_of(message: Message, meta: Meta) -> dict[str, str]:
    """CloudEvents headers (NATS binding, binary mode), and the message id for JetStream's deduplication.

    ``ce-subject`` is the strategy the message is about, else the venue, else it is not there.
    """
    about = getattr(message, "strategy_id", "") or getattr(message, "venue", "")
    subject = {"ce-subject": quote(about, safe="")} if about else {}
    return subject | {
        "content-type": CONTENT_TYPE,
        "ce-specversion": SPEC_VERSION,
        "ce-datacontenttype": CONTENT_TYPE,
        "ce-dataschema": schema_name(message.TYPE, message.SCHEMA_VERSION),
        "ce-id": meta.message_id,
        "ce-source": f"trimtab/{meta.source}",
        "ce-type": message.TYPE,
        "ce-time": meta.occurred_at.astimezone(UTC).isoformat(),
        "ce-schemaversion": str(message.SCHEMA_VERSION),
        "ce-correlationid": meta.correlation_id,
        "ce-causationid": meta.causation_id,
        MESSAGE_ID_HEADER: meta.message_id,
    }


def payload_of(message: Message) -> bytes:
    """The body as JSON bytes."""
    return message.model_dump_json().encode()


def meta_from(headers: Mapping[str, str]) -> Meta:
    """The ``Meta`` in a message's headers. Raises ValueError when one is missing or unreadable."""
    try:
        return Meta(
            message_id=headers["ce-id"],
            source=headers["ce-source"].removeprefix("trimtab/"),
            occurred_at=_as_utc(datetime.fromisoformat(headers["ce-time"])),
            correlation_id=headers["ce-correlationid"],
            causation_id=headers["ce-causationid"],
        )
    except KeyError as missing:
        raise ValueError(f"header {missing} is missing") from None
