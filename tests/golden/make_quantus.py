"""Writes quantus.npz: maps of a small network and what Quantus says about them.

Run by hand, never by the tests; only this script needs Quantus and PyTorch, and a NumPy
that still has `trapz`:

    python -m pip install quantus torch "numpy<2.4"
    python tests/golden/make_quantus.py

The network has two dense layers with a tanh between them, of inputs [B, 1, 4, 4] to
three logits; the first is a convolution as large as the input, as Quantus shifts no
other. The weights are random and stored as JAX has them, `y = x @ kernel + bias`. Maps
are stored as [B, 4, 4]. Random draws of Quantus are recorded while they are made and
stored beside the numbers.
"""

import pathlib
import unittest.mock
import warnings

import numpy as np
import quantus
import torch
from quantus.functions import similarity_func
from quantus.helpers.model import pytorch_model
from torch import nn

PLACE = pathlib.Path(__file__).with_name("quantus.npz")
SIDE, HIDDEN, CLASSES, BATCH = 4, 6, 3, 4
PLAIN = {"normalise": False, "disable_warnings": True, "return_aggregate": False}
ZERO = {"perturb_baseline": 0.0}


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, HIDDEN, SIDE), nn.Tanh(), nn.Flatten(), nn.Linear(HIDDEN, CLASSES)
    ).eval()


def weights_of(network):
    return {
        f"{layer}/{name}": value.detach().numpy().reshape(len(value), -1).T.copy()
        for layer, module in (("first", network[0]), ("second", network[3]))
        for name, value in (("kernel", module.weight), ("bias", module.bias[:, None]))
    }


def gradient(model, inputs, targets, **_):
    inputs = torch.as_tensor(np.asarray(inputs, np.float32)).requires_grad_()
    rows = torch.arange(len(inputs))
    score = model(inputs)[rows, torch.as_tensor(np.asarray(targets))].sum()
    return torch.autograd.grad(score, inputs)[0].numpy()


def gradient_x_input(model, inputs, targets, **_):
    return gradient(model, inputs, targets) * np.asarray(inputs, np.float32)


def recorded(module, name):
    """A patch that keeps what a function of `np.random` returns, and the list."""
    original, draws = getattr(module, name), []

    def record(*args, **kwargs):
        draws.append(original(*args, **kwargs))
        return draws[-1]

    return unittest.mock.patch.object(module, name, record), draws


class Run:
    """Calls metrics with the network, the inputs and the targets."""

    def __init__(self, network, inputs, targets):
        self.all = {
            "model": network, "x_batch": inputs, "y_batch": targets,
            "channel_first": True, "softmax": False, "device": "cpu",
        }  # fmt: skip

    def __call__(self, metric, maps, regions=None, explain=gradient, **changed):
        np.random.seed(0)  # noqa: NPY002 (it is what Quantus draws from)
        found = metric(
            **self.all | changed, a_batch=maps.copy(), s_batch=regions,
            explain_func=explain,
        )  # fmt: skip
        return np.array(found, np.float64)


def of_maps(run, maps, regions):
    magnitudes = np.abs(maps)
    return {
        "sparseness": run(quantus.Sparseness(**PLAIN), maps),
        "complexity": run(quantus.Complexity(**PLAIN), maps),
        "effective_complexity": run(quantus.EffectiveComplexity(**PLAIN), maps),
        "pointing_game": run(quantus.PointingGame(**PLAIN), maps, regions),
        "attribution_localisation": run(
            quantus.AttributionLocalisation(**PLAIN), maps, regions
        ),
        "positive_attribution_localisation": run(
            quantus.AttributionLocalisation(
                positive_attributions=True, abs=False, **PLAIN
            ),
            maps, regions,
        ),
        "relevance_mass_accuracy": run(
            quantus.RelevanceMassAccuracy(**PLAIN), magnitudes, regions
        ),
        "relevance_mass_accuracy_signed": run(
            quantus.RelevanceMassAccuracy(**PLAIN), maps, regions
        ),
        "relevance_rank_accuracy": run(
            quantus.RelevanceRankAccuracy(**PLAIN), maps, regions
        ),
        "top_k_intersection": run(
            quantus.TopKIntersection(k=5, **PLAIN), maps, regions
        ),
        "auc": run(quantus.AUC(**PLAIN), maps, regions),
    }  # fmt: skip


def of_road(run, maps, batch_size):
    """The share that is right with a quarter to three quarters imputed."""
    metric = quantus.ROAD(
        percentages=[25, 50, 75], noise=0.0, normalise=False, disable_warnings=True
    )
    scores = metric(**run.all, a_batch=maps.copy(), batch_size=batch_size)
    return np.array(list(scores.values()))


