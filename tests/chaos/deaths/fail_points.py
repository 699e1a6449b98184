"""Finds every place where a coroutine can be interrupted, and makes a process die there.

A fail point is a moment around an ``await``, around the beginning or the end of an ``async with`` (a transaction's end
is its commit), or around a step of an ``async for``. They are found in the source text itself, so that a new await is a
new point without anybody naming it. When a module is imported through ``Instrumented`` its code is rewritten to pass
each of its points by name; a page of memory shared between processes says at which one to die, and counts them.
"""

import ast
import asyncio
import importlib.abc
import importlib.util
import mmap
import os
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

REPOSITORY = Path(__file__).resolve().parents[3]

NOT_RUN = frozenset({"services/ledger/adapters/postgres_checks.py"})
"""The checker of the books is a program of its own that only reads; it is no part of a running service."""

ELSEWHERE = frozenset({"bigone", "bybit", "coinbase", "kraken", "kucoin", "okx"})
"""Dialects of other venues than the one in the test: what they ask goes through the same ``wire.py``."""

SHARED = ("shared/messaging/outbox_postgres.py", "shared/messaging/consuming.py", "shared/messaging/publishing.py")
"""What every service says and hears passes through these, in the service's own process."""

_REACHED, _ENTERED, _STEPPED = "__fail_point__", "__fail_point_block__", "__fail_point_steps__"
_MOMENTS = {"await": ("before", "after"), "with": ("before", "inside", "before the end", "after the end")}
_MOMENTS["for"] = ("before a step", "after a step")
_NOT_ONE = -1


@dataclass(frozen=True, slots=True)
class FailPoint:
    """One moment at which a process may die. ``text`` is the expression that is awaited, entered or stepped through."""

    path: str
    function: str
    line: int
    kind: str
    moment: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {self.moment} {self.kind} {self.text}"


