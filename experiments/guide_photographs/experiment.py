"""Your own photographs, guided away from their backgrounds.

Photographs with boxes or masks, of any common form, are read, checked and counted; what
cannot be used is named. Networks are trained unguided, guided by the annotation, and
guided by random boxes of the same size, at several weights each, from the same initial
or published weights. The weight that is shown is chosen on validation photographs; the
report says how often networks are right, how often with the background swapped, and
where they look.

    python -m experiments.guide_photographs
    python -m experiments.guide_photographs --images photos --annotations boxes.json
    python -m experiments.guide_photographs --images photos --annotations boxes.json
        --table photos.csv --backbone efficientnet-lite0 --seeds 3

Without --images it writes an example of its own: digits on pictures of grass and
gravel, as JPEGs, which give the class away in training. --annotations is a file or
folder of COCO, Pascal VOC, YOLO, LabelMe or CVAT, or a csv of boxes. Each run
keeps `models/<arm>-<seed>/model.safetensors` and `predict.py`, which explains a new
photograph.
"""

import dataclasses
import functools
import os
import pathlib
from typing import ClassVar

from experiments.guide_photographs import (
    backbones,
    choosing,
    counted,
    examples,
    measuring,
    networks,
    photographs,
    predict_file,
    report,
    terms,
    views,
)
from experiments.running import arms, directory, feeding, fitting, flags, loop


