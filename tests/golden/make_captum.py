"""Writes captum_cnn.npz: a small PyTorch network and what Captum says about it.

Run by hand, never by the tests; only this script needs PyTorch and Captum:

    python -m pip install torch captum
    python tests/golden/make_captum.py

The network has biases, batch norm in eval mode with running statistics of its own, a
residual connection and max pooling. Its weights are random and stored, laid out as JAX
has them: images [B, H, W, C], kernels [H, W, in, out], `y = x @ kernel + bias`, and
features flattened in the order (H, W, C). Everything is computed in float64 and stored
as float32. Random draws of Captum's methods are recorded while they are made and stored
beside the maps. `differentiable/<method>` says whether Captum's map has a graph that
leads to the parameters.
"""

import copy
import itertools
import pathlib
import unittest.mock

import captum
import numpy as np
import torch
from captum import attr
from captum._utils import gradient
from captum.attr._core import gradient_shap, noise_tunnel
from captum.attr._utils import custom_modules, lrp_rules
from torch import nn

PLACE = pathlib.Path(__file__).with_name("captum_cnn.npz")
COMMAND = "python tests/golden/make_captum.py"
NUM_POINTS = 16
NUM_SAMPLES = 4
SIGMA = 0.3
GAMMA = 0.25
LARGE_EPSILON = 0.1


class Network(nn.Module):
    """Convolution, a residual block, pooling and two dense layers: 8 x 8 x 2 to 3.

    Every ReLU is a module that is called once, and the addition is one: Captum's
    DeepLift and LRP act on modules, and neither sees an operator.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.first_norm = nn.BatchNorm2d(4)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(4)
        self.add = custom_modules.Addition_Module()
        self.second_relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(64, 8)
        self.dense_relu = nn.ReLU()
        self.output = nn.Linear(8, 3)

    def forward(self, images):
        hidden = self.first_relu(self.first_norm(self.first(images)))
        change = self.second_norm(self.second(hidden))
        features = self.second_relu(self.add(hidden, change))
        pooled = self.pool(features).permute(0, 2, 3, 1).flatten(1)
        return self.output(self.dense_relu(self.dense(pooled)))


def random_network(generator):
    """The network and its weights, in JAX's layout, by name."""
    draw = lambda *shape, scale=1.0: scale * generator.normal(size=shape)
    weights = {
        "first.kernel": draw(3, 3, 2, 4, scale=0.5),
        "second.kernel": draw(3, 3, 4, 4, scale=0.3),
        "dense.kernel": draw(64, 8, scale=0.3),
        "output.kernel": draw(8, 3, scale=0.8),
    }
    for name, size in (("first", 4), ("second", 4), ("dense", 8), ("output", 3)):
        weights[f"{name}.bias"] = draw(size, scale=0.3)
    for name in ("first_norm", "second_norm"):
        weights[f"{name}.scale"] = generator.uniform(0.5, 1.5, size=4)
        weights[f"{name}.bias"] = draw(4, scale=0.3)
        weights[f"{name}.mean"] = draw(4, scale=0.3)
        weights[f"{name}.var"] = generator.uniform(0.5, 2.0, size=4)
    # What is stored is what is computed with.
    weights = {k: v.astype(np.float32).astype(np.float64) for k, v in weights.items()}
    network = Network().double().eval()
    names = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
    state = {}
    for place, value in weights.items():
        module, name = place.split(".")
        if name == "kernel":
            axes = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
            value, name = value.transpose(axes), "weight"
        state[f"{module}.{names.get(name, name)}"] = torch.tensor(value)
    loading = network.load_state_dict(state, strict=False)
    assert all("num_batches" in key for key in loading.missing_keys), loading
    assert not loading.unexpected_keys, loading
    return network, weights


def channels_first(images):
    return torch.tensor(np.moveaxis(images, -1, -3).astype(np.float64))


def channels_last(maps):
    maps = maps.detach().numpy() if isinstance(maps, torch.Tensor) else maps
    return np.moveaxis(maps, -3, -1)


def recorded(module, *names):
    """Patches for functions of a module, each with the list of what it returned."""
    patches, records = [], []
    for name in names:
        holder, leaf = module, name
        *path, leaf = name.split(".")
        for part in path:
            holder = getattr(holder, part)
        original, values = getattr(holder, leaf), []

        def record(*args, _original=original, _values=values, **kwargs):
            _values.append(_original(*args, **kwargs))
            return _values[-1]

        patches.append(unittest.mock.patch.object(holder, leaf, record))
        records.append(values)
    return patches, records


