"""The commands that the documents show exist."""

import re
import tomllib

import pytest

from tests.repository import checks, rules

_JUST = re.compile(r"(?:uv run (?:--\S+ )*just|(?<=`)just|^\$ just) +([a-z][a-z-]*)", re.MULTILINE)
_TRIMTAB = re.compile(r"(?:uv run |(?<=`)|^\$ )trimtab +([a-z][a-z-]*)(?: +([a-z][a-z-]*))?", re.MULTILINE)


def recipes() -> set[str]:
    """The names of the justfile's recipes."""
    text = (checks.ROOT / "justfile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*)(?: [^:=\n]*)?:(?!=)", text, re.MULTILINE))


def commands() -> dict[str, set[str]]:
    """The command line's commands, each with its subcommands."""
    import typer.main

    from deploy.command_line.__main__ import program

    top = typer.main.get_command(program())
    return {name: set(getattr(command, "commands", {})) for name, command in getattr(top, "commands", {}).items()}


@pytest.mark.parametrize("document", rules.DOCUMENTS_WITH_COMMANDS)
def test_recipes_when_documents_show_them_exist(document: str) -> None:
    file = checks.ROOT / document
    shown = set(_JUST.findall(file.read_text())) if file.exists() else set()
    assert shown - recipes() == set()


@pytest.mark.parametrize("document", rules.DOCUMENTS_WITH_COMMANDS)
def test_commands_when_documents_show_them_exist(document: str) -> None:
    file = checks.ROOT / document
    known = commands()
    wrong = []
    for name, subcommand in _TRIMTAB.findall(file.read_text()) if file.exists() else []:
        if name not in known or (known[name] and subcommand and subcommand not in known[name]):
            wrong.append(f"trimtab {name} {subcommand}")
    assert not wrong


def test_readme_when_read_names_the_two_commands() -> None:
    text = (checks.ROOT / "README.md").read_text()
    assert "pip install uv && uv run trimtab demo" in text
    assert "uv run just test" in text


def test_justfile_when_read_has_the_promised_recipes_each_documented_and_grouped() -> None:
    text = (checks.ROOT / "justfile").read_text()
    assert {"demo", "up", "test", "check", "bench", "fmt"} <= recipes()
    blocks = re.findall(r"((?:^\[.+\]\n)*)^([a-z][a-z-]*)(?: [^:=\n]*)?:(?!=)", text, re.MULTILINE)
    bare = [name for attributes, name in blocks if "[private]" not in attributes and "[doc(" not in attributes]
    ungrouped = [name for attributes, name in blocks if "[private]" not in attributes and "[group(" not in attributes]
    assert (bare, ungrouped) == ([], [])


def test_console_script_when_declared_is_importable() -> None:
    project = tomllib.loads((checks.ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["trimtab"].partition(":")
    import importlib

    assert callable(getattr(importlib.import_module(module), name))
