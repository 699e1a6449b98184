"""Time zones by their IANA names, from the database that the project's lock file fixes.

Not from the machine's own: the same strategy must fall due at the same moments wherever it is looked at, and a cycle
must not be made twice because two machines know different rules. Reading that database is all the core ever reads.
"""

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from shared.core.errors import Refused

_LONGEST_NAME = 64
_NAMED_AT_MOST = 3


@cache
def zone_names() -> frozenset[str]:
    """Every name there is, exactly as it must be written."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name ("Europe/Berlin"). Raises Refused for any other text."""
    parse_zone(name, "zone")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def parse_zone(text: object, field: str) -> str:
    """``text`` if it is a zone's name. Raises Refused, naming zones that end the same way."""
    if isinstance(text, str) and text in zone_names():
        return text
    allowed = "an IANA time zone, as in Europe/Berlin"
    if isinstance(text, str) and len(text) <= _LONGEST_NAME:
        place = text.strip().replace(" ", "_").rpartition("/")[2].casefold()
        alike = sorted(name for name in zone_names() if name.rpartition("/")[2].casefold() == place)
        allowed = " or ".join(alike[:_NAMED_AT_MOST]) or allowed
    raise Refused.one(field, text, allowed, "is not a time zone")
