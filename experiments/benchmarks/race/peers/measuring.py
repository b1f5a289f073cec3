"""The same measures in PyTorch and in Quantus."""

import functools
import unittest.mock
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import quantus
import torch
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import digits, explaining, layouts

NUM_STEPS = 28
_PLAIN = {"normalise": False, "disable_warnings": True, "return_aggregate": False}


def _channels_first(values: np.ndarray) -> np.ndarray:
    """[..., H, W, 1] to [..., 1, H, W]."""
    return np.moveaxis(values, -1, -3).copy()


def _deletion(
    network: torch.nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    maps: torch.Tensor,
) -> torch.Tensor:
    """One order for all steps, and each step blackens more of the same images."""
    with torch.inference_mode():
        order = maps.flatten(1).argsort(dim=1, descending=True)
        masked, curve = inputs.flatten(1).clone(), []
        for pixels in order.chunk(NUM_STEPS, dim=1):
            masked.scatter_(1, pixels, 0.0)
            logits = network(masked.view_as(inputs))
            probabilities = functional.softmax(logits, 1)
            curve.append(probabilities.gather(1, labels[:, None]))
        return torch.cat(curve, dim=1)


def _deletion_prepared(arrays: jobs.Arrays) -> jobs.Prepared:
    network = explaining.frozen(digits.DigitsCNN(arrays))
    inputs, maps = layouts.images(arrays["inputs"]), layouts.images(arrays["maps"])
    labels = torch.from_numpy(arrays["labels"]).long()
    call = functools.partial(_deletion, network, inputs, labels, maps)
    return jobs.Prepared(call, lambda: {"curve": call().numpy()}, len(labels))


def _explain(
    model: torch.nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any
) -> np.ndarray:
    """As Quantus calls it."""
    tensors = torch.from_numpy(inputs), torch.from_numpy(targets)
    return explaining.gradient(model, *tensors).numpy()


class _Measured:
    """Calls metrics with the network, the inputs and the labels."""

    def __init__(self, arrays: jobs.Arrays) -> None:
        self.model = explaining.frozen(digits.DigitsCNN(arrays))
        self.inputs = _channels_first(arrays["inputs"])
        self.labels = arrays["labels"].astype(np.int64)

    def explained(self) -> np.ndarray:
        return _explain(self.model, self.inputs, self.labels)

    def __call__(self, metric: Callable[..., Any], maps: np.ndarray) -> np.ndarray:
        found = metric(
            model=self.model, x_batch=self.inputs, y_batch=self.labels, a_batch=maps,
            explain_func=_explain, channel_first=True, softmax=False, device="cpu",
            batch_size=len(self.inputs),
        )  # fmt: skip
        return np.array(found)


def _evaluate(measured: _Measured, arrays: jobs.Arrays) -> dict[str, np.ndarray]:
    """Insertion is the removal of the lowest, read from its end."""
    maps = measured.explained()
    flipping = quantus.PixelFlipping(
        features_in_step=maps[0].size // NUM_STEPS, perturb_baseline=0.0, **_PLAIN
    )
    measured(flipping, np.random.default_rng().random(maps.shape, np.float32))
    return {
        "removal": measured(flipping, maps),
        "insertion": measured(flipping, -maps)[:, ::-1],
        "sparseness": measured(quantus.Sparseness(**_PLAIN), maps),
        "complexity": measured(quantus.Complexity(**_PLAIN), maps),
    }


def _max_sensitivity(measured: _Measured, arrays: jobs.Arrays) -> dict[str, np.ndarray]:
    metric = quantus.MaxSensitivity(nr_samples=10, lower_bound=0.02, **_PLAIN)
    return {"max_sensitivity": measured(metric, measured.explained())}


def _correlation(measured: _Measured, arrays: jobs.Arrays) -> dict[str, np.ndarray]:
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=32, subset_size=56, perturb_baseline=0.0, **_PLAIN
    )
    return {"correlation": measured(metric, _channels_first(arrays["maps"]))}


def _prepared(
    measure: Callable[[_Measured, jobs.Arrays], dict[str, np.ndarray]],
    arrays: jobs.Arrays,
    *,
    draw: str = "uniform",
    draws: Callable[[jobs.Arrays], Sequence[np.ndarray]] | None = None,
) -> jobs.Prepared:
    """Quantus draws by `np.random` in every call but that of the outputs."""
    measured = _Measured(arrays)
    call = functools.partial(measure, measured, arrays)

    def outputs() -> dict[str, np.ndarray]:
        if draws is None:
            return call()
        given = draws(arrays)
        with unittest.mock.patch.object(np.random, draw, side_effect=given):
            return call()

    return jobs.Prepared(call, outputs, len(measured.labels))


def _noise(arrays: jobs.Arrays) -> Sequence[np.ndarray]:
    """One array [B, n] a sample."""
    return [noise.reshape(len(noise), -1) for noise in arrays["noise"]]


def _subsets(arrays: jobs.Arrays) -> Sequence[np.ndarray]:
    """One array [k] a subset and example."""
    return [places for subset in arrays["subsets"] for places in subset]


JOBS = {
    "deletion": _deletion_prepared,
    "evaluate": functools.partial(_prepared, _evaluate),
    "max_sensitivity": functools.partial(_prepared, _max_sensitivity, draws=_noise),
    "faithfulness_correlation": functools.partial(
        _prepared, _correlation, draw="choice", draws=_subsets
    ),
}