@dataclasses.dataclass(frozen=True)
class Config(flags.RunConfig):
    """Flags of guiding on one's own photographs."""

    # Learning rates and warm-ups end with `num_steps`: a longer run is another one.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "seeds", "terms", "term_weights")

    images: pathlib.Path | None = None
    """Folder of photographs; an example is written if left out."""
    example: examples.Name = "digits"
    """Which: digits needs no files; cells and objects are made of those in
    --data-dir."""
    data_dir: pathlib.Path | None = None
    """Folder of data sets; $XGUIDE_DATA if left out."""
    annotations: pathlib.Path | None = None
    """File or folder of boxes or masks, and classes."""
    table: pathlib.Path | None = None
    """csv with 'image' and any of 'label', 'group', 'source' and 'split'."""
    masks: tuple[str, ...] = ()
    """Of annotations that are mask files: value=class of each, e.g. 1=cat 255=void."""
    backbone: backbones.Name = "small-cnn"
    """The network; all but the first start from published weights."""
    weights: pathlib.Path | None = None
    """A .safetensors file of torchvision or timm, for a ResNet or a transformer."""
    freeze: str = "auto"
    """trunk: the classifier is trained; a number: so many blocks beside it; none: all.
    auto: all of small-cnn, the classifier of others."""
    size: int | None = None
    """Pixels a side, to which photographs are stretched; 64 to 224 if left out."""
    # Before `terms`, which is a module here and a flag from its own line on.
    arms: tuple[str, ...] = (terms.UNGUIDED,)
    """The arm without a term, and any of `term=weight` or `term=weight@random`."""
    terms: tuple[str, ...] = ("energy", "region_consistency", "swapped")
    """Each is trained with the boxes and with random ones."""
    term_weights: tuple[float, ...] = (0.3, 1.0, 3.0)
    """That are tried of each term and each control."""
    select: choosing.Rule = "composites"
    """How a weight is chosen on validation photographs: by accuracy on objects before
    backgrounds of other classes, or by energy in the region where accuracy stays."""
    num_steps: int = 400
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 200
    learning_rate: float | None = None
    """0.05 of Muon where all is trained, 0.001 of Adam elsewhere."""
    num_evaluated: int = 128
    """Test photographs that are explained, and validation ones, at most."""
    num_points: int = 16
    """Points of integrated gradients."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    if (config.images is None) is not (config.annotations is None):
        raise ValueError("`images` and `annotations` must be given together.")
    if config.images is None and config.table is not None:
        raise ValueError("`table` needs `images` and `annotations`.")
    if config.images is None and config.example != "digits" and not _data_dir(config):
        raise ValueError(
            f"--example {config.example} needs --data-dir or $XGUIDE_DATA."
        )
    _masks(config)
    flags.check_at_least(config, num_evaluated=1, num_points=1)
    rate = config.learning_rate
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"`learning_rate` (={rate}) must be positive and finite.")
    if config.select == "accuracy" and terms.UNGUIDED not in config.arms:
        raise ValueError(
            f"`select` (='accuracy') needs the arm {terms.UNGUIDED!r}, whose accuracy "
            "the others are held against."
        )
    backbone = _backbone(config, num_classes=2)
    freeze = networks.read_freeze(config.freeze, backbone)
    size = _size(config)
    # A map of one cell says nothing of where a network looks.
    if size < 2 * backbone.stride or size % backbone.stride:
        raise ValueError(
            f"`size` (={size}) must be a multiple of {backbone.stride}, at least "
            f"{2 * backbone.stride}, for {config.backbone}."
        )
    is_cut_at_layer = freeze is not None and backbone.cuts[freeze] == backbone.layer
    terms.check_terms(config.terms, is_cut_at_layer=is_cut_at_layer)


def spread(config: Config, every: tuple[arms.Arm, ...]) -> tuple[arms.Arm, ...]:
    """Every term with its control, at every weight.

    Args:
      config: the flags.
      every: the arms that a flag names.

    Returns:
      All arms.
    """
    return terms.every_arm(every, config.terms, config.term_weights)


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Reads the photographs and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    found = _photographs(config)
    backbone = _backbone(config, num_classes=len(found.class_names))
    network = networks.make_network(
        backbone, found.images, size=_size(config), cache=_cache(config),
        freeze=networks.read_freeze(config.freeze, backbone),
    )  # fmt: skip
    run = directory.Run(EXPERIMENT.name, _run_dir(config), config)
    if run.is_writer:
        counted.keep(run.path, found)
        predict_file.write(run.path, found.class_names, backbone, size=_size(config))
    measure = measuring.make_measurement(
        found, network,
        num_evaluated=config.num_evaluated, num_points=config.num_points,
    )  # fmt: skip
    views_of = functools.lru_cache(maxsize=1)(
        lambda seed: views.make_views(found, network, seed=seed)
    )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        seen = views_of(seed)
        train = seen.random if arm.annotation == terms.CONTROL else seen.train
        params, model_state = network.start(seed)
        problem = fitting.Problem(
            network.apply_fn, params, model_state,
            feeding.streamed_batches(
                train, network.read, batch_size=config.batch_size, seed=seed
            ),
            networks.make_optimizer(
                network,
                learning_rate=config.learning_rate, num_steps=config.num_steps,
            ),
        )  # fmt: skip
        guided = terms.terms_of(arm, network, num_steps=config.num_steps)
        return loop.Trial(problem, guided, lambda state: measure(state, seen))

    return trial


def _photographs(config: Config) -> photographs.Photographs:
    images, annotations, table = config.images, config.annotations, config.table
    if images is None or annotations is None:
        try:
            images, annotations, table = examples.write_example(
                _run_dir(config) / "example", config.example, data_dir=_data_dir(config)
            )
        except OSError as error:
            raise flags.refusal(error) from error
    return photographs.read_photographs(
        images,
        annotations,
        table,
        masks=_masks(config),
        size=_size(config),
        cache=_cache(config),
    )


def _masks(config: Config) -> dict[int, str]:
    masks = {}
    for text in config.masks:
        value, _, name = text.partition("=")
        if not value.isdecimal() or not name:
            raise ValueError(f"`masks` holds {text!r}, which must be value=class.")
        masks[int(value)] = name
    return masks


def _data_dir(config: Config) -> pathlib.Path | None:
    folder = config.data_dir or os.environ.get("XGUIDE_DATA")
    return None if folder is None else pathlib.Path(folder)


def _run_dir(config: Config) -> pathlib.Path:
    assert config.run_dir is not None  # the command has given it one
    return config.run_dir


def _cache(config: Config) -> pathlib.Path:
    return _run_dir(config) / "cache"


def _size(config: Config) -> int:
    return backbones.sizes(config.backbone) if config.size is None else config.size


def _backbone(config: Config, *, num_classes: int) -> backbones.Backbone:
    try:
        return backbones.make_backbone(
            config.backbone, num_classes=num_classes, weights=config.weights
        )
    except (ImportError, OSError) as error:  # a transformer's file says its size
        raise flags.refusal(error) from error


EXPERIMENT = loop.Experiment(
    name="guide_photographs",
    question="On your own photographs: does guidance stop a network from looking at "
    "the background?",
    cost="19 arms, one seed: 3 min 34 s on 2 cores, nothing compiled before",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(
        found, config.select, _run_dir(config)
    ),
    spread=spread,
)
