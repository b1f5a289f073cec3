"""Data sets with their annotations, batches of them, and what changes both together.

Everything here is NumPy on the host: a `Dataset` holds inputs, labels and annotations
side by side, a batch is a plain dict of arrays `[B, ...]`, and which examples a batch
holds is a function of the seed and the step alone, so that nothing needs to be saved
to resume a run. Nothing is read from the environment; directories are arguments.
"""

from xguide_jax.data.batching import (
    Augment,
    batch_indices,
    eval_batches,
    make_batch,
    prefetch,
)
from xguide_jax.data.datasets import Dataset, split, take
from xguide_jax.data.image_text.described import (
    Described,
    split_images,
    take_described,
)
from xguide_jax.data.image_text.exp_annotation import read_exp_annotation
from xguide_jax.data.image_text.maps import normalise_maps
from xguide_jax.data.image_text.own_images import read_described_images
from xguide_jax.data.image_text.references import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    ReferenceCounts,
    choose_texts,
    decode_tokens,
    encode_described,
    encode_texts,
    reference_tokenizer,
)
from xguide_jax.data.images.annotation_files import res_annotations
from xguide_jax.data.images.annotations import (
    SimulatedAnnotations,
    box_masks,
    corrupt_masks,
    dilate_boxes,
    keep_fraction,
    resize_mask,
)
from xguide_jax.data.images.box_formats import (
    boxes_from_coco,
    boxes_from_fractions,
    boxes_from_voc,
    boxes_from_yolo,
)
from xguide_jax.data.images.cached_rows import CachedRows, read_rows
from xguide_jax.data.images.coco_format import (
    mask_from_coco,
    mask_from_rle,
    region_from_coco,
    rle_from_mask,
)
from xguide_jax.data.images.composites import (
    on_background,
    other_class_partners,
    swapped_backgrounds,
    without_object,
)
from xguide_jax.data.images.decoded_cache import (
    UndecodableError,
    decode_images,
    read_images,
)
from xguide_jax.data.images.features_cache import arrays_digest, cache_features
from xguide_jax.data.images.formats.assembling import (
    class_boxes,
    class_regions,
    stretched_boxes,
)
from xguide_jax.data.images.formats.box_csv import read_box_csv
from xguide_jax.data.images.formats.class_folders import read_class_folders
from xguide_jax.data.images.formats.coco import read_coco
from xguide_jax.data.images.formats.cvat import read_cvat
from xguide_jax.data.images.formats.detecting import read_annotations
from xguide_jax.data.images.formats.labelme import read_labelme
from xguide_jax.data.images.formats.mask_files import read_mask_files
from xguide_jax.data.images.formats.record import (
    Annotated,
    AnnotatedImages,
    MaskPixels,
    Object,
    Problem,
    classes_of,
    object_mask,
    region_of,
    upright_of,
)
from xguide_jax.data.images.formats.voc import read_voc
from xguide_jax.data.images.formats.yolo import read_yolo
from xguide_jax.data.images.image_files import read_image, read_mask
from xguide_jax.data.images.label_masks import LabelledRegion, region_from_labels
from xguide_jax.data.images.measurements import (
    count_holes,
    extent,
    position_thirds,
    stroke_width,
)
from xguide_jax.data.images.polygons import (
    mask_from_labelme,
    mask_from_polygons,
    polygon_from_cvat,
)
from xguide_jax.data.images.spatial import dilate, flip_horizontally, resize, shift
from xguide_jax.data.images.streaming import streamed_batches, streamed_eval_batches
from xguide_jax.data.images.transforms import transform_together
from xguide_jax.data.seeds import Stream, generator
from xguide_jax.data.series.assembling import SeriesCounts
from xguide_jax.data.series.planted import planted_series
from xguide_jax.data.series.ts_files import read_ts
from xguide_jax.data.series.ucr_files import read_ucr_tsv
from xguide_jax.data.sources.annotated import bccd_crops, coco_masks
from xguide_jax.data.sources.captioned import coco_captions
from xguide_jax.data.sources.decoys import (
    TEXTURED_MEAN,
    TEXTURED_STD,
    corner_swatch,
    textured_digits,
)
from xguide_jax.data.sources.described_digits import Evidence, described_digits
from xguide_jax.data.sources.grey_digits import (
    MNIST_MEAN,
    MNIST_STD,
    digits,
    mnist10k,
    normalise_images,
)
from xguide_jax.data.sources.tfds_builders import (
    tensorflow_datasets_images,
    tensorflow_datasets_regions,
)
from xguide_jax.data.targets import choose_targets
from xguide_jax.data.text.buckets import bucketed_batches, bucketed_eval_batches
from xguide_jax.data.text.by_word import TextWords, text_words, token_classes
from xguide_jax.data.text.entailment import entailment_or_not
from xguide_jax.data.text.examples import Corpus, Span, TextExample
from xguide_jax.data.text.highlights import parse_stars
from xguide_jax.data.text.rationales import (
    MarkFn,
    Marks,
    explained_words,
    highlighted,
    highlighted_on_both_sides,
)
from xguide_jax.data.text.readers.cos_e import read_cos_e
from xguide_jax.data.text.readers.eraser import read_eraser
from xguide_jax.data.text.readers.esnli_csv import read_esnli
from xguide_jax.data.text.readers.esnli_json import (
    read_esnli_explanations,
    read_structured_esnli,
)
from xguide_jax.data.text.readers.fever import read_fever
from xguide_jax.data.text.readers.hans import read_hans
from xguide_jax.data.text.readers.own_texts import read_texts
from xguide_jax.data.text.readers.sentences import sentences_within
from xguide_jax.data.text.readers.snli import read_snli
from xguide_jax.data.text.readers.tfds_esnli import tensorflow_datasets_esnli
from xguide_jax.data.text.templated_pairs import templated_pairs
from xguide_jax.data.text.templated_probes import templated_probes
from xguide_jax.data.text.tokens import TokenCounts, tokenise
from xguide_jax.data.text.vocabulary import load_tokenizer, word_tokenizer
from xguide_jax.data.text.words import PUNCTUATION, STOP_WORDS, word_spans
from xguide_jax.data.validation import validate, validate_batch

