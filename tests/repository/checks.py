"""Checks on sources: each takes a path (text, from the repository's root) and a source, and returns what is wrong."""

import ast
import os
import re
import sys
from collections.abc import Iterator, Set
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from tests.repository import rules

ROOT = Path(__file__).resolve().parents[2]


def files(*endings: str) -> list[Path]:
    """Every file of the repository with one of these endings, sorted."""
    found = []
    for folder, names, file_names in os.walk(ROOT):
        names[:] = [name for name in names if name not in rules.IGNORED_FOLDERS and not name.endswith(".egg-info")]
        # `.git` is a file, not a folder, in a work tree beside the first one.
        kept = (name for name in file_names if name not in rules.IGNORED_FOLDERS)
        found += [Path(folder) / name for name in kept if PurePosixPath(name).suffix in endings]
    return sorted(found)


def path_of(file: Path) -> str:
    """The path from the root, with forward slashes."""
    return file.relative_to(ROOT).as_posix()


def too_long(path: str, source: str) -> list[str]:
    """Files and functions over the limit."""
    lines = source.count("\n")
    wrong = [f"{path}: {lines} lines"] if lines > rules.MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > rules.MAX_FUNCTION_LINES:
                wrong.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return wrong


def banned_names(path: str, source: str) -> list[str]:
    """File and class names that say nothing."""
    pure = PurePosixPath(path)
    words = {word for part in (*pure.parts[:-1], pure.stem) for word in part.lower().split("_")}
    wrong = [f"{path}: a file called {word}" for word in sorted(words & rules.BANNED_WORDS_IN_FILE_NAMES)]
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ClassDef)
            and node.name.endswith(rules.BANNED_CLASS_ENDINGS)
            and node.name not in rules.ALLOWED_CLASS_NAMES
        ):
            wrong.append(f"{path}:{node.lineno}: a class called {node.name}")
    return wrong


def imports(source: str) -> Iterator[tuple[str, int]]:
    """Full names of what is imported, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def impure_core(path: str, source: str) -> list[str]:
    """In shared/core: foreign imports, clocks, chance, environment, logging, waiting, floats where money is."""
    if not path.startswith(rules.CORE):
        return []
    wrong = []
    for name, line in imports(source):
        top = name.split(".")[0]
        own = name.startswith("shared.core.")
        standard = top in sys.stdlib_module_names and top not in rules.CORE_MUST_NOT_IMPORT
        if not (own or standard or top in rules.CORE_MAY_IMPORT):
            wrong.append(f"{path}:{line}: imports {name}")
    name = PurePosixPath(path).name
    floats = name in rules.CORE_MAY_USE_FLOATS
    forbidden = rules.CORE_MUST_NOT_CALL - ({"open"} if name in rules.CORE_MAY_OPEN else set())
    for node in ast.walk(ast.parse(source)):
        what = _impurity(node, forbidden, floats_allowed=floats)
        if what:
            wrong.append(f"{path}:{getattr(node, 'lineno', 0)}: {what}")
    return wrong


def _impurity(node: ast.AST, forbidden: Set[str], *, floats_allowed: bool) -> str:
    if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        return "waits"
    if isinstance(node, ast.Call):
        called = _name_called(node)
        if called in forbidden:
            return f"calls {called}()"
        if called == "float" and not floats_allowed:
            return "makes a float"
    if isinstance(node, ast.Constant) and isinstance(node.value, float) and not floats_allowed:
        return f"has the float {node.value}"
    return ""


def _name_called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def library_out_of_place(path: str, source: str) -> list[str]:
    """Libraries imported where they do not belong."""
    wrong = []
    for name, line in imports(source):
        top = name.split(".")[0]
        for place in rules.PLACES_OF_LIBRARIES:
            if top == place.library and not any(fnmatch(path, pattern) for pattern in place.allowed):
                wrong.append(f"{path}:{line}: imports {name}")
    return wrong


def foreign_service(path: str, source: str) -> list[str]:
    """A service that imports another service, or anything of ours but ``shared``; ``shared`` that imports a service."""
    parts = path.split("/")
    if parts[0] not in {"services", "shared"}:
        return []
    own = f"services.{parts[1]}" if parts[0] == "services" and len(parts) > 2 else "shared"
    return [
        f"{path}:{line}: imports {name}"
        for name, line in imports(source)
        if name.split(".")[0] in {"services", "deploy", "tests"} and not f"{name}.".startswith(f"{own}.")
    ]


def subscriber_out_of_place(path: str, source: str) -> list[str]:
    """``.subscriber(...)`` outside shared/messaging."""
    if path.startswith((rules.SUBSCRIBERS_ONLY_IN, "tests/")):
        return []
    return [
        f"{path}:{node.lineno}: calls subscriber()"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "subscriber"
    ]


def blocking(path: str, source: str) -> list[str]:
    """time.sleep and bare except in services and shared."""
    if not path.startswith(rules.NO_BLOCKING_IN):
        return []
    wrong = []
    sleeps = {line for name, line in imports(source) if name == "time.sleep"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"{path}:{node.lineno}: bare except")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            sleeps.add(node.lineno)
    return wrong + [f"{path}:{line}: time.sleep" for line in sorted(sleeps)]


def tests_missing(path: str, source: str) -> list[str]:
    """A test file without tests, or tests in a file that pytest does not collect."""
    if not path.startswith("tests/"):
        return []
    named = PurePosixPath(path).name.startswith("test_")
    has = any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for node in ast.walk(ast.parse(source))
    )
    if named == has:
        return []
    return [f"{path}: no test in it" if named else f"{path}: has tests, but its name does not begin with test_"]


def forbidden_text(path: str, text: str) -> list[str]:
    """Unfinished work, and what belongs to one machine only."""
    if path.startswith(rules.FORBIDDEN_TEXTS_NOT_IN):
        return []
    return [
        f"{path}:{number}: {why}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, why in rules.FORBIDDEN_TEXTS.items()
        if re.search(pattern, line)
    ]
