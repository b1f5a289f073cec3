"""How long a field of a csv file may be."""

import contextlib
import csv
from collections.abc import Iterator

# A field may hold a matrix or a document as text: the csv module's limit is too small.
_LONGEST = 1 << 24


@contextlib.contextmanager
def long_fields() -> Iterator[None]:
    """The csv module knows one limit for the whole process: it is put back."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