__all__ = (
    "BOS_ID",
    "EOS_ID",
    "MNIST_MEAN",
    "MNIST_STD",
    "PAD_ID",
    "PUNCTUATION",
    "STOP_WORDS",
    "TEXTURED_MEAN",
    "TEXTURED_STD",
    "UNK_ID",
    "Annotated",
    "AnnotatedImages",
    "Augment",
    "CachedRows",
    "Corpus",
    "Dataset",
    "Described",
    "Evidence",
    "LabelledRegion",
    "MarkFn",
    "Marks",
    "MaskPixels",
    "Object",
    "Problem",
    "ReferenceCounts",
    "SeriesCounts",
    "SimulatedAnnotations",
    "Span",
    "Stream",
    "TextExample",
    "TextWords",
    "TokenCounts",
    "UndecodableError",
    "arrays_digest",
    "batch_indices",
    "bccd_crops",
    "box_masks",
    "boxes_from_coco",
    "boxes_from_fractions",
    "boxes_from_voc",
    "boxes_from_yolo",
    "bucketed_batches",
    "bucketed_eval_batches",
    "cache_features",
    "choose_targets",
    "choose_texts",
    "class_boxes",
    "class_regions",
    "classes_of",
    "coco_captions",
    "coco_masks",
    "corner_swatch",
    "corrupt_masks",
    "count_holes",
    "decode_images",
    "decode_tokens",
    "described_digits",
    "digits",
    "dilate",
    "dilate_boxes",
    "encode_described",
    "encode_texts",
    "entailment_or_not",
    "eval_batches",
    "explained_words",
    "extent",
    "flip_horizontally",
    "generator",
    "highlighted",
    "highlighted_on_both_sides",
    "keep_fraction",
    "load_tokenizer",
    "make_batch",
    "mask_from_coco",
    "mask_from_labelme",
    "mask_from_polygons",
    "mask_from_rle",
    "mnist10k",
    "normalise_images",
    "normalise_maps",
    "object_mask",
    "on_background",
    "other_class_partners",
    "parse_stars",
    "planted_series",
    "polygon_from_cvat",
    "position_thirds",
    "prefetch",
    "read_annotations",
    "read_box_csv",
    "read_class_folders",
    "read_coco",
    "read_cos_e",
    "read_cvat",
    "read_described_images",
    "read_eraser",
    "read_esnli",
    "read_esnli_explanations",
    "read_exp_annotation",
    "read_fever",
    "read_hans",
    "read_image",
    "read_images",
    "read_labelme",
    "read_mask",
    "read_mask_files",
    "read_rows",
    "read_snli",
    "read_structured_esnli",
    "read_texts",
    "read_ts",
    "read_ucr_tsv",
    "read_voc",
    "read_yolo",
    "reference_tokenizer",
    "region_from_coco",
    "region_from_labels",
    "region_of",
    "res_annotations",
    "resize",
    "resize_mask",
    "rle_from_mask",
    "sentences_within",
    "shift",
    "split",
    "split_images",
    "streamed_batches",
    "streamed_eval_batches",
    "stretched_boxes",
    "stroke_width",
    "swapped_backgrounds",
    "take",
    "take_described",
    "templated_pairs",
    "templated_probes",
    "tensorflow_datasets_esnli",
    "tensorflow_datasets_images",
    "tensorflow_datasets_regions",
    "text_words",
    "textured_digits",
    "token_classes",
    "tokenise",
    "transform_together",
    "upright_of",
    "validate",
    "validate_batch",
    "without_object",
    "word_spans",
    "word_tokenizer",
)
