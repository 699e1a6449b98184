"""Python's search for cyclic garbage, held back while millions of rows pass that form no cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS_BEFORE_A_SEARCH = 1_000_000


@contextmanager
def searching_rarely() -> Iterator[None]:
    """Search only when that many more objects are alive than before.

    Rows are freed when nothing names them any more, without a search; searching among them takes a fifth of all the
    time of a check. It is held back and not switched off, so that memory stays bounded whatever forms a cycle.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BEFORE_A_SEARCH, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
