"""Pictures of explanations: grids of maps on one scale, and maps over their images.

Maps are signed. They share one diverging scale, centred at zero and printed, so that
equal colours are equal numbers everywhere in a figure; a map that cannot be drawn is
left blank with a note.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from xguide_jax.reporting import lettering, map_parts, style


def saliency_grid(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    labels: Sequence[str],
    captions: Mapping[str, Sequence[str]] | None = None,
    regions: np.ndarray | None = None,
    title: str | None = None,
    quantile: float = 1.0,
) -> Figure:
    """The same images explained by several models or methods, on one scale.

    Rows are images and columns are arms, after a first column with the input. The limit
    of the scale is the `quantile` of |a| over all maps together.

    Args:
      images: [N, H, W, channels], one or three channels of any range; shown from the
        least to the greatest value of all images.
      maps: {arm: [N, H, W]}, signed attributions in any one unit.
      labels: N texts, written beside the inputs.
      captions: {arm: N texts} to write below the maps, e.g. a prediction or a score.
      regions: [N, H, W], non-zero inside; outlined in every cell of its row.
      title: above everything.
      quantile: in (0, 1]; less than 1 saturates outliers, and the scale says so.

    Returns:
      A figure. A map of zeros is left white and noted as blank, one that is nowhere
      finite as undefined; single pixels that are not finite are grey.

    Raises:
      ValueError: if shapes or lengths do not match, there is no map, or `quantile` lies
        outside (0, 1].
    """
    maps = {arm: np.asarray(values, float) for arm, values in maps.items()}
    check_grid(images, maps, labels)
    limit, saturated = map_parts.shared_limit(maps.values(), quantile)
    rows, columns = len(images), 1 + len(maps)
    small = functools.partial(lettering.folded, inches=1.0, size=style.SMALL, lines=3)
    labels = [small(label) for label in labels]
    captions = {arm: [*map(small, texts)] for arm, texts in (captions or {}).items()}
    names = [
        lettering.folded(name, inches=1.05, size=style.NORMAL, lines=4)
        for name in ("input", *maps)
    ]
    # Text of more than one line makes the figure larger, not the maps smaller.
    size = [1.15 * columns + 1.0 + 0.13 * _more_lines(labels), 0.4 + 1.1 * rows]
    size[1] += 0.15 * _more_lines(names)
    if captions:
        size[1] += rows * (
            0.2 + 0.13 * _more_lines(itertools.chain(*captions.values()))
        )
    if title:
        title = lettering.folded(title, inches=size[0] - 0.3, size=style.LARGE, lines=3)
        size[1] += 0.3 + 0.17 * _more_lines([title])
    figure = Figure(figsize=(size[0], size[1]), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, picture in enumerate(displayable(images)):
        draw_picture(axes[row, 0], picture)
        axes[row, 0].set_ylabel(labels[row], fontsize=style.SMALL)
        if regions is not None:
            for axis in axes[row]:
                map_parts.draw_outline(axis, regions[row])
    for column, (arm, values) in zip(axes.T[1:], maps.items(), strict=True):
        _draw_column(column, values, captions.get(arm), limit)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=style.NORMAL)
    map_parts.draw_scale(figure, axes.ravel(), limit, saturated)
    if title:
        figure.suptitle(title, fontsize=style.LARGE)
    return style.literal(figure)


def overlay(
    image: np.ndarray,
    attributions: np.ndarray,
    *,
    region: np.ndarray | None = None,
    title: str | None = None,
    limit: float | None = None,
) -> Figure:
    """One map laid over its image: the colours of the scale, shaded by the image.

    shown = colour(a) (0.75 + 0.25 grey). Where nothing is attributed the scale is
    white, so the image shows as itself, in light greys that leave colours legible.

    Args:
      image: [H, W, channels], one or three channels of any range.
      attributions: [H, W], signed.
      region: [H, W], non-zero inside; outlined.
      title: above the image.
      limit: where the scale ends; the largest |a| if None. Figures that are to be
        compared need one number.

    Returns:
      A figure with the scale at its side, and a note if the map is blank or undefined.

    Raises:
      ValueError: if shapes do not match or `limit` is not positive.
    """
    values = np.asarray(attributions, float)
    check_grid(image[None], {"attributions": values[None]}, [""])
    if limit is not None and not limit > 0:
        raise ValueError(f"`limit` (={limit}) must be positive.")
    largest, _ = map_parts.shared_limit([values], 1.0)
    limit = largest if limit is None else limit
    figure = Figure(figsize=(3.6, 3.0), layout="constrained")
    axis = figure.subplots()
    grey = 0.75 + 0.25 * displayable(image[None])[0].mean(axis=-1, keepdims=True)
    note = map_parts.note(values)
    if note:
        axis.set_xlabel(note, fontsize=style.SMALL)
        draw_picture(axis, grey)
    else:
        in_scale = Normalize(-limit, limit)(np.ma.masked_invalid(values))
        draw_picture(axis, grey * map_parts.COLOURS(in_scale)[..., :3])
    if region is not None:
        map_parts.draw_outline(axis, region)
    if title:
        title = lettering.folded(title, inches=2.6, size=style.LARGE, lines=3)
        axis.set_title(title, fontsize=style.LARGE)
    map_parts.draw_scale(figure, [axis], limit, largest > limit)
    return style.literal(figure)


def check_grid(
    images: np.ndarray, maps: Mapping[str, np.ndarray], labels: Sequence[str]
) -> None:
    """Refuses maps and labels that do not belong to the images.

    Args:
      images: [N, H, W, channels].
      maps: {arm: [N, H, W]}.
      labels: N texts.

    Raises:
      ValueError: naming the shapes.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images of shape {images.shape[1:]} are not [H, W, 1 or 3].")
    if not maps:
        raise ValueError("`maps` holds no map.")
    for arm, values in maps.items():
        if values.shape != images.shape[:3]:
            raise ValueError(
                f"the maps of {arm!r} have shape {values.shape}, the images "
                f"{images.shape[:3]}."
            )
    if len(labels) != len(images):
        raise ValueError(f"`labels` has {len(labels)} texts for {len(images)} images.")


def _more_lines(texts: Iterable[str]) -> int:
    """How many lines more than one the longest of the texts has."""
    return max(map(lettering.num_lines, texts)) - 1


def displayable(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1], one range for all.

    Args:
      images: of any range.

    Returns:
      [N, H, W, channels].
    """
    images = np.nan_to_num(np.asarray(images, float), posinf=0.0, neginf=0.0)
    low, high = images.min(), images.max()
    return (images - low) / (high - low) if high > low else np.zeros_like(images)


def draw_picture(axis: Axes, picture: np.ndarray) -> None:
    """An image, grey or in colours.

    Args:
      axis: drawn on.
      picture: [H, W, channels] in [0, 1].
    """
    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    map_parts.frame(axis)


def _draw_column(
    axes: Iterable[Axes],
    maps: np.ndarray,
    captions: Sequence[str] | None,
    limit: float,
) -> None:
    captions = [""] * len(maps) if captions is None else captions
    for axis, values, caption in zip(axes, maps, captions, strict=True):
        map_parts.draw_map(axis, values, limit)
        axis.set_xlabel(caption, fontsize=style.SMALL)
