"""The rules of the repository, as data. ``checks.py`` applies them, the tests beside it report.

Import rules between our own packages are import-linter's (pyproject.toml); those here are about places and texts.
"""

from dataclasses import dataclass

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

IGNORED_FOLDERS = frozenset(
    {".git", ".venv", ".trimtab", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache",
     "__pycache__", "dist", "build", "node_modules"}
)  # fmt: skip

BANNED_WORDS_IN_FILE_NAMES = frozenset({"util", "utils", "helper", "helpers", "misc", "common", "manager", "managers"})
BANNED_CLASS_ENDINGS = ("Event", "Message", "DTO", "Manager", "Utils", "Helper")
ALLOWED_CLASS_NAMES = frozenset({"Message"})

SERVICE_FILES = (
    "__init__.py",
    "__main__.py",
    "app.py",
    "settings.py",
    "handlers.py",
    "adapters/__init__.py",
    "README.md",
)
SERVICE_README_SECTIONS = ("does", "consumes", "publishes", "owns", "dies")
"""A heading of each service's README contains each of these words."""

CORE = "shared/core/"
CORE_MAY_IMPORT = frozenset({"numpy"})
CORE_MUST_NOT_IMPORT = frozenset(
    {"asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
     "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings"}
)  # fmt: skip
CORE_MAY_OPEN = frozenset({"time_zones.py"})
"""What reads files: the time zone database of the package ``tzdata``, the same bytes wherever it is installed."""
CORE_MUST_NOT_CALL = frozenset({"now", "utcnow", "today", "open", "print", "input", "default_rng", "getenv"})
CORE_MAY_USE_FLOATS = frozenset({"bulk_certificates.py", "certificates.py", "drift_index.py", "errors.py"})
"""Where a float decides when to look exactly (certificates) or is a time to wait (errors), never an amount of money."""


@dataclass(frozen=True, slots=True)
class PlaceOfLibrary:
    """``library`` may be imported only by files whose path matches one of ``allowed`` (fnmatch patterns)."""

    library: str
    allowed: tuple[str, ...]


TESTS = "tests/*"
PLACES_OF_LIBRARIES = (
    PlaceOfLibrary("asyncpg", ("*postgres*.py", "deploy/provision.py", TESTS)),
    PlaceOfLibrary("importlib", ("shared/core/time_zones.py", "deploy/*.py", TESTS)),
    PlaceOfLibrary("tzdata", (TESTS,)),
    PlaceOfLibrary("zoneinfo", ("shared/core/time_zones.py", "shared/core/schedule.py", TESTS)),
    PlaceOfLibrary("ccxt", ("services/*/adapters/*.py", TESTS)),
    PlaceOfLibrary("websockets", ("services/*/adapters/*.py", TESTS)),
    PlaceOfLibrary("faststream", ("shared/messaging/*.py", TESTS)),
    PlaceOfLibrary("nats", ("shared/messaging/*.py", TESTS)),
    PlaceOfLibrary("fastapi", ("services/gateway/*.py", TESTS)),
    PlaceOfLibrary("aiohttp", ("services/simulated_exchange/*.py", "services/order_executor/adapters/*.py", TESTS)),
    PlaceOfLibrary("typer", ("deploy/*.py", TESTS)),
    PlaceOfLibrary("rich", ("deploy/*.py", TESTS)),
)

SUBSCRIBERS_ONLY_IN = "shared/messaging/"
"""``broker.subscriber(...)``: its defaults lose messages, so one place sets them."""

NO_BLOCKING_IN = ("services/", "shared/")

FORBIDDEN_TEXTS = {
    r"\b(TODO|FIXME|XXX|HACK)\b": "unfinished work",
    r"\bNotImplementedError\b": "a stub",
    r"(?<![\w./-])/(work|root|home|Users|mnt)/\w": "a path of one machine",
    r"\b(pypi\.org|pythonhosted\.org|registry\.npmjs\.org|index-url|find-links)\b": "a package registry",
    r"\b(ghcr\.io|quay\.io|docker\.io)\b": "an image registry",
}
FORBIDDEN_TEXTS_NOT_IN = ("uv.lock", "tests/repository/")
TEXT_ENDINGS = frozenset(
    {".py", ".md", ".toml", ".yaml", ".yml", ".sql", ".conf", ".sh", ".txt", ".html", ".js", ".css", ".json", ""}
)

DOCUMENTS_WITH_COMMANDS = ("README.md", "deploy/README.md", "services/README.md")