class _Rewriter(ast.NodeTransformer):
    """Rewrites one module and lists its points in the order of their numbers."""

    def __init__(self, path: str, first: int) -> None:
        self.points: list[FailPoint] = []
        self._path = path
        self._first = first
        self._functions: list[str] = []

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        """``await x`` becomes ``point(await point(x))``: the inner one is passed when x is made and not yet begun."""
        number = self._point(node, "await", node.value)
        self.generic_visit(node)
        inner = ast.Await(_call(_REACHED, number, node.value))
        return ast.copy_location(_call(_REACHED, number + 1, inner), node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        numbers = [self._point(item.context_expr, "with", item.context_expr) for item in node.items]
        self.generic_visit(node)
        for item, number in zip(node.items, numbers, strict=True):
            item.context_expr = ast.copy_location(_call(_ENTERED, number, item.context_expr), item.context_expr)
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        number = self._point(node, "for", node.iter)
        self.generic_visit(node)
        node.iter = ast.copy_location(_call(_STEPPED, number, node.iter), node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        number = self._point(node.iter, "for", node.iter) if node.is_async else None
        self.generic_visit(node)
        if number is not None:
            node.iter = ast.copy_location(_call(_STEPPED, number, node.iter), node.iter)
        return node

    def _inside(self, node: Any) -> ast.AST:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()
        return node

    def _point(self, node: Any, kind: str, expression: ast.expr) -> int:
        number = self._first + len(self.points)
        function, text = ".".join(self._functions), ast.unparse(expression)[:100]
        self.points += [FailPoint(self._path, function, node.lineno, kind, moment, text) for moment in _MOMENTS[kind]]
        return number


def _call(name: str, number: int, value: ast.expr) -> ast.Call:
    made = ast.Call(ast.Name(name, ast.Load()), [ast.Constant(number), value], [])
    return ast.copy_location(made, value)


def rewritten(path: str, first: int = 0) -> tuple[ast.Module, list[FailPoint]]:
    """The module at ``path`` (from the repository's root) with its points numbered from ``first``."""
    rewriter = _Rewriter(path, first)
    tree = rewriter.visit(ast.parse((REPOSITORY / path).read_text(), path))
    return ast.fix_missing_locations(tree), rewriter.points


@cache
def sources_of(service: str) -> tuple[str, ...]:
    """The files whose points are those of a service."""
    folder = REPOSITORY / "services" / service
    files = [file for file in folder.rglob("*.py") if file.name != "__init__.py" and file.parent.name not in ELSEWHERE]
    own = sorted(str(file.relative_to(REPOSITORY)) for file in files)
    return (*(path for path in own if path not in NOT_RUN), *SHARED)


@cache
def points_of(service: str) -> tuple[FailPoint, ...]:
    """Every fail point of a service; the place in this list is its number."""
    return tuple(point for path in sources_of(service) for point in rewritten(path)[1])


class Marks:
    """Memory shared with the process under test: at which point it is to die, how often it passed each of them, and
    which points it passes in one breath: without a pause in which anything else, here or outside, could have happened.
    """

    _HEAD = 2  # the point to die at (0: none), and after how many passings

    def __init__(self, file: Path, count: int = 0) -> None:
        if count:
            file.write_bytes(bytes(8 * (self._HEAD + 3 * count)))
        with file.open("r+b") as opened:
            self._memory = memoryview(mmap.mmap(opened.fileno(), 0)).cast("q")
        self._count = (len(self._memory) - self._HEAD) // 3
        self._passed = self._memory[self._HEAD : self._HEAD + self._count]
        self._before = self._memory[self._HEAD + self._count : self._HEAD + 2 * self._count]
        self._after = self._memory[self._HEAD + 2 * self._count :]
        self._breath = 0
        self._is_marked = False
        self._last: WeakKeyDictionary[asyncio.Task[Any], tuple[int, int]] = WeakKeyDictionary()
        self.file = file

    def die_at(self, number: int, passing: int = 1) -> None:
        """Have the process end with SIGKILL when it passes the point for the ``passing``-th time from now."""
        self._memory[1] = passing
        self._memory[0] = number + 1

    def live(self) -> None:
        """Die nowhere."""
        self._memory[0] = 0

    def clear(self) -> None:
        """Forget what was noted."""
        self._memory[self._HEAD :] = memoryview(bytes(8 * 3 * self._count)).cast("q")

    def counts(self) -> list[int]:
        """How often each point was passed."""
        return list(self._passed)

    def breaths(self) -> dict[int, int]:
        """By point the one that it always passes next in the same breath, where that one always follows it."""
        return {
            number: after - 1
            for number, after in enumerate(self._after)
            if after > 0 and self._before[after - 1] == number + 1 and self._passed[number] == self._passed[after - 1]
        }

    def pass_by(self, number: int) -> None:
        """Called by the process under test at each of its points."""
        self._passed[number] += 1
        self._note(number)
        if self._memory[0] != number + 1:
            return
        self._memory[1] -= 1
        if self._memory[1] <= 0:
            self._memory[0] = 0
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, number: int) -> None:
        if not self._is_marked:  # what resumes after this point is called after this mark
            self._is_marked = True
            asyncio.get_running_loop().call_soon(self._breathe)
        task = asyncio.current_task()
        if task is None:
            return
        last, breath = self._last.get(task, (-1, -1))
        self._last[task] = (number, self._breath)
        if breath == self._breath:
            self._link(self._after, last, number)
            self._link(self._before, number, last)
            return
        self._before[number] = _NOT_ONE
        if last >= 0:
            self._after[last] = _NOT_ONE

    def _breathe(self) -> None:
        self._breath += 1
        self._is_marked = False

    def _link(self, links: memoryview, number: int, other: int) -> None:
        links[number] = other + 1 if links[number] in {0, other + 1} else _NOT_ONE


class Instrumented(importlib.abc.MetaPathFinder):
    """Imports the modules of a service with their points in place. ``marks`` is set before anything runs."""

    marks: Marks

    def __init__(self, service: str) -> None:
        self._first: dict[str, int] = {}
        count = 0
        for path in sources_of(service):
            self._first[path] = count
            count += len(rewritten(path)[1])

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """A spec for the modules that are to be rewritten, None for all others."""
        file = f"{fullname.replace('.', '/')}.py"
        if file not in self._first:
            return None
        return importlib.util.spec_from_file_location(fullname, REPOSITORY / file, loader=_Loader(fullname, file, self))

    def code(self, path: str) -> CodeType:
        """The rewritten module, compiled."""
        tree, _ = rewritten(path, self._first[path])
        return compile(tree, str(REPOSITORY / path), "exec", dont_inherit=True)

    def names(self) -> dict[str, Any]:
        """What rewritten code calls."""

        def reached(number: int, value: Any) -> Any:
            self.marks.pass_by(number)
            return value

        def entered(number: int, block: Any) -> Any:
            return _Block(self.marks, number, block)

        def stepped(number: int, steps: Any) -> AsyncIterator[Any]:
            return _steps(self.marks, number, steps)

        return {_REACHED: reached, _ENTERED: entered, _STEPPED: stepped}


class _Loader(importlib.abc.Loader):
    """Runs one rewritten module."""

    def __init__(self, name: str, path: str, finder: Instrumented) -> None:
        self._name, self._path, self._finder = name, path, finder

    def create_module(self, spec: Any) -> None:
        """The usual one."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code with the names it calls."""
        module.__dict__.update(self._finder.names())
        exec(self._finder.code(self._path), module.__dict__)  # noqa: S102 - the module's own source


class _Block:
    """An asynchronous context manager with four points around it."""

    def __init__(self, marks: Marks, number: int, block: Any) -> None:
        self._marks, self._number, self._block = marks, number, block

    async def __aenter__(self) -> Any:
        self._marks.pass_by(self._number)
        value = await self._block.__aenter__()
        self._marks.pass_by(self._number + 1)
        return value

    async def __aexit__(self, *error: Any) -> Any:
        self._marks.pass_by(self._number + 2)
        value = await self._block.__aexit__(*error)
        self._marks.pass_by(self._number + 3)
        return value


async def _steps(marks: Marks, number: int, steps: Any) -> AsyncIterator[Any]:
    iterator = aiter(steps)
    while True:
        marks.pass_by(number)
        try:
            value = await anext(iterator)
        except StopAsyncIteration:
            return
        marks.pass_by(number + 1)
        yield value


def told(points: Iterable[FailPoint]) -> str:
    """The points, one a line."""
    return "\n".join(f"  {point}" for point in points)