def smoothed(network, images, targets, kind):
    """NoiseTunnel over Saliency, with the noise that it drew, [S, B, ...]."""
    (patch,), (noise,) = recorded(noise_tunnel, "torch.normal")
    torch.manual_seed(1)
    with patch:
        maps = attr.NoiseTunnel(attr.Saliency(network)).attribute(
            images, nt_type=kind, nt_samples=NUM_SAMPLES, stdevs=SIGMA,
            target=targets, abs=False,
        )  # fmt: skip
    (noise,) = noise
    # Captum repeats each image S times in a row.
    noise = noise.reshape(len(images), NUM_SAMPLES, *images.shape[1:]).transpose(0, 1)
    return maps, noise


def shapley_by_gradients(network, images, targets, background):
    """GradientShap, with its baselines, its positions and its noise, [S, B, ...]."""
    (noise_patch,), (noise,) = recorded(noise_tunnel, "torch.normal")
    patches, (positions, rows) = recorded(
        gradient_shap, "np.random.uniform", "np.random.choice"
    )
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the generator that Captum draws from
    with noise_patch, patches[0], patches[1]:
        maps = attr.GradientShap(network).attribute(
            images, baselines=background, n_samples=NUM_SAMPLES, stdevs=SIGMA,
            target=targets,
        )  # fmt: skip
    by_sample = lambda x: x.reshape(len(images), NUM_SAMPLES, *x.shape[1:]).transpose(
        (1, 0, *range(2, x.ndim + 1))
    )
    (noise,), (positions,), (rows,) = noise, positions, rows
    starts = background.numpy()[np.asarray(rows)]
    return maps, by_sample(noise.numpy()), by_sample(positions), by_sample(starts)


def relevance(network, images, targets, *, epsilon, gamma):
    """LRP, its rule in convolutions and dense layers, epsilon 1e-9 elsewhere."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.MaxPool2d)) or (
            type(module) is custom_modules.Addition_Module
        ):
            module.rule = lrp_rules.EpsilonRule(1e-9)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = lrp_rules.EpsilonRule(epsilon)
        if isinstance(module, nn.Conv2d) and gamma is not None:
            module.rule = lrp_rules.GammaRule(gamma)
    return attr.LRP(network).attribute(images, target=targets)


def with_average_pool(network):
    network.pool = nn.AvgPool2d(2)
    return network


def shapley_values(network, images, baselines, targets, segments):
    """ShapleyValues over all 8! permutations, the mean of 56 blocks of them.

    Captum adds up in float32: over all 40320 at once it is off by 1e-4 of the map.
    """
    method, blocks = attr.ShapleyValues(network), []
    permutations = list(itertools.permutations(range(8)))
    for start in range(0, len(permutations), 720):
        block = permutations[start : start + 720]
        method.permutation_generator = lambda *_, block=block: block
        maps = method.attribute(
            images, baselines, targets, feature_mask=segments, perturbations_per_eval=8
        )
        blocks.append(maps.double())
    return torch.stack(blocks).mean(0)


def hi_res_cam(network, images, targets):
    """The layer's activation times its gradient, summed over the channels."""
    product = attr.LayerGradientXActivation(network, network.second_relu).attribute(
        images, targets
    )
    return product.sum(1, keepdim=True)


def layer_cam(network, images, targets):
    """Captum has no LayerCAM: its activation and its gradient, by the formula."""
    layer = network.second_relu
    activation = attr.LayerActivation(network, layer).attribute(images)
    (gradients,), _ = gradient.compute_layer_gradients_and_eval(
        network, layer, images, targets
    )
    return (gradients.relu() * activation).sum(1, keepdim=True)


def path_to_parameters(network, maps):
    """How many parameter arrays sum(map^2) has a gradient in that is not 0.

    "None" where the map has no graph at all; "error" where its graph cannot be used.
    """
    if not maps.requires_grad:
        return "None"
    parameters = list(network.parameters())
    try:
        gradients = torch.autograd.grad(
            torch.sum(maps**2), parameters, allow_unused=True
        )
    except RuntimeError as error:
        return f"error: {str(error).partition(':')[0]}"
    reached = sum(g is not None and bool(torch.any(g != 0)) for g in gradients)
    return f"{reached} of {len(parameters)}"


