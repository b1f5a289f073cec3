"""How a network of Flax is told whether it trains or predicts."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flax import linen as nn
from flax import nnx

from xguide_jax.types import Array

# train -> the keyword arguments of `__call__` that say so.
ModeArguments = Callable[[bool], Mapping[str, Any]]

# The usual names of a switch, and whether it is on in train mode.
SWITCHES = {
    "deterministic": False,
    "is_training": True,
    "train": True,
    "training": True,
    "use_running_average": False,
}

# What acts differently in the two modes: class, its switch, the rate that turns it off.
_LAYERS = (
    (nn.Dropout, "deterministic", "rate"),
    (nn.MultiHeadDotProductAttention, "deterministic", "dropout_rate"),
    (nn.BatchNorm, "use_running_average", None),
)


def has_switch(call: Callable[..., Any]) -> bool:
    """Whether a `__call__` names one of the usual switches."""
    return bool(SWITCHES.keys() & inspect.signature(call).parameters.keys())


def takes_more(call: Callable[..., Any]) -> bool:
    """Whether a `__call__` takes more than inputs and overrides: its mode, perhaps."""
    return len(inspect.signature(call).parameters.keys() - {"overrides"}) > 1


def call_arguments(
    call: Callable[..., Any],
    *,
    train: bool,
    overrides: Mapping[str, Array] | None,
    mode_arguments: ModeArguments | None,
) -> dict[str, Any]:
    """The keyword arguments of a network's `__call__` for one pass.

    Args:
      call: the network.
      train: the mode.
      overrides: {name: activation}, or None.
      mode_arguments: what says the mode; the usual names that `call` has if None.

    Returns:
      {name: value}.

    Raises:
      ValueError: for `overrides` that the network does not take.
    """
    accepted = inspect.signature(call).parameters
    arguments: dict[str, Any]
    if mode_arguments is not None:
        arguments = dict(mode_arguments(train))
    else:
        arguments = {n: train == on for n, on in SWITCHES.items() if n in accepted}
    if "overrides" in accepted:
        arguments["overrides"] = overrides
    elif overrides:
        raise ValueError(
            f"`overrides` names {sorted(overrides)}, but the `__call__` of "
            f"{type(call).__name__} takes no `overrides`."
        )
    return arguments


def set_nnx_mode(model: nnx.Module, *, train: bool) -> None:
    """Sets an NNX model to a mode: Flax's own layers, and switches that are fields.

    Args:
      model: changed in place.
      train: the mode.
    """
    # By the class: a field called `train` would hide the method.
    type(model).train(model) if train else type(model).eval(model)
    for _, layer in nnx.iter_modules(model):
        for name, on in SWITCHES.items():
            if isinstance(vars(layer).get(name), bool):
                setattr(layer, name, train == on)


def refuse_stuck_nnx(
    model: nnx.Module, before: Mapping[int, Any], *, train: bool
) -> None:
    """Refuses a model whose dropout and batch norm ran in the other mode than the pass.

    A call may pass its layers another mode than `train()` or `eval()` set. A layer that
    acted has drawn from its stream, or written its statistics.

    Args:
      model: after the pass.
      before: what `nnx_traces` gave before it.
      train: the mode of the pass.

    Raises:
      ValueError: if in train mode none of several layers acted, or in eval mode one.
    """
    after = nnx_traces(model)
    acted = [after[layer] is not value for layer, value in before.items()]
    if acted and (any(acted) is not train):
        raise ValueError(
            f"`model` ({type(model).__name__}) runs its dropout or batch norm in "
            f"{'eval' if train else 'train'} mode in a pass with train={train}: its "
            f"`__call__` has none of the switches {sorted(SWITCHES)}. Say the mode by "
            "`mode_arguments`, e.g. `lambda train: {'inference': not train}`, or by "
            "`lambda train: {}` if it is meant so."
        )


def nnx_traces(model: nnx.Module) -> dict[int, Any]:
    """What a layer that acts in train mode alone replaces, by the layer's id."""
    found = {}
    for _, layer in nnx.iter_modules(model):
        if isinstance(layer, nnx.BatchNorm):
            found[id(layer)] = layer.mean.get_raw_value()
        elif isinstance(layer, nnx.Dropout) and layer.rate and layer.rngs is not None:
            found[id(layer)] = layer.rngs.count.get_raw_value()
    return found


@contextlib.contextmanager
def refusing_stuck_layers(module: nn.Module, *, train: bool) -> Iterator[None]:
    """Refuses dropout and batch norm that run in the other mode than the pass.

    Only layers that are called are looked at, in the mode that they are called in: one
    that finds out the mode by other means than an argument passes.

    Args:
      module: the Linen module that has no switch.
      train: the mode of the pass.

    Yields:
      Nothing.

    Raises:
      ValueError: inside, naming the layer and the ways to say the mode.
    """

    def interceptor(
        next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any
    ) -> Any:
        layer = context.module
        if context.method_name == "__call__" and _trains(layer, args, kwargs) is (
            not train
        ):
            raise ValueError(
                f"`module` ({type(module).__name__}) runs {type(layer).__name__} at "
                f"'{'/'.join(layer.path)}' in {'eval' if train else 'train'} mode in a "
                f"pass with train={train}: its `__call__` has none of the switches "
                f"{sorted(SWITCHES)}. Say the mode by `mode_arguments`, e.g. `lambda "
                "train: {'inference': not train}` (`lambda train: {}` if it is meant "
                "so), or give a function `train -> module` where it is a field."
            )
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        yield


def _trains(layer: nn.Module, args: Any, kwargs: Any) -> bool | None:
    """The mode a layer is called in; None where it has none or does not say."""
    for kind, switch, rate in _LAYERS:
        if isinstance(layer, kind):
            if rate is not None and getattr(layer, rate) == 0:
                return None
            bound = inspect.signature(kind.__call__).bind_partial(None, *args, **kwargs)
            value = bound.arguments.get(switch)
            value = getattr(layer, switch) if value is None else value
            return None if value is None else not value
    return None
