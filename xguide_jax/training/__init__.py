"""Training: one objective, one step, lifted over devices. No method is known here.

`guidance_loss` adds terms to anybody's own loop; `make_train_step` and what stands on
it are conveniences.
"""

from xguide_jax import deprecating
from xguide_jax.training.checkpoint import (
    restore_checkpoint,
    restore_params,
    save_checkpoint,
)
from xguide_jax.training.heads import (
    sigmoid_correct,
    sigmoid_cross_entropy,
    softmax_correct,
    softmax_cross_entropy,
)
from xguide_jax.training.initial import init_train_state
from xguide_jax.training.locking import LockedError, lock_directory
from xguide_jax.training.loop import fit
from xguide_jax.training.objective import (
    Aux,
    guidance_loss,
    init_guidance,
    make_objective,
)
from xguide_jax.training.parallel import data_parallel, pad_batch
from xguide_jax.training.soundness import NonFiniteError
from xguide_jax.training.step import make_eval_step, make_train_step
from xguide_jax.training.stopping import Interrupted, stop_on_signals

__all__ = (
    "Aux",
    "Interrupted",
    "LockedError",
    "NonFiniteError",
    "data_parallel",
    "fit",
    "guidance_loss",
    "init_guidance",
    "init_train_state",
    "lock_directory",
    "make_eval_step",
    "make_objective",
    "make_train_step",
    "pad_batch",
    "restore_checkpoint",
    "restore_params",
    "save_checkpoint",
    "sigmoid_correct",
    "sigmoid_cross_entropy",
    "softmax_correct",
    "softmax_cross_entropy",
    "stop_on_signals",
)

__getattr__ = deprecating.old_names(__name__)
