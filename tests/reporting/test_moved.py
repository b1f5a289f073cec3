"""Names that moved to evaluation still work, and say so."""

import importlib

import numpy as np
import pytest

from xguide_jax import evaluation, reporting
from xguide_jax.reporting import moved


@pytest.mark.parametrize("name", moved.MOVED)
def test_an_old_name_warns_once_and_gives_the_new_object(name):
    with pytest.warns(DeprecationWarning, match=f"now `evaluation.{name}`") as caught:
        old = getattr(reporting, name)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    new = getattr(evaluation, name)
    assert getattr(old, "__wrapped__", old) is new
    assert name not in reporting.__all__


def test_the_old_keyword_of_the_bootstrap_still_works():
    values = np.arange(6.0)[:, None]
    with pytest.warns(DeprecationWarning, match="evaluation.bootstrap_interval"):
        old = reporting.bootstrap_interval
    settings = {"seed": 0, "num_resamples": 50}
    expected = evaluation.bootstrap_interval(values, **settings)
    assert old(values, **settings) == expected
    assert old(values, seed=0, resamples=50) == expected


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reporting.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from xguide_jax.reporting import nothing")
    assert importlib.import_module("xguide_jax.reporting") is reporting
