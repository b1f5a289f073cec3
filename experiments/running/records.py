"""Records as JSON and arrays, and back: the type alone says what a file holds.

Whoever measures returns a record, whoever reports reads the same record. No key is
spelt twice, so a slip is an error of the type checker and not a KeyError after hours of
training.
"""

import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def encode(value: Any, name: str = "") -> tuple[Any, dict[str, np.ndarray]]:
    """A record without its arrays, and those arrays.

    Args:
      value: a NamedTuple, mapping, list, tuple, array, number, text, bool or None, as
        deep as it likes.
      name: of the value, where it is a part of another.

    Returns:
      (JSON values, {name of the place: array}); an array's own place is null.
    """
    if isinstance(value, np.ndarray | jax.Array):
        return None, {name: np.asarray(value)}
    parts: Mapping[Any, Any]
    if hasattr(value, "_fields"):
        parts = value._asdict()
    elif isinstance(value, Mapping):
        parts = value
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    else:
        return value, {}
    plain: dict[Any, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for key, part in parts.items():
        plain[key], own = encode(part, f"{name}.{key}" if name else str(key))
        arrays |= own
    as_list = isinstance(value, list | tuple) and not hasattr(value, "_fields")
    return (list(plain.values()) if as_list else plain), arrays


def decode(
    form: Any, plain: Any, arrays: Mapping[str, np.ndarray], name: str = ""
) -> Any:
    """The record that `encode` took apart.

    Args:
      form: its type: a NamedTuple, dict[str, ...], list[...], tuple[..., ...], float,
        int, str, bool, np.ndarray, or one of them or None.
      plain: JSON values.
      arrays: {name of the place: array}.
      name: of the value, where it is a part of another.

    Returns:
      A record of type `form`. JSON knows no NaN: a float that is null is NaN.

    Raises:
      ValueError: if the values are not of that form, naming the place.
    """
    inner = lambda key: f"{name}.{key}" if name else str(key)
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin in (types.UnionType, typing.Union):
        (form,) = (a for a in arguments if a is not type(None))
        # The place of an array is null, too.
        absent = plain is None and name not in arrays
        return None if absent else decode(form, plain, arrays, name)
    record = origin or form
    if hasattr(record, "_fields"):
        if not isinstance(plain, Mapping) or set(plain) != set(record._fields):
            raise ValueError(
                f"{name or 'the record'} has not the fields {record._fields}."
            )
        hints = typing.get_type_hints(record)
        bound = dict(
            zip(getattr(record, "__parameters__", ()), arguments, strict=False)
        )
        return record(
            *(
                decode(bound.get(hints[f], hints[f]), plain[f], arrays, inner(f))
                for f in record._fields
            )
        )
    if form is np.ndarray:
        if name not in arrays:
            raise ValueError(f"{name} is not among the arrays.")
        return arrays[name]
    if origin is dict:
        return {k: decode(arguments[1], v, arrays, inner(k)) for k, v in plain.items()}
    if origin in (list, tuple):
        return origin(
            decode(arguments[0], v, arrays, inner(i)) for i, v in enumerate(plain)
        )
    if form is float:
        return float("nan") if plain is None else float(plain)
    return form(plain)
