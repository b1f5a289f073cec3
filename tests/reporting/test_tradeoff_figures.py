"""The front, the points, and what stands beside them."""

import numpy as np
import pytest

from xguide_jax import reporting


def legend(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_front_is_what_no_arm_beats_in_both():
    means = {
        "best of x": np.array([3.0, 1.0]),
        "best of y": np.array([1.0, 3.0]),
        "between": np.array([2.0, 2.0]),
        "beaten": np.array([1.5, 1.5]),
        "as good in one": np.array([2.0, 1.0]),
    }
    assert reporting.pareto_front(means) == ["best of y", "between", "best of x"]


def test_equal_arms_are_both_on_the_front():
    means = {"a": np.array([1.0, 1.0]), "b": np.array([1.0, 1.0])}
    assert sorted(reporting.pareto_front(means)) == ["a", "b"]


def test_means_and_repetitions_are_drawn_and_the_front_is_marked():
    figure = reporting.tradeoff(
        {"a": np.array([[0.0, 0.2], [0.2, 0.4]]), "b": np.array([[0.05, 0.1]])},
        x_label="x",
        y_label="y",
    )
    (axis,) = figure.axes
    drawn = [points.get_offsets().tolist() for points in axis.collections]
    assert drawn[0] == [[0.0, 0.2], [0.2, 0.4]]
    np.testing.assert_allclose(drawn[1], [[0.1, 0.3]])
    assert legend(figure) == ["1 a *", "2 b"]
    assert [text.get_text() for text in axis.texts] == ["1", "2"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("x", "y")
    assert reporting.to_png(figure, dpi=40)


def test_undefined_repetitions_are_neither_drawn_nor_averaged():
    figure = reporting.tradeoff(
        {"a": np.array([[0.0, np.nan], [1.0, 2.0]]), "b": np.full((2, 2), np.nan)},
        x_label="x",
        y_label="y",
    )
    drawn = [points.get_offsets().tolist() for points in figure.axes[0].collections]
    assert drawn == [[[1.0, 2.0]], [[1.0, 2.0]]]
    assert legend(figure) == ["1 a * (1 of 2)", "2 b: undefined"]


def test_what_cannot_be_drawn_is_counted():
    points = {"a": np.array([[np.inf, 1], [1, 2], [3, 4.0]]), "b": np.zeros((3, 2))}
    figure = reporting.tradeoff(points, x_label="x", y_label="y")
    assert legend(figure) == ["1 a * (2 of 3)", "2 b"]
    np.testing.assert_allclose(figure.axes[0].collections[1].get_offsets(), [[2, 3]])


def test_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="`points` holds no arm"):
        reporting.tradeoff({}, x_label="x", y_label="y")
    with pytest.raises(ValueError, match=r"'a' has shape \(3,\); \[R, 2\] is needed"):
        reporting.tradeoff({"a": np.ones(3)}, x_label="x", y_label="y")
