"""Writes the files that are generated from the sources: ``python -m deploy.documents`` (``just docs``)."""

from collections.abc import Mapping
from pathlib import Path

from deploy.async_api import event_documents
from deploy.nats_users import users_conf

ROOT = Path(__file__).resolve().parents[1]


def documents() -> Mapping[Path, str]:
    """Every generated file and what it must contain."""
    deploy = ROOT / "deploy"
    events = {deploy / "events" / name: text for name, text in event_documents().items()}
    return {deploy / "nats" / "users.conf": users_conf(), **events}


def main() -> None:
    """Write them all."""
    for file, text in documents().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
