"""The events as documents: an AsyncAPI 3 description, and a JSON schema per message, all from the contracts."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.contracts.access import SERVICES
from shared.contracts.catalogue import AUDIT_STREAMS, STREAMS, StreamSpec
from shared.contracts.channels import CHANNELS, Channel
from shared.contracts.wire import CONTENT_TYPE, SPEC_VERSION, Message, schema_name

Document = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ABOUT = """What happens in Trimtab, as CloudEvents 1.0 on NATS (binary mode: attributes are headers, the body is JSON).

Amounts are decimal text, times RFC 3339 in UTC. An event may come more than once: `ce-id` tells. A field that is new
and has a default does not change `ce-schemaversion`; any other change does, and what is stored stays as it was: the
schema of its version is named by `ce-dataschema`. Streams marked for auditors are read by the user `auditor`."""


def schema_file(message: type[Message]) -> str:
    """The name of the file of a message's schema."""
    return f"{message.TYPE}.v{message.SCHEMA_VERSION}.json"


def event_documents() -> Mapping[str, str]:
    """The text of every file, by its path below ``deploy/events``."""
    made = {"asyncapi.json": _text(_async_api())}
    for message in _messages():
        made[f"schemas/{schema_file(message)}"] = _text(schema_of(message))
    return made


def schema_of(message: type[Message]) -> Document:
    """The JSON schema of the body, as it is written."""
    schema = message.model_json_schema(mode="serialization")
    return {"$schema": _DIALECT, "$id": schema_name(message.TYPE, message.SCHEMA_VERSION), **schema}


def _messages() -> Iterator[type[Message]]:
    """Each message once, in the order of the channels."""
    yield from dict.fromkeys(one for channel in CHANNELS for one in (*channel.messages, *channel.replies))


def _async_api() -> Document:
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Trimtab", "version": "1.0.0", "description": _ABOUT},
        "defaultContentType": CONTENT_TYPE,
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats", "security": [{"type": "userPassword"}]}},
        "channels": {_key(channel): _channel(channel) for channel in CHANNELS},
        "operations": dict(operation for channel in CHANNELS for operation in _operations(channel)),
        "components": {
            "messages": {message.__name__: _message(message) for message in _messages()},
            "messageTraits": {"cloudEvent": {"headers": _headers()}},
        },
    }


def _key(channel: Channel) -> str:
    return re.sub(r"[.]?[{].*?[}]", "", channel.address)


def _channel(channel: Channel) -> Document:
    parameters = {name: {"description": name.replace("_", " ")} for name in re.findall(r"{(.+?)}", channel.address)}
    stream = _stream(channel)
    told: Document = {
        "address": channel.address,
        "messages": {
            one.__name__: {"$ref": f"#/components/messages/{one.__name__}"}
            for one in (*channel.messages, *channel.replies)
        },
    }
    if parameters:
        told["parameters"] = parameters
    if stream is not None:
        audited = "auditors may read it" if stream.name in AUDIT_STREAMS else "not for auditors"
        kept = "the newest of each subject" if stream.last_value_only else "everything"
        if stream.max_age_s:
            kept = f"the newest {stream.max_age_s // 86_400} days"
        told["description"] = f"JetStream stream {stream.name}: {kept}; {audited}."
        told["x-stream"] = stream.name
    else:
        told["description"] = "Request and reply on core NATS; nothing is stored."
    return told


def _stream(channel: Channel) -> StreamSpec | None:
    found = [spec for spec in STREAMS if any(_matches(pattern, channel.pattern) for pattern in spec.subjects)]
    return found[0] if found else None


def _matches(pattern: str, subject: str) -> bool:
    return re.fullmatch(pattern.replace(".", "[.]").replace("*", "[^.]+").replace(">", ".+"), subject) is not None


def _operations(channel: Channel) -> Iterator[tuple[str, Document]]:
    """What each service does with a channel, seen from the service."""
    place = {"$ref": f"#/channels/{_key(channel)}"}
    named = [{"$ref": f"#/channels/{_key(channel)}/messages/{message.__name__}"} for message in channel.messages]
    for service in SERVICES:
        heard = (
            *(spec for one in service.works for spec in one.filter_subjects),
            *(f.subject for f in service.follows),
        )
        sends = any(_matches(one, channel.pattern) for one in (*service.stores, *service.asks))
        receives = any(_matches(one, channel.pattern) for one in (*heard, *service.answers, *service.answers_each))
        for action, does in (("send", sends), ("receive", receives)):
            if does:
                operation: Document = {"action": action, "channel": place, "messages": named}
                if channel.replies:
                    replies = [f"#/channels/{_key(channel)}/messages/{one.__name__}" for one in channel.replies]
                    operation["reply"] = {"channel": place, "messages": [{"$ref": ref} for ref in replies]}
                yield f"{service.name}.{action}.{_key(channel)}", operation


def _message(message: type[Message]) -> Document:
    return {
        "name": message.TYPE,
        "title": message.__name__,
        "summary": inspect.cleandoc(message.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        "contentType": CONTENT_TYPE,
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"$ref": f"./schemas/{schema_file(message)}"},
    }


def _headers() -> Document:
    text: Document = {"type": "string"}
    required = ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "schemaversion")
    properties = {f"ce-{name}": text for name in (*required, "subject", "correlationid", "causationid")}
    properties["ce-specversion"] = {"const": SPEC_VERSION}
    properties["ce-datacontenttype"] = {"const": CONTENT_TYPE}
    return {"type": "object", "properties": properties, "required": [f"ce-{name}" for name in required]}


def _text(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
