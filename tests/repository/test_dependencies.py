"""A service's image holds what the service imports: the project's dependencies and the extra of its name, no more."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.repository import checks
from tests.repository.test_services import SERVICES

PROJECT = tomllib.loads((checks.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"services", "shared", "deploy"}


def names(requirements: list[str]) -> set[str]:
    """Distribution names of requirements, as packages_distributions() spells them, normalised."""
    return {normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def foreign_imports(folder: str) -> set[str]:
    """Top names of third-party modules imported by the sources under ``folder``."""
    found = set()
    for file in checks.files(".py"):
        if checks.path_of(file).startswith(folder):
            found |= {name.split(".")[0] for name, _ in checks.imports(file.read_text(encoding="utf-8"))}
    return found - OWN - sys.stdlib_module_names


@pytest.mark.parametrize("service", SERVICES)
def test_extra_when_service_imports_a_library_names_it(service: str) -> None:
    declared = names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"][service.replace("_", "-")])
    known = packages_distributions()
    missing = {
        module
        for module in foreign_imports(f"services/{service}/")
        if not {normal(distribution) for distribution in known.get(module, [])} & declared
    }
    assert not missing, f"the extra {service.replace('_', '-')} lacks what provides {sorted(missing)}"


def test_dependencies_when_shared_imports_a_library_name_it() -> None:
    # numpy: the core's index, used by the evaluator alone, whose extra names it. ccxt, websockets: never in shared.
    known = packages_distributions()
    declared = names(PROJECT["dependencies"])
    missing = {
        module
        for module in foreign_imports("shared/") - {"numpy"}
        if not {normal(distribution) for distribution in known.get(module, [])} & declared
    }
    assert not missing
