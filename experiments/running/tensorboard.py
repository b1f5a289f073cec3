"""The log's numbers and the report's figures for TensorBoard, where it is asked for."""

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.running import directory


def check(wanted: bool) -> None:
    """Refuses `--tensorboard` where tensorboardX is not installed.

    Args:
      wanted: the flag.

    Raises:
      ValueError: saying what to install.
    """
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "--tensorboard needs tensorboardX: install xguide_jax[tensorboard]."
        )


@contextlib.contextmanager
def writer(run: directory.Run, name: str) -> Iterator[Any]:
    """What writes to <run>/tensorboard/<name>.

    Args:
      run: the open run.
      name: of the arm and seed, or of the report.

    Yields:
      A `tensorboardX.SummaryWriter`; None where the flag is not set, and on processes
      that write nothing.
    """
    if not (run.config.tensorboard and run.is_writer):
        yield None
        return
    import tensorboardX

    with tensorboardX.SummaryWriter(str(run.path / "tensorboard" / name)) as board:
        yield board


def add_scalars(board: Any, record: Mapping[str, Any]) -> None:
    """The numbers of one record of the log.

    Args:
      board: of `writer`; nothing is done with None.
      record: as `training.fit` logs it, 'step' among it.
    """
    if board is None:
        return
    for name, value in record.items():
        if name != "step":
            board.add_scalar(name, float(value), int(record["step"]))
