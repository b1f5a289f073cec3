"""Time of texts that a small decoder says: with and without cached keys and values.

Network:  `models.TextDecoder`, 2 layers of width 128, a vocabulary of 1,000.
Compares: greedy decoding by the cache, by whole texts, and a beam of 4 by the cache, of
          64 texts of 24 tokens after a prefix of 2 + 49 states. The weights are random
          and the token that ends a text never said, so that each has all its tokens.
Expected: the same greedy texts, about fifteen times faster with the cache; 64 of them
          in 0.15 s of two CPU cores, and 0.8 s by the beam. Beside the time of the wall
          stands the processor's, which other work on the machine disturbs less.
Cost:     half a minute on two CPU cores.
Command:  python -m experiments.benchmarks.decoding
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments import benchmarks
from xguide_jax import models
from xguide_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
      batch_size: texts said at once.
      length: of a text, in tokens.
      prefix_length: of the prefix, in states.
      vocabulary_size: V.
      width: of the decoder.
      num_layers: of the decoder.
      num_beams: of the beam.
      rounds: timed runs of each method; the methods take turns.
      seed: of weights and prefixes.
    """

    batch_size: int = 64
    length: int = 24
    prefix_length: int = 51
    vocabulary_size: int = 1000
    width: int = 128
    num_layers: int = 2
    num_beams: int = 4
    rounds: int = 5
    seed: int = 0


Decode = Callable[[PyTree, Array], models.DecodedTexts]


def methods_of(config: Config, head: models.TextHead) -> dict[str, Decode]:
    """(params, prefix) -> texts, by what is printed of them."""
    greedy = functools.partial(models.greedy_decode, length=config.length)
    beam = functools.partial(
        models.beam_decode,
        length=config.length, num_beams=config.num_beams, length_penalty=1.0,
    )  # fmt: skip
    return {
        "greedy, cached": functools.partial(greedy, head),
        "greedy, whole texts": functools.partial(greedy, head._replace(begin=None)),
        f"beam of {config.num_beams}, cached": functools.partial(beam, head),
    }


def run(config: Config) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the wall and of the processor in each round, by method.

    Raises:
      AssertionError: if a text ends early, or the cache changes one.
    """
    decoder = models.TextDecoder(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_heads=4,
        width=config.width,
        hidden_width=4 * config.width,
        num_positions=config.prefix_length + config.length,
    )
    head = models.linen_text_head(decoder)
    params = head.init(jax.random.key(config.seed))
    table = params["word_embeddings"]["embedding"]
    # Its logit is 0, far below the largest of a thousand.
    params["word_embeddings"]["embedding"] = table.at[models.TokenIds().end].set(0.0)
    shape = (config.batch_size, config.prefix_length, config.width)
    prefix = jax.random.normal(jax.random.key(config.seed + 1), shape)
    methods = methods_of(config, head)
    texts = [decode(params, prefix) for decode in methods.values()]
    assert all(bool(jnp.all(text.mask)) for text in texts), "a text ended early"
    np.testing.assert_array_equal(texts[0].tokens, texts[1].tokens)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(config.rounds):
        for name, decode in methods.items():
            wall, processor = time.perf_counter(), time.process_time()
            jax.block_until_ready(decode(params, prefix))
            spent = (time.perf_counter() - wall, time.process_time() - processor)
            times[name].append(spent)
    return times


def main() -> None:
    """Prints the table."""
    benchmarks.begin(__doc__)
    config = Config()
    times = run(config)
    device = jax.devices()[0].device_kind
    print(f"{config.batch_size} texts of {config.length}, {device}, ", end="")
    print(f"JAX {jax.__version__}")
    print("method                  wall s min   median   processor s min   median")
    for name, rounds in times.items():
        wall, processor = zip(*rounds, strict=True)
        print(
            f"{name:<24}{min(wall):10.3f} {statistics.median(wall):8.3f}"
            f"{min(processor):18.3f} {statistics.median(processor):8.3f}"
        )


if __name__ == "__main__":
    main()
