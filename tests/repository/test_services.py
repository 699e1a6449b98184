"""Every service has the same files, and a README that answers the same questions."""

import re

import pytest

from tests.repository import checks, rules

SERVICES = sorted(
    folder.name
    for folder in (checks.ROOT / "services").iterdir()
    if folder.is_dir() and (folder / "__init__.py").exists()
)


def test_services_when_listed_are_those_of_the_extras() -> None:
    pyproject = (checks.ROOT / "pyproject.toml").read_text()
    assert SERVICES
    missing = [name for name in SERVICES if f"\n{name.replace('_', '-')} = [" not in pyproject]
    assert not missing


@pytest.mark.parametrize("service", SERVICES)
def test_service_when_looked_at_has_the_files_every_service_has(service: str) -> None:
    folder = checks.ROOT / "services" / service
    assert [name for name in rules.SERVICE_FILES if not (folder / name).exists()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_readme_when_read_has_the_sections_every_service_has(service: str) -> None:
    text = (checks.ROOT / "services" / service / "README.md").read_text()
    headings = " ".join(re.findall(r"^#+ (.+)$", text, re.MULTILINE)).lower()
    assert [word for word in rules.SERVICE_README_SECTIONS if word not in headings] == []
    assert text.startswith(f"# {service}\n")


@pytest.mark.parametrize("service", SERVICES)
def test_subjects_when_named_in_a_readme_exist(service: str) -> None:
    subjects = (checks.ROOT / "shared" / "contracts" / "subjects.py").read_text()
    known = set(re.findall(r'"([a-z-]+)[.">]', subjects)) | set(re.findall(r'f"([a-z-]+)\.', subjects))
    text = (checks.ROOT / "services" / service / "README.md").read_text()
    named = set(re.findall(r"`([a-z-]+)\.(?:<[a-z_ ]+>|\*)", text))
    assert named <= known
