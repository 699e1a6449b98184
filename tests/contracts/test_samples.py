"""What was stored once is readable for ever; and what is stored is what the documents say."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.async_api import event_documents, schema_file, schema_of
from shared.contracts import subjects
from shared.contracts.catalogue import STREAMS
from shared.contracts.channels import CHANNELS
from shared.contracts.upcasting import STEPS, upcast
from shared.contracts.wire import Message, payload_of
from shared.messaging import decoding
from shared.messaging.decoding import TYPES, Undecodable, decode
from tests.contracts.test_catalogue import covers

SAMPLES = Path(__file__).resolve().parent / "samples"


def bytes_of(sample: dict[str, Any]) -> bytes:
    return json.dumps(sample["data"]).encode()


@pytest.mark.parametrize("file", sorted(SAMPLES.glob("*.json")), ids=lambda file: file.stem)
def test_sample_when_read_by_this_version_is_the_message_it_was(file: Path):
    sample = json.loads(file.read_text(encoding="utf-8"))
    message, meta = decode(sample["headers"], bytes_of(sample))
    assert sample["headers"]["ce-type"] == message.TYPE
    assert meta.message_id == sample["headers"]["ce-id"]
    if int(sample["headers"]["ce-schemaversion"]) == message.SCHEMA_VERSION:
        again = json.loads(payload_of(message))
        # Nothing is lost; what was not there yet has its default.
        assert {name: again[name] for name in sample["data"]} == sample["data"]


@pytest.mark.parametrize("name", TYPES)
def test_type_when_it_exists_has_a_sample_of_every_version(name: str):
    versions = range(1, TYPES[name].SCHEMA_VERSION + 1)
    missing = [f"{name}.v{version}.json" for version in versions if not (SAMPLES / f"{name}.v{version}.json").exists()]
    assert not missing, f"keep a real message as tests/contracts/samples/{missing}: headers and data"
    steps = [version for version in versions[:-1] if (name, version) not in STEPS]
    assert not steps, f"say in shared/contracts/upcasting.py how versions {steps} of {name} become the next"


def test_message_when_its_type_has_moved_on_is_read_step_by_step(monkeypatch):
    class Renamed(Message):
        TYPE = "trimtab.test.renamed"
        SCHEMA_VERSION = 3
        whole: str

    steps = {
        (Renamed.TYPE, 1): lambda body: {"first": body["first"], "last": "-"},
        (Renamed.TYPE, 2): lambda body: {"whole": f"{body['first']} {body['last']}"},
    }
    monkeypatch.setattr(decoding, "TYPES", {Renamed.TYPE: Renamed})
    monkeypatch.setattr(decoding, "STEPS", steps)
    headers = json.loads((SAMPLES / "trimtab.order.filled.v1.json").read_text())["headers"] | {"ce-type": Renamed.TYPE}
    found = {}
    for version, body in {"1": b'{"first": "a"}', "2": b'{"first": "a", "last": "b"}', "3": b'{"whole": "c"}'}.items():
        message, _ = decode(headers | {"ce-schemaversion": version}, body)
        found[version] = message.whole
    assert found == {"1": "a -", "2": "a b", "3": "c"}
    with pytest.raises(Undecodable, match="newer than this program"):
        decode(headers | {"ce-schemaversion": "4"}, b"{}")
    monkeypatch.setattr(decoding, "STEPS", {})
    with pytest.raises(Undecodable, match="no step to 2"):
        decode(headers | {"ce-schemaversion": "1"}, b'{"first": "a"}')


def test_upcast_when_it_is_the_newest_already_changes_nothing():
    assert upcast("any", 2, 2, {"a": 1}, {}) == {"a": 1}


def test_channels_when_listed_hold_every_message_and_every_stored_subject():
    told = {one for channel in CHANNELS for one in (*channel.messages, *channel.replies)}
    forgotten = sorted(one.__name__ for one in set(TYPES.values()) - told)
    assert not forgotten, f"say in shared/contracts/channels.py where {forgotten} is said"
    stored = [one for spec in STREAMS for one in spec.subjects if one != subjects.DEAD_LETTERS_ALL]
    assert [one for one in stored if not any(covers(one, channel.pattern) for channel in CHANNELS)] == []
    addresses = [channel.address for channel in CHANNELS]
    assert len(set(addresses)) == len(addresses)


def test_documents_when_they_refer_to_something_have_it():
    documents = {name: json.loads(text) for name, text in event_documents().items()}
    api = documents["asyncapi.json"]

    def check(node: Any) -> None:
        if isinstance(node, dict):
            reference = node.get("$ref", "")
            if reference.startswith("./"):
                assert reference.removeprefix("./") in documents
            elif reference:
                found: Any = api
                for part in reference.removeprefix("#/").split("/"):
                    found = found[part]
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(api)
    assert api["asyncapi"] == "3.0.0"
    assert {operation["action"] for operation in api["operations"].values()} == {"send", "receive"}
    fills = {name for name in api["operations"] if name.endswith("orders.filled")}
    assert fills == {
        "order_executor.send.orders.filled",
        "ledger.receive.orders.filled",
        "gateway.receive.orders.filled",
    }


@pytest.mark.parametrize("name", TYPES)
def test_schema_when_made_describes_every_field_of_a_sample(name: str):
    schema = schema_of(TYPES[name])
    sample = json.loads((SAMPLES / schema_file(TYPES[name])).read_text(encoding="utf-8"))
    assert set(sample["data"]) <= set(schema.get("properties", {}))
    assert schema["$id"] == sample["headers"].get("ce-dataschema", schema["$id"])
    assert set(schema.get("required", ())) <= set(sample["data"])
