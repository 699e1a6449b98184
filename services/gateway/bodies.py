"""Request bodies, read strictly: bounded, valid JSON, no key twice, numbers as text."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from shared.core.errors import Problem, Refused, shown
from shared.core.money import ZERO, parse_asset, parse_decimal

MAX_BODY_BYTES = 64 * 1024
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_PREVIEW_ID = re.compile(r"pv[0-9a-z]{26}")
_STRATEGY_ID = re.compile(r"st[0-9a-z]{26}")


class BodyTooLargeError(Exception):
    """The body is larger than ``MAX_BODY_BYTES``."""


class WrittenFloat(float):
    """A JSON number with a fraction or exponent: money refuses it, and the refusal quotes what was written."""

    def __new__(cls, text: str) -> "WrittenFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __repr__(self) -> str:
        return self.text


async def json_body(request: Request) -> Mapping[str, Any]:
    """The body as a mapping. Raises Refused, BodyTooLargeError."""
    return parse_body(await _read(request))


Body = Annotated[Mapping[str, Any], Depends(json_body)]


async def optional_json_body(request: Request) -> Mapping[str, Any]:
    """As ``json_body``; no body at all is an empty mapping."""
    data = await _read(request)
    return parse_body(data) if data else {}


OptionalBody = Annotated[Mapping[str, Any], Depends(optional_json_body)]


async def _read(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError
        chunks.append(chunk)
    return b"".join(chunks)


def parse_body(data: bytes) -> Mapping[str, Any]:
    """A JSON object from its bytes. Raises Refused for anything else, and for a key that is there twice."""
    try:
        body = json.loads(
            data.decode(), object_pairs_hook=_unique_keys, parse_float=WrittenFloat, parse_constant=WrittenFloat
        )
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is not valid JSON: {error}"
        raise Refused.one("body", shown(data[:80].decode(errors="replace")), "a JSON object", reason) from None
    if not isinstance(body, dict):
        raise Refused.one("body", body, "a JSON object", "is not an object")
    return body


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise Refused.one(shown(key), value, "each name once", "is given twice")
        unique[key] = value
    return unique


async def idempotency_key(key: Annotated[str | None, Header(alias="Idempotency-Key")] = None) -> str | None:
    """The caller's key for a command: the same key is the same command. Raises Refused."""
    if key is not None and not _KEY.fullmatch(key):
        raise Refused.one("Idempotency-Key", key, "1 to 128 characters of A-Z a-z 0-9 _ . : -", "is not a key")
    return key


Key = Annotated[str | None, Depends(idempotency_key)]


def refuse_unknown_fields(body: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raises Refused when the body has fields that do not belong there."""
    problems = [
        Problem(shown(key), shown(value), ", ".join(fields), "is not a field of this request")
        for key, value in body.items()
        if key not in fields
    ]
    if problems:
        raise Refused(problems)


def preview_id_in(body: Mapping[str, Any]) -> str:
    """The ``preview_id`` of a confirmation. Raises Refused."""
    refuse_unknown_fields(body, ["preview_id"])
    preview_id = body.get("preview_id")
    if not isinstance(preview_id, str) or not _PREVIEW_ID.fullmatch(preview_id):
        raise Refused.one("preview_id", preview_id, "the preview_id of a preview", "is not the id of a preview")
    return preview_id


def is_strategy_id(text: str) -> bool:
    """Whether a text has the form of a strategy id."""
    return bool(_STRATEGY_ID.fullmatch(text))


@dataclass(frozen=True, slots=True)
class DepositWanted:
    """A paper deposit as asked for; ``deposit_id`` None = choose one."""

    deposit_id: str | None
    asset: str
    amount: Decimal


def deposit_in(body: Mapping[str, Any]) -> DepositWanted:
    """The deposit in a body. Raises Refused with every problem."""
    problems: list[Problem] = []
    asset, amount = "", ZERO
    refuse_unknown_fields(body, ["id", "asset", "amount"])
    try:
        asset = parse_asset(body.get("asset"), "asset")
    except Refused as refused:
        problems += refused.problems
    allowed = "more than 0"
    try:
        amount = parse_decimal(body.get("amount"), "amount", allowed)
        if amount <= ZERO:
            problems.append(Problem("amount", shown(body["amount"]), allowed, "must be positive"))
    except Refused as refused:
        problems += refused.problems
    deposit_id = body.get("id")
    if deposit_id is not None and not (isinstance(deposit_id, str) and _KEY.fullmatch(deposit_id)):
        problems.append(Problem("id", shown(deposit_id), "1 to 128 characters of A-Z a-z 0-9 _ . : -", "is not an id"))
    if problems:
        raise Refused(problems)
    return DepositWanted(deposit_id, asset, amount)
