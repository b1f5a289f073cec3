"""Images with maps and texts: one scale, every text behind its name."""

import numpy as np
import pytest

from xguide_jax import reporting

IMAGES = np.random.default_rng(0).uniform(size=(2, 6, 6, 1))
MAPS = {"one": np.full((2, 6, 6), -3.0), "$two": np.ones((2, 6, 6))}
TEXTS = {"given": ["a <b>", "c $d$"], "one": ["e", "long " * 200]}


def figure(**changes):
    given = {"images": IMAGES, "maps": MAPS, "texts": TEXTS, **changes}
    return reporting.described_images(
        given.pop("images"), given.pop("maps"), given.pop("texts"), **given
    )


def test_maps_share_one_scale_and_texts_stand_beside_them():
    made = figure(regions=np.eye(6)[None].repeat(2, axis=0), title="t")
    panels = made.axes[:-1]  # the last is the scale
    assert len(panels) == 2 * (1 + len(MAPS) + 1)
    limits = {panel.images[0].get_clim() for panel in panels[1:3]}
    assert limits == {(-3.0, 3.0)}
    words = [text.get_text() for text in panels[3].texts]
    assert [word.replace("\\$", "$") for word in words] == ["given: a <b>", "one: e"]
    assert "\u2026" in panels[7].texts[1].get_text()  # cut, not beyond the figure
    assert [panel.get_title() for panel in panels[:2]] == ["input", "one"]
    assert reporting.to_png(made)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {}}, "`maps` holds no map"),
        ({"texts": {}}, "`texts` holds no text"),
        ({"texts": {"given": ["one"]}}, "texts of 'given' are 1, the images 2"),
        ({"maps": {"one": np.ones((2, 3, 3))}}, "maps of 'one' have shape"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        figure(**changes)
