"""Steps on a small BERT, of the size that was published as Mini."""

import functools
from collections.abc import Callable

import jax
import numpy as np
import optax

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, steps
from xguide_jax import attributions, guidance, losses, models, ops
from xguide_jax.types import Terms

BATCH_SIZE = 32
LENGTH = 64
_VOCABULARY = 30_522
_CLASS_TOKEN, _SEPARATOR, _FIRST_WORD = 101, 102, 1000
_NUM_CLASSES = 3


def texts_arrays() -> dict[str, np.ndarray]:
    """Weights, texts of 16 to 64 tokens, labels, and marks on three texts in four."""
    rng = np.random.default_rng(0)
    places = np.arange(LENGTH)
    lengths = rng.integers(16, LENGTH + 1, size=(BATCH_SIZE, 1))
    mask, last = places < lengths, places == lengths - 1
    special = (places == 0) | last
    tokens = rng.integers(_FIRST_WORD, _VOCABULARY, size=mask.shape)
    tokens = np.where(last, _SEPARATOR, np.where(mask, tokens, 0))
    tokens[:, 0] = _CLASS_TOKEN
    marks = (rng.uniform(size=mask.shape) < 0.2) & mask & ~special
    marks[: BATCH_SIZE // 4] = False
    inputs = {
        "tokens": tokens.astype(np.int32),
        "mask": mask,
        "segments": np.zeros(mask.shape, np.int32),
    }
    params, _ = models.init_linen(network(), jax.random.key(0), inputs)
    return {
        **arrays.flattened(params, "params"),
        **arrays.flattened(inputs, "inputs"),
        "labels": rng.integers(_NUM_CLASSES, size=BATCH_SIZE).astype(np.int32),
        "special": special,
        "rationale": marks.astype(np.float32),
    }


def network() -> models.Bert:
    """Four layers of width 256, without dropout."""
    return models.Bert(
        vocabulary_size=_VOCABULARY, num_layers=4, num_heads=4, width=256,
        hidden_width=1024, num_positions=LENGTH, num_classes=_NUM_CLASSES,
        pooling="pooler",
    )  # fmt: skip


def _step(
    terms: Callable[[], Terms], known: tuple[str, ...], given: jobs.Arrays
) -> jobs.Prepared:
    batch = {name: given[name] for name in ("labels", *known)}
    return steps.prepared(
        models.linen_apply_fn(network()), arrays.nested(given, "params"), {}, terms(),
        optax.adam(1e-4), {"inputs": arrays.nested(given, "inputs"), **batch},
    )  # fmt: skip


def _saliency_guided() -> Terms:
    return {
        "sgt": guidance.saliency_guided(
            layer="embeddings",
            mask_fraction=0.5,
            fill=ops.previous_salient_token,
            # Their sum has no derivative: the norm behind the embeddings takes it out.
            rank_fn=ops.mean_magnitude,
            score_fn=attributions.target_log_probability,
            # Without dropout both modes are one function; this one shares the pass.
            explain_in="train",
        )
    }


def _attention() -> Terms:
    return {
        "attention": guidance.attention_guided(
            layer="attention_3", heads=(1, 2, 3),
            divergence=losses.attention_supervision,
        )
    }  # fmt: skip


def _job(terms: Callable[[], Terms], *known: str) -> jobs.Ours:
    return jobs.Ours(texts_arrays, functools.partial(_step, terms, known))


JOBS = {
    "text_step": _job(dict),
    "text_saliency_guided": _job(_saliency_guided, "special"),
    "text_attention": _job(_attention, "special", "rationale"),
}