def of_predictions(run, maps):
    found = {
        "pixel_flipping": run(
            quantus.PixelFlipping(features_in_step=2, **ZERO, **PLAIN), maps
        ),
        "faithfulness_estimate": run(
            quantus.FaithfulnessEstimate(features_in_step=1, **ZERO, **PLAIN), maps
        ),
        "infidelity_of_all": run(
            quantus.Infidelity(
                perturb_patch_sizes=[SIDE], n_perturb_samples=1, **ZERO, **PLAIN
            ),
            maps,
        ),
        "infidelity_of_halves": run(
            quantus.Infidelity(
                perturb_patch_sizes=[2], n_perturb_samples=1, **ZERO, **PLAIN
            ),
            maps,
        ),
        "non_sensitivity": run(quantus.NonSensitivity(**ZERO, **PLAIN), maps),
        "region_perturbation": run(
            quantus.RegionPerturbation(
                patch_size=2, regions_evaluation=4, order="morf", **ZERO, **PLAIN
            ),
            maps,
        ),
        "road": of_road(run, maps, batch_size=BATCH),
        "road_in_batches_of_2": of_road(run, maps, batch_size=2),
    }
    patch, draws = recorded(np.random, "choice")
    with patch:
        found["faithfulness_correlation"] = run(
            quantus.FaithfulnessCorrelation(nr_runs=20, subset_size=5, **ZERO, **PLAIN),
            maps,
        )
    draws = np.array(draws).reshape(20, BATCH, 5)
    found["faithfulness_correlation/subsets"] = draws
    return found


def of_explainers(run, maps):
    found = {}
    for name, metric, draw in (
        (
            "max_sensitivity",
            quantus.MaxSensitivity(nr_samples=5, lower_bound=0.2, **PLAIN),
            "uniform",
        ),
        (
            "local_lipschitz",
            quantus.LocalLipschitzEstimate(nr_samples=5, perturb_std=0.1, **PLAIN),
            "normal",
        ),
    ):
        patch, draws = recorded(np.random, draw)
        with patch:
            found[name] = run(metric, maps)
        found[f"{name}/noise"] = np.array(draws).reshape(5, BATCH, SIDE, SIDE)
    # Of two classes the other one is no draw.
    found["random_logit"] = run(
        quantus.RandomLogit(
            num_classes=2, similarity_func=similarity_func.correlation_spearman, **PLAIN
        ),
        maps,
    )
    for order in ("top_down", "independent"):
        metric = quantus.MPRT(layer_order=order, abs=False, **PLAIN)
        metric.similarity_func = similarity_func.correlation_spearman
        scores = metric(**run.all, a_batch=maps.copy(), explain_func=gradient)
        found[f"mprt/{order}"] = np.array([scores["3"], scores["0"]])
    wrapped = pytorch_model.PyTorchModel(run.all["model"], softmax=False, device="cpu")
    for _, fresh in wrapped.get_random_layer_generator("top_down"):
        last = fresh  # all layers are new in the last
    found |= {f"fresh/{name}": value for name, value in weights_of(last).items()}
    for name, explain in (
        ("gradient", gradient),
        ("gradient_x_input", gradient_x_input),
    ):
        model, inputs, targets = (run.all[k] for k in ("model", "x_batch", "y_batch"))
        found[f"input_invariance/{name}"] = run(
            quantus.InputInvariance(input_shift=-1, **PLAIN),
            explain(model, inputs, targets), explain=explain,
        )  # fmt: skip
    return found


def main():
    warnings.simplefilter("ignore")
    network, rng = make_network(), np.random.default_rng(0)
    inputs = rng.normal(size=(BATCH, 1, SIDE, SIDE)).astype(np.float32)
    targets = np.array([0, 1, 1, 0])
    maps = gradient(network, inputs, targets)
    # A feature without weights, of which the second map says something and others not.
    with torch.no_grad():
        network[0].weight[:, 0, 0, 3] = 0
    maps[:, 0, 0, 3] = [0, 0.5, 0, 0]
    # And one that counts and is as good as left out; a tie would go by NumPy's sort.
    maps[2, 0, 1, 1] = 1e-7
    regions = np.zeros((BATCH, 1, SIDE, SIDE))
    regions[0, :, :2, :2] = regions[1, :, 1:, 2:] = regions[2, :, 0] = 1
    regions[3, :, 2:, :] = 1
    run = Run(network, inputs, targets)
    clean = gradient(network, inputs, targets)
    found = of_maps(run, maps, regions) | of_predictions(run, maps)
    found |= of_explainers(run, clean)
    arrays = {
        "inputs": inputs[:, 0], "targets": targets, "maps": maps[:, 0],
        "regions": regions[:, 0].astype(np.float32), "clean_maps": clean[:, 0],
        **weights_of(network), **{f"quantus/{name}": v for name, v in found.items()},
    }  # fmt: skip
    np.savez_compressed(PLACE, **arrays)
    for name, value in found.items():
        print(name, value.shape, value.reshape(-1)[:4])


if __name__ == "__main__":
    main()
