"""The flags and the run directory that every experiment shares.

A run directory holds
    config.json              what was asked for, the versions, the commit, the command
    metrics.jsonl            a record every `log_every` steps, of every arm and seed
    checkpoints/<arm>-<seed> the last good steps
    results/<arm>-<seed>.*   what was measured, once an arm is finished
    models/<arm>-<seed>/     model.safetensors
    figures/, metrics.json, report.html

The same command with the same `--run-dir` goes on where it was; with more seeds, arms
or (where no schedule ends with them) steps, it does what is lacking.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import jax

from xguide_jax import training

VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The flags that every experiment has."""

    # What a run that was begun may be asked for more of.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "num_steps", "seeds")

    run_dir: pathlib.Path | None = None
    """Where the run is written and resumed from; runs/<name>-<time> if left out."""
    seed: int = 0
    """The first seed: of the split, the initial weights, the batches and the noise."""
    seeds: int = 1
    """How many seeds to repeat every arm with."""
    num_steps: int = 160
    """Training steps of each arm."""
    batch_size: int = 64
    """Examples a step, over all devices and hosts."""
    log_every: int = 20
    """Steps between two records in metrics.jsonl; metrics are fetched only then."""
    save_every: int = 80
    """Steps between two checkpoints, a multiple of `log_every`."""
    how: Literal["pmap", "shard_map", "jit"] = "pmap"
    """How the step is lifted over the devices."""
    num_devices: int | None = None
    """How many devices to use; all if left out."""
    distributed: bool = False
    """Join the other hosts of the job first (TPU pods, SLURM, Open MPI, Kubernetes)."""


Config = TypeVar("Config", bound=RunConfig)


class RefusedError(ValueError):
    """What was asked for cannot be had, as the flags, the data or the directory say."""


class Run(NamedTuple):
    """An opened run directory."""

    name: str
    path: pathlib.Path
    config: RunConfig

    @property
    def is_writer(self) -> bool:
        """Whether this process writes logs, results and the report."""
        return jax.process_index() == 0


def default_run_dir(name: str) -> pathlib.Path:
    """Where a run goes that is not told where.

    Args:
      name: the experiment's.

    Returns:
      runs/<name>-<time>.
    """
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"{name}-{now}"


def prepare(config: RunConfig) -> None:
    """Joins the other hosts if asked to, and keeps compiled programs between runs.

    Args:
      config: the flags.
    """
    if config.distributed:
        jax.distributed.initialize()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = pathlib.Path.home() / ".cache" / "xguide_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@contextlib.contextmanager
def open_run(config: RunConfig, *, name: str) -> Iterator[Run]:
    """Creates the run directory, or reopens it if its configuration is the same.

    Other runs are kept out of it while the block lasts. Of the fields in
    `config.may_grow` there may be more than there was.

    Args:
      config: the flags.
      name: the experiment's.

    Yields:
      The run, with config.json written.

    Raises:
      RefusedError: if the directory holds a run of another configuration, naming the
        field.
      LockedError: if another run is in the directory.
    """
    path = config.run_dir or default_run_dir(name)
    path.mkdir(parents=True, exist_ok=True)
    with training.lock_directory(path):
        run = Run(name, path, config)
        wanted = plain(config)
        known = read_json(path / "config.json")
        if known is None:
            content = {"experiment": name, "config": wanted, **provenance()}
        else:
            _refuse_another(known, name, wanted, config.may_grow, path)
            content = {**known, "config": wanted}
        if run.is_writer and content != known:
            training.write_json(path / "config.json", content)
        yield run


def plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON values, without the place it is written to.

    Args:
      config: the flags.

    Returns:
      {field: value}.
    """
    fields = dataclasses.asdict(config)
    del fields["run_dir"]
    convert = lambda v: list(v) if isinstance(v, tuple) else v
    convert_path = lambda v: str(v) if isinstance(v, pathlib.Path) else convert(v)
    return {name: convert_path(value) for name, value in fields.items()}


def identity(config: RunConfig, *, arm: str, seed: int) -> dict[str, Any]:
    """What makes a checkpoint one of this arm: all but what may grow.

    Args:
      config: the flags.
      arm: its name.
      seed: of this repetition.

    Returns:
      JSON values.
    """
    fields = plain(config)
    kept = {name: fields[name] for name in fields if name not in config.may_grow}
    return {**kept, "arm": arm, "seed": seed}


def _refuse_another(
    known: Mapping[str, Any],
    name: str,
    wanted: Mapping[str, Any],
    may_grow: tuple[str, ...],
    path: pathlib.Path,
) -> None:
    if known["experiment"] != name:
        raise RefusedError(
            f"{path} holds a run of {known['experiment']}, not of {name}. Give another "
            "--run-dir."
        )
    fields = known["config"]
    for field in sorted({*fields, *wanted}):
        old, new = fields.get(field), wanted.get(field)
        if old == new:
            continue
        reason = ""
        if field in may_grow:
            if _is_more(old, new):
                if field == "num_steps":
                    _refuse_results_without_steps(path, old, new)
                continue
            reason = ", and only more of it goes on from there"
        elif field == "num_steps":
            reason = ", where its schedules end: with others it is another run"
        raise RefusedError(
            f"{path} holds a run with {field}={old!r}, not {new!r}{reason}. Give the "
            "same flags, or another --run-dir."
        )


def _refuse_results_without_steps(path: pathlib.Path, old: Any, new: Any) -> None:
    """Results of before `num_steps` stood in them would count as those of more."""
    for result in sorted((path / "results").glob("*.json")):
        if "num_steps" not in read_json(result):
            raise RefusedError(
                f"{path} holds a run with num_steps={old!r}, not {new!r}, and "
                f"results/{result.name} does not say of how many steps it is, so that "
                "it would count as finished. Give the same flags, or another --run-dir."
            )


def _is_more(old: Any, new: Any) -> bool:
    return set(old) <= set(new) if isinstance(old, list) else old <= new


def provenance() -> dict[str, Any]:
    """Versions, commit, machine and command, for whoever reads the run later.

    Returns:
      JSON values.
    """
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "devices": [device.device_kind for device in jax.devices()],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def chosen_devices(config: RunConfig) -> list[jax.Device] | None:
    """The devices that `--num-devices` asks for; None for all.

    Args:
      config: the flags.

    Returns:
      The first `num_devices` of all hosts' devices.

    Raises:
      ValueError: if there are fewer.
    """
    if config.num_devices is None:
        return None
    if not 1 <= config.num_devices <= jax.device_count():
        raise ValueError(
            f"`num_devices` (={config.num_devices}) must lie between 1 and the "
            f"{jax.device_count()} there are."
        )
    return jax.devices()[: config.num_devices]


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, and its folder if there is none.

    Args:
      path: of the file.
      content: what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    training.write_bytes(path, content)


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file, or None if there is none.

    Args:
      path: of the file.

    Returns:
      JSON values.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
