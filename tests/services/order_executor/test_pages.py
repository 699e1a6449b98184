"""A list is read to its end, or proves nothing."""

from itertools import islice

import pytest

from services.order_executor.adapters.dialect import LONGEST_WALK, pages
from shared.core.errors import RetryLater


def test_pages_when_the_list_does_not_end_say_so() -> None:
    reading = pages()
    assert len(list(islice(reading, LONGEST_WALK))) == LONGEST_WALK
    with pytest.raises(RetryLater, match="more than 50 pages"):
        next(reading)
