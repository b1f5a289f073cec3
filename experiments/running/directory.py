"""The directory of a run: who may open it, what it holds, and when it goes on.

It holds
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
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import safetensors.numpy

from experiments.running import flags
from xguide_jax import files, training
from xguide_jax.types import TrainState

C = TypeVar("C", bound=flags.RunConfig)
VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")
# Of results: 2 keeps records; 1, which config.json did not name, kept path-like keys.
FORMAT = 2


class Run(NamedTuple):
    """An opened run directory."""

    name: str
    path: pathlib.Path
    config: flags.RunConfig

    @property
    def is_writer(self) -> bool:
        """Whether this process writes logs, results and the report."""
        return jax.process_index() == 0

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return range(self.config.seed, self.config.seed + self.config.seeds)


def default_run_dir(name: str) -> pathlib.Path:
    """Where a run goes that is not told where.

    Args:
      name: the experiment's.

    Returns:
      runs/<name>-<time>.
    """
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"{name}-{now}"


@contextlib.contextmanager
def open_run(config: flags.RunConfig, *, name: str) -> Iterator[Run]:
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
            content = {
                "experiment": name,
                "format": FORMAT,
                "config": wanted,
                **_provenance(),
            }
        else:
            _refuse_another(known, name, wanted, config.may_grow, path)
            content = {**known, "config": wanted}
        if run.is_writer and content != known:
            files.write_json(path / "config.json", content)
        yield run


def plain(config: flags.RunConfig) -> dict[str, Any]:
    """The configuration as JSON values, without what is beside the numbers.

    Args:
      config: the flags.

    Returns:
      {field: value}.
    """
    fields = dataclasses.asdict(config)
    fields = {name: fields[name] for name in fields if name not in config.beside}
    convert = lambda v: list(v) if isinstance(v, tuple) else v
    convert_path = lambda v: str(v) if isinstance(v, pathlib.Path) else convert(v)
    return {name: convert_path(value) for name, value in fields.items()}


def name_of(path: pathlib.Path) -> str:
    """The experiment that a directory holds a run of.

    Args:
      path: of the directory.

    Returns:
      Its name.

    Raises:
      RefusedError: if there is no run.
    """
    known = read_json(path / "config.json")
    if known is None:
        raise flags.RefusedError(f"{path} holds no run: it has no config.json.")
    return known["experiment"]


def config_of(path: pathlib.Path, form: type[C]) -> C:
    """The flags that a run was asked for with: what `plain` made, read.

    Args:
      path: of the run's directory.
      form: the type of the experiment's flags.

    Returns:
      The flags, `run_dir` the path.

    Raises:
      RefusedError: if they are not those of this version, naming them.
    """
    fields = read_json(path / "config.json")["config"]
    known = {field.name for field in dataclasses.fields(form)} - set(form.beside)
    if strange := sorted(fields.keys() ^ known):
        raise flags.RefusedError(
            f"{path} was begun by another version: {strange} are flags of one only."
        )
    convert = lambda v: tuple(v) if isinstance(v, list) else v
    values: Any = {name: convert(value) for name, value in fields.items()}
    if values.get("data_dir"):
        values["data_dir"] = pathlib.Path(values["data_dir"])
    return form(run_dir=path, **values)


def identity(config: flags.RunConfig, *, arm: str, seed: int) -> dict[str, Any]:
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


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, and its folder if there is none.

    Args:
      path: of the file.
      content: what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file, or None if there is none.

    Args:
      path: of the file.

    Returns:
      JSON values.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_model(path: pathlib.Path, state: TrainState) -> None:
    """The network's weights as safetensors, readable without this library.

    Args:
      path: of the file.
      state: the trained state; guidance parameters are left out.
    """
    names = jax.tree_util.tree_leaves_with_path(
        {"params": state.params["model"], "model_state": state.model_state}
    )
    arrays = {
        jax.tree_util.keystr(name, simple=True, separator="."): np.asarray(leaf)
        for name, leaf in names
    }
    write_bytes(path, safetensors.numpy.save(arrays))


def _refuse_another(
    known: Mapping[str, Any],
    name: str,
    wanted: Mapping[str, Any],
    may_grow: tuple[str, ...],
    path: pathlib.Path,
) -> None:
    if known["experiment"] != name:
        raise flags.RefusedError(
            f"{path} holds a run of {known['experiment']}, not of {name}. Give another "
            "--run-dir."
        )
    if known.get("format") != FORMAT:
        raise flags.RefusedError(
            f"{path} holds a run of another form ({known.get('format', 1)}, not "
            f"{FORMAT}), begun at commit {known.get('commit')}. Go on with that "
            "version, or give another --run-dir."
        )
    fields = known["config"]
    for field in sorted({*fields, *wanted}):
        old, new = fields.get(field), wanted.get(field)
        if old == new:
            continue
        reason = ""
        if field in may_grow:
            if _is_more(old, new):
                continue
            reason = ", and only more of it goes on from there"
        elif field == "num_steps":
            reason = ", where its schedules end: with others it is another run"
        raise flags.RefusedError(
            f"{path} holds a run with {field}={old!r}, not {new!r}{reason}. Give the "
            "same flags, or another --run-dir."
        )


def _is_more(old: Any, new: Any) -> bool:
    return set(old) <= set(new) if isinstance(old, list) else old <= new


def _provenance() -> dict[str, Any]:
    """Versions, commit, machine and command, for whoever reads the run later."""
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
