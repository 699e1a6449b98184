"""What an auditor keeps from one check to the next: the log's name, its keys, and the newest head that was right.

A file of his own, JSON. Whoever replaces the whole history, even with heads signed by the right key, cannot replace it.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.audit.records import Head
from deploy.audit.verification import NOTHING_KNOWN, KeptHead, Trusted


def read_kept(file: Path, accepted_keys: Iterable[str] = ()) -> Trusted:
    """What the file holds; nothing is known yet when it is not there. Raises ValueError when it is damaged, OSError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NOTHING_KNOWN
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    try:
        heads = [KeptHead(head["number"], head["size"], bytes.fromhex(head["root"])) for head in content["heads"]]
        return Trusted(str(content["origin"]), frozenset({*content["keys"], *accepted_keys}), tuple(heads))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error!r}") from error


def write_kept(file: Path, heads: Sequence[Head], trusted: Trusted) -> None:
    """Keep the newest of these heads, all of which were right, in place of what was kept; nothing when there is none.

    The file is the old or the new one, whenever this ends. Raises OSError.
    """
    newest = max(heads, key=lambda head: head.number, default=None)
    if newest is None:
        return
    keys = sorted({*trusted.keys, newest.key_id, *(head.key_id for head in heads)})
    kept = {"number": newest.number, "size": newest.size, "root": newest.root.hex()}
    content = {"origin": newest.origin, "keys": keys, "heads": [kept]}
    building = file.with_name(f".{file.name}.new")
    with building.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    building.replace(file)
