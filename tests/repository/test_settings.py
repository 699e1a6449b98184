"""A setting that is wrong is named, and what is secret among the others is not shown with it."""

import importlib

import pytest
from pydantic import ValidationError

from tests.repository.test_services import SERVICES

CANARY = "canary-7f3a91d2"
SECRET = ("PASSWORD", "TOKEN", "SECRET", "API_KEY", "DSN")


def variables(service: str) -> dict[str, str]:
    """A canary for everything of a service's settings that is secret by its name."""
    fields = importlib.import_module(f"services.{service}.settings").Settings.model_fields
    names = [f"TRIMTAB_{name}".upper() for name in fields]
    return {name: CANARY * 2 for name in names if name.endswith(SECRET)}


@pytest.mark.parametrize("service", SERVICES)
def test_settings_when_shown_or_wrong_do_not_tell_secrets(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = importlib.import_module(f"services.{service}.settings").Settings
    canaries = variables(service)
    assert canaries
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    for name, field in settings.model_fields.items():
        if field.is_required() and f"TRIMTAB_{name}".upper() not in canaries:
            monkeypatch.setenv(f"TRIMTAB_{name}".upper(), "ws://127.0.0.1:1" if name.endswith("url") else "paper")
    made = settings()
    assert CANARY not in repr(made) + str(made)
    monkeypatch.setenv("TRIMTAB_HEALTH_PORT", "no number")
    with pytest.raises(ValidationError) as wrong:
        settings()
    assert "health_port" in str(wrong.value)
    assert CANARY not in str(wrong.value) + repr(wrong.value)
