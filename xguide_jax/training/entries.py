"""Mappings that know that they lack what a term asks for.

A `KeyError` of a term may be about anything. Only of these does it say that the batch
lacks an annotation, or the network a layer.
"""

from collections.abc import Iterable
from typing import Any

import jax


class MissingEntryError(KeyError):
    """A batch lacks an entry, or a network a layer, that was asked for.

    Attributes:
      what: that entry or layer, for a message.
    """

    def __init__(self, key: Any, what: str) -> None:
        super().__init__(key)
        self.what = what


class _Entries(dict[str, Any]):
    """A dict, also to JAX: subclasses are pytrees of their own type."""

    what = ""

    def __missing__(self, key: Any) -> Any:
        raise MissingEntryError(key, self.what.format(key))

    def tree_flatten_with_keys(self) -> tuple[Iterable[Any], Any]:
        """Children by name, in the order of a dict's pytree."""
        names = tuple(sorted(self))
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], names

    @classmethod
    def tree_unflatten(cls, names: Any, leaves: Iterable[Any]) -> "_Entries":
        """The mapping again."""
        return cls(zip(names, leaves, strict=True))


@jax.tree_util.register_pytree_with_keys_class
class BatchEntries(_Entries):
    """A batch as a term sees it."""

    what = "batch[{!r}]"


@jax.tree_util.register_pytree_with_keys_class
class Layers(_Entries):
    """The activations that a network exposes, as a term sees them."""

    what = "the layer {!r}"
