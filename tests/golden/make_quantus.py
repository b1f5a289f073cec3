"""Writes tests/golden/quantus.npz: maps, a network, and what Quantus says of them.

Run by hand, never by the tests; only this script needs Quantus, which calls a function
that NumPy 2.4 no longer has:

    python -m pip install quantus torch 'numpy<2.4'
    python tests/golden/make_quantus.py

Stored are the metrics whose definitions agree with ours, on maps without ties, NaN or
empty regions; what they do with those is told in xguide_jax/metrics/differences.md.
"""

import pathlib
import warnings

import numpy as np
import quantus
import torch

PLACE = pathlib.Path(__file__).with_name("quantus.npz")
SHAPE = (4, 1, 4, 4)
QUIET = {"disable_warnings": True, "display_progressbar": False}
PLAIN = {**QUIET, "abs": False, "normalise": False}
SIZES = {**QUIET, "abs": True, "normalise": False}


class Network(torch.nn.Module):
    def __init__(self, arrays):
        super().__init__()
        self.arrays = {name: torch.from_numpy(a) for name, a in arrays.items()}

    def forward(self, images):
        hidden = torch.tanh(images.flatten(1) @ self.arrays["w1"] + self.arrays["b1"])
        return hidden @ self.arrays["w2"]


def main():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    arrays = {"w1": draw(16, 5), "b1": draw(5), "w2": draw(5, 3)}
    inputs, maps, others = draw(*SHAPE), draw(*SHAPE), draw(*SHAPE)
    region = np.zeros(SHAPE, np.float32)
    for row, (top, left, bottom, right) in enumerate(
        [(0, 0, 2, 2), (1, 1, 4, 3), (0, 2, 4, 4), (3, 0, 4, 1)]
    ):
        region[row, 0, top:bottom, left:right] = 1
    # Some cells without attribution, whose effect is not 0.
    maps[:, 0, 0, 0] = 0
    labels = np.array([0, 1, 2, 1])
    network = Network(arrays).eval()

    def scores(metric):
        found = metric(
            model=network,
            x_batch=inputs,
            y_batch=labels,
            a_batch=maps.copy(),
            s_batch=region.copy(),
            softmax=True,
            channel_first=True,
            device="cpu",
        )
        return np.array(found, np.float64)

    found = {
        "gini": scores(quantus.Sparseness(**SIZES)),
        "entropy": scores(quantus.Complexity(**SIZES)),
        "relevance_mass": scores(quantus.RelevanceMassAccuracy(**SIZES)),
        "relevance_rank": scores(quantus.RelevanceRankAccuracy(**PLAIN)),
        "pointing_game": scores(quantus.PointingGame(**PLAIN)),
        "energy_pointing_game": scores(
            quantus.AttributionLocalisation(**PLAIN, positive_attributions=True)
        ),
        "top_5_precision": scores(quantus.TopKIntersection(**PLAIN, k=5)),
        "pixel_flipping": scores(
            quantus.PixelFlipping(**PLAIN, features_in_step=1, perturb_baseline=0.25)
        ),
        "non_sensitivity": scores(
            quantus.NonSensitivity(
                **SIZES, features_in_step=1, perturb_baseline=0.25, eps=1e-2
            )
        ),
    }
    for name, function in {
        "rank_correlation": quantus.correlation_spearman,
        "cosine_similarity": lambda a, b: 1 - quantus.cosine(a, b),
    }.items():
        found[name] = np.array(
            [function(a.ravel(), b.ravel()) for a, b in zip(maps, others, strict=True)]
        )
    stored = {**arrays, "inputs": inputs, "maps": maps, "others": others}
    np.savez_compressed(
        PLACE, **stored, region=region, labels=labels,
        **{f"found/{name}": values for name, values in found.items()},
    )  # fmt: skip
    for name, values in found.items():
        print(name, np.round(values, 4).tolist())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
