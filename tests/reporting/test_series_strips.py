"""Strips of series: one scale, outlines, padding, and what cannot be drawn."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from xguide_jax import reporting

SERIES = np.random.default_rng(0).normal(size=(12, 3))
MAPS = {"one": np.outer(np.arange(12.0), [1, -2, 0.5]), "$two": np.ones((12, 3))}
REGION = np.zeros((12, 3))
REGION[2:5, 1] = 1


def strips(**changes):
    return reporting.series_strips(SERIES, changes.pop("maps", MAPS), **changes)


def panels(figure):
    return figure.axes[:-1]  # the last is the scale


def test_all_arms_share_one_scale():
    figure = strips()
    images = [axis.images[0] for axis in panels(figure)]
    assert {image.get_clim() for image in images} == {(-22.0, 22.0)}
    assert [axis.get_title() for axis in panels(figure)] == ["one", "$two"]
    # Features are rows: the map is laid on its side.
    np.testing.assert_array_equal(images[0].get_array(), MAPS["one"].T)
    saturated = strips(quantile=0.5)
    assert "saturate" in saturated.axes[-1].get_ylabel()


def test_a_line_of_each_feature_lies_within_its_strip():
    for axis in panels(strips()):
        lines = [line.get_ydata() for line in axis.lines if len(line.get_ydata()) == 12]
        assert len(lines) == 3
        for feature, values in enumerate(lines):
            np.testing.assert_allclose(values.max(), feature + 0.4)
            np.testing.assert_allclose(values.min(), feature - 0.4)
            # The greatest value is above: rows count downwards.
            assert np.argmin(values) == np.argmax(SERIES[:, feature])


def test_true_cells_are_outlined_along_their_edges():
    for axis in panels(strips(region=REGION)):
        (outline,) = (c for c in axis.collections if isinstance(c, LineCollection))
        points = np.concatenate(outline.get_segments())
        assert points.min(axis=0).tolist() == [1.5, 0.5]
        assert points.max(axis=0).tolist() == [4.5, 1.5]
        assert len(outline.get_segments()) == 8


def test_padding_is_grey_and_counts_in_no_range():
    mask = np.arange(12) < 10
    maps = {"one": np.where(mask[:, None], MAPS["one"], 1e6)}
    axis = panels(strips(maps=maps, mask=mask))[0]
    assert axis.images[0].get_clim() == (-18.0, 18.0)
    assert axis.images[0].get_array().mask[:, 10:].all()
    assert np.isnan(axis.lines[0].get_ydata()[10:]).all()


def test_names_blank_maps_and_bytes():
    maps = {"blank": np.zeros((12, 3)), "none": np.full((12, 3), np.nan), **MAPS}
    figure = strips(maps=maps, feature_names=["x", "y", "a<b>"], title="a series")
    texts = [[text.get_text() for text in axis.texts] for axis in panels(figure)]
    assert texts == [["blank map"], ["undefined map"], [], []]
    labels = [text.get_text() for text in panels(figure)[0].get_yticklabels()]
    assert labels == ["x", "y", "a<b>"]
    assert reporting.to_png(figure, dpi=40).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"maps": {}}, "holds no map"),
        ({"maps": {"one": np.ones((3, 12))}}, r"'one' has shape \(3, 12\), the series"),
        ({"region": np.ones(12)}, r"'region' has shape \(12,\)"),
        ({"feature_names": ["x"]}, "1 texts for 3 features"),
        ({"mask": np.zeros(12, bool)}, r"`mask` must be \[12\] with a step"),
        ({"quantile": 0.0}, r"`quantile` \(=0.0\)"),
    ],
)
def test_what_does_not_match_is_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        strips(**changes)