def main():
    """Computes and stores everything."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    network, weights = random_network(generator)
    draw = lambda *shape: generator.normal(size=shape).astype(np.float32)
    arrays = {
        "inputs": draw(3, 8, 8, 2),
        "baselines": 0.5 * draw(3, 8, 8, 2),
        "background": 0.5 * draw(5, 8, 8, 2),
        "targets": np.array([0, 2, 1], np.int32),
    }
    images, baselines, background = (
        channels_first(arrays[k]) for k in ("inputs", "baselines", "background")
    )
    targets = torch.tensor(arrays["targets"])
    row, column = np.arange(8) // 4, np.arange(8) // 2
    segments = torch.tensor(row[:, None] * 4 + column)[None]  # 2 x 4 patches of 4 x 2
    arrays["segments"] = segments[0].numpy()

    drawn = {}

    def noise_tunnel_of(network, kind):
        maps, drawn["noise"] = smoothed(network, images, targets, kind)
        return maps

    def gradient_shap_of(network):
        maps, noise, positions, starts = shapley_by_gradients(
            network, images, targets, background
        )
        drawn["shap_noise"], drawn["shap_starts"] = noise, starts
        arrays["shap_positions"] = positions
        return maps

    path = {"n_steps": NUM_POINTS, "method": "riemann_middle"}
    methods = {
        "saliency": lambda net: attr.Saliency(net).attribute(
            images, targets, abs=False
        ),
        "input_x_gradient": lambda net: attr.InputXGradient(net).attribute(
            images, targets
        ),
        "integrated_gradients": lambda net: attr.IntegratedGradients(net).attribute(
            images, baselines, targets, **path
        ),
        "layer_integrated_gradients": lambda net: attr.LayerIntegratedGradients(
            net, net.first_relu
        ).attribute(images, baselines, targets, **path),
        "smoothgrad": lambda net: noise_tunnel_of(net, "smoothgrad"),
        "smoothgrad_sq": lambda net: noise_tunnel_of(net, "smoothgrad_sq"),
        "vargrad": lambda net: noise_tunnel_of(net, "vargrad"),
        "gradient_shap": gradient_shap_of,
        "grad_cam": lambda net: attr.LayerGradCam(net, net.second_relu).attribute(
            images, targets, relu_attributions=True
        ),
        "signed_grad_cam": lambda net: attr.LayerGradCam(
            net, net.second_relu
        ).attribute(images, targets),
        "hi_res_cam": lambda net: hi_res_cam(net, images, targets),
        "odam": lambda net: hi_res_cam(net, images, targets).relu(),
        "layer_cam": lambda net: layer_cam(net, images, targets),
        "deep_lift": lambda net: attr.DeepLift(net).attribute(
            images, baselines, targets
        ),
        # With max pooling Captum's map does not add up to f(x) - f(b); without it does.
        "deep_lift_average_pool": lambda net: attr.DeepLift(
            with_average_pool(net)
        ).attribute(images, baselines, targets),
        # The mean of the maps against each row of the background.
        "deep_lift_background": lambda net: attr.DeepLiftShap(
            with_average_pool(net)
        ).attribute(images, background, targets),
        "lrp_epsilon": lambda net: relevance(
            net, images, targets, epsilon=1e-9, gamma=None
        ),
        "lrp_large_epsilon": lambda net: relevance(
            net, images, targets, epsilon=LARGE_EPSILON, gamma=None
        ),
        "lrp_gamma": lambda net: relevance(
            net, images, targets, epsilon=1e-9, gamma=GAMMA
        ),
        "occlusion": lambda net: attr.Occlusion(net).attribute(
            images, (2, 3, 3), (2, 2, 2), baselines, targets
        ),
        "occlusion_one_channel": lambda net: attr.Occlusion(net).attribute(
            images, (1, 4, 3), (1, 3, 1), baselines, targets
        ),
        "shapley": lambda net: shapley_values(
            net, images, baselines, targets, segments
        ),
    }
    for name, method in methods.items():
        # Captum's LRP changes weights in place: each method has a network of its own.
        net = copy.deepcopy(network)
        maps = method(net)
        arrays[f"differentiable/{name}"] = np.array(path_to_parameters(net, maps))
        arrays[f"maps/{name}"] = channels_last(maps)
        print(f"{name:28} gradient: {arrays[f'differentiable/{name}']}")
    arrays |= {name: channels_last(value) for name, value in drawn.items()}
    arrays["logits"] = network(images).detach().numpy()
    arrays |= {f"params/{name}": value for name, value in weights.items()}
    arrays |= {
        name: value.astype(np.float32)
        for name, value in arrays.items()
        if value.dtype == np.float64
    }
    arrays["settings"] = np.array(
        [
            f"num_points={NUM_POINTS}", f"num_samples={NUM_SAMPLES}", f"sigma={SIGMA}",
            f"gamma={GAMMA}", f"large_epsilon={LARGE_EPSILON}",
        ]
    )  # fmt: skip
    arrays["made_by"] = np.array(
        f"{COMMAND} (torch {torch.__version__}, captum {captum.__version__})"
    )
    np.savez_compressed(PLACE, **arrays)


if __name__ == "__main__":
    main()
