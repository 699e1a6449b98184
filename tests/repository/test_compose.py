"""compose.yaml starts what exists, with settings that exist, and bakes in no secret."""

import importlib
import re
from typing import Any

import pytest
import yaml

from tests.repository import checks
from tests.repository.test_services import SERVICES

TEXT = (checks.ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: part for name, part in PARTS.items() if "build" in part and name != "provision"}


def test_compose_when_read_starts_every_service_once() -> None:
    assert sorted(OURS) == sorted(service.replace("_", "-") for service in SERVICES)
    assert {name: part["build"]["args"]["SERVICE"] for name, part in OURS.items()} == {
        name: name.replace("-", "_") for name in OURS
    }


@pytest.mark.parametrize("name", OURS)
def test_environment_when_given_to_a_service_is_read_by_it(name: str) -> None:
    settings = importlib.import_module(f"services.{name.replace('-', '_')}.settings").Settings
    known = {f"TRIMTAB_{field}".upper() for field in settings.model_fields}
    # The venue's addresses are one block for the feed and the executor; each reads its part of it.
    shared = {variable for variable in OURS["price-feed"]["environment"] if variable.startswith("TRIMTAB_VENUE_")}
    assert set(PARTS[name]["environment"]) - known - shared == set()


@pytest.mark.parametrize("name", OURS)
def test_environment_when_a_setting_is_required_gives_it(name: str) -> None:
    settings = importlib.import_module(f"services.{name.replace('-', '_')}.settings").Settings
    required = {f"TRIMTAB_{key}".upper() for key, field in settings.model_fields.items() if field.is_required()}
    assert required - set(PARTS[name]["environment"]) == set()


@pytest.mark.parametrize("name", PARTS)
def test_service_when_it_may_be_scaled_has_no_fixed_name(name: str) -> None:
    assert "container_name" not in PARTS[name]


def test_ports_when_published_are_the_gateways_on_loopback_only() -> None:
    published = {name: part["ports"] for name, part in PARTS.items() if "ports" in part}
    assert list(published) == ["gateway"]
    assert all(str(port).startswith("127.0.0.1:") for port in published["gateway"])


@pytest.mark.parametrize("name", PARTS)
def test_secrets_when_needed_come_from_the_environment_and_must_be_set(name: str) -> None:
    for variable, value in PARTS[name].get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|API_KEY|DSN", variable):
            assert re.search(r"\$\{TRIMTAB_[A-Z_]+:\?", str(value)), variable


def test_secrets_when_required_are_all_generated() -> None:
    required = set(re.findall(r"\$\{(TRIMTAB_[A-Z_]+):\?", TEXT))
    generated = re.search(r'^secrets := "(.+)"$', (checks.ROOT / "justfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert generated is not None
    assert required == set(generated.group(1).split())


def test_dependencies_when_named_wait_for_health_or_completion() -> None:
    conditions = {
        (on, how["condition"]) for part in PARTS.values() for on, how in (part.get("depends_on") or {}).items()
    }
    assert conditions == {
        ("nats", "service_healthy"),
        ("postgres", "service_healthy"),
        ("simulated-exchange", "service_healthy"),
        ("provision", "service_completed_successfully"),
    }
    healthy = {on for on, condition in conditions if condition == "service_healthy"}
    assert all("healthcheck" in PARTS[name] for name in healthy)


def test_dockerfile_when_read_runs_as_nobody_special() -> None:
    text = (checks.ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = text.split("\nFROM ")
    final = [stage for stage in stages if re.search(r" AS (service|provision)$", stage, re.MULTILINE)]
    assert len(final) == 2
    assert all(stage.index("USER trimtab") < stage.index("\nCMD ") for stage in final)
    assert "--frozen" in text
