"""Old names and keywords warn once each and give what is new."""

import importlib
import inspect
import warnings

import pytest

from xguide_jax import deprecating, losses, training


def found(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"xguide_jax.{module}"), attribute)


@pytest.mark.parametrize("old", sorted(deprecating.NAMES))
def test_an_old_name_warns_once_and_gives_the_new_object(old):
    new = deprecating.NAMES[old]
    with pytest.warns(DeprecationWarning, match=f"`{old}` is now `{new}`") as caught:
        was = found(old)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert was is found(new)


@pytest.mark.parametrize("module", [losses, training])
def test_a_name_that_never_was_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="has no attribute 'never'"):
        _ = module.never


@deprecating.old_keywords(
    ("twice",), instead="value=", lift=lambda twice: {"value": 2 * twice}
)
def identity(*, value=1):
    """The value."""
    return value


def test_an_old_keyword_is_lifted_and_named():
    with pytest.warns(DeprecationWarning, match=r"takes \['twice'\]: give `value=`"):
        assert identity(twice=3) == 6
    with (
        pytest.warns(DeprecationWarning, match="takes"),
        pytest.raises(TypeError, match=r"\['twice'\] and \['value'\]"),
    ):
        identity(twice=3, value=1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        identity(thrice=3)


def test_the_new_signature_is_shown():
    assert list(inspect.signature(identity).parameters) == ["value"]
