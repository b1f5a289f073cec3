"""Eight simulated devices, strict promotion, one compilation cache for all tests."""

import gc
import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
# Thousands of small programs are compiled once and run once: a compiler that optimises
# less, and one cache that the workers share from the first program on, save a fifth.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import chex
import hypothesis
import jax
import pytest

from experiments.running import allocating

allocating.keep_freed_memory()
chex.set_n_cpu_devices(8)
_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Tracing makes many objects and few cycles.
gc.set_threshold(50_000, 20, 20)

# Shapes recompile, so a property is tried on few shapes and without a deadline.
hypothesis.settings.register_profile(
    "xguide", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("xguide")


@pytest.fixture
def x64():
    """Float64 for one test, as numerical gradients need."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def standard_promotion():
    """For code that is not ours: optax.adam mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield
