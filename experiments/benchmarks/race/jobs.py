"""Which jobs are raced, in what modules their two sides stand."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Prepared(NamedTuple):
    """One side of a job, with weights and inputs in place.

    Attributes:
      call: does the work once and waits until it is done.
      outputs: what both sides must agree on, by name; asked for once, right after the
        first call.
      items: examples that a call works through.
    """

    call: Callable[[], Any]
    outputs: Callable[[], dict[str, np.ndarray]]
    items: int


class Ours(NamedTuple):
    """The library's side, which also draws the weights and inputs of both.

    Attributes:
      arrays: from a fixed seed, by name; weights in Flax's layout.
      make: of these, the side.
    """

    arrays: Callable[[], dict[str, np.ndarray]]
    make: Callable[[Arrays], Prepared]


class Job(NamedTuple):
    """What is raced.

    Attributes:
      family: module in `ours` and in `peers` whose `JOBS` holds the job.
      peer: package that the other side needs, by the name it is imported by.
      title: what it is, for the table.
      tolerance: largest difference of an output, as a share of its largest value.
    """

    family: str
    peer: str
    title: str
    tolerance: float = 1e-3


# Of thousands of points a few have a ReLU or a maximum so near its kink that rounding
# decides its side. Of 64 maps of SmoothGrad three differ by up to 0.007 of the largest
# value, the median of all values by 1e-8.
_KINKS = 2e-2

JOBS = {
    "step_sgd": Job("digits", "torch", "digits CNN, B 128, unguided step, SGD"),
    "step_adam": Job("digits", "torch", "the same, Adam"),
    "saliency_guided": Job("digits", "torch", "saliency-guided step"),
    "saliency_guided_rows": Job(
        "digits", "torch", "the same, beside the published loop over rows"
    ),
    "saliency_guided_frozen": Job("digits", "torch", "saliency-guided, frozen teacher"),
    "right_reasons": Job("digits", "torch", "right-reasons step"),
    "energy": Job("digits", "torch", "energy of Grad-CAM step"),
    "resnet": Job("resnet", "torch", "ResNet-18, 32x32, B 32, unguided step"),
    # Pixels of nearly the same saliency are masked by one side and not by the other.
    "resnet_saliency_guided": Job(
        "resnet", "torch", "the same, saliency-guided", tolerance=1e-2
    ),
    "resnet_right_reasons": Job("resnet", "torch", "the same, right reasons"),
    "text_step": Job("texts", "torch", "BERT-Mini, B 32, T 64, unguided step, Adam"),
    "text_saliency_guided": Job("texts", "torch", "saliency-guided at the words"),
    "text_attention": Job("texts", "torch", "attention of the last layer supervised"),
    "res_gaussian": Job("robust", "torch", "digits CNN, B 32, RES-G step"),
    "res_gaussian_rows": Job("robust", "torch", "the same, beside the published loops"),
    "jpegs": Job(
        # The mean of what lies under a cell, and bilinear with a wider support.
        "photographs",
        "torch",
        "256 JPEGs decoded and resized",
        tolerance=1e-2,
    ),
    "gradient": Job("explaining", "torch", "gradient of the label's logit, B 128"),
    "one_image": Job("explaining", "torch", "the same, one image"),
    "grad_cam": Job("explaining", "torch", "Grad-CAM, B 128"),
    "integrated_gradients": Job(
        "explaining",
        "captum",
        "integrated gradients, 50 points, B 64",
        tolerance=_KINKS,
    ),
    "integrated_gradients_chunked": Job(
        "explaining",
        "captum",
        "the same, beside Captum in batches of 64",
        tolerance=_KINKS,
    ),
    "smooth_grad": Job(
        "explaining", "captum", "SmoothGrad, 25 samples, B 64", tolerance=_KINKS
    ),
    "lrp": Job("explaining", "captum", "LRP, epsilon rule, B 64"),
    "deep_lift": Job("explaining", "captum", "DeepLIFT, average pooling, B 64"),
    "rise": Job("explaining", "torch", "RISE, 500 masks, B 4"),
    "bottom_k": Job(
        "selecting", "torch", "mask of the lower half, 512 x 784, topk", tolerance=0.0
    ),
    "bottom_k_kthvalue": Job(
        "selecting", "torch", "the same, beside kthvalue", tolerance=0.0
    ),
    "bottom_k_large": Job(
        "selecting", "torch", "the same, 48 x 50,176, topk", tolerance=0.0
    ),
    "bottom_k_large_kthvalue": Job(
        "selecting", "torch", "the same, beside kthvalue", tolerance=0.0
    ),
    "deletion": Job("measuring", "torch", "deletion curve, 28 steps, B 64"),
    "evaluate": Job(
        "measuring", "quantus", "evaluation of a gradient, removal and insertion, N 64"
    ),
    "max_sensitivity": Job(
        "measuring", "quantus", "maximal sensitivity of a gradient, 10 samples, N 64"
    ),
    "faithfulness_correlation": Job(
        "measuring", "quantus", "correlation with the effects of 32 subsets, N 64"
    ),
}
