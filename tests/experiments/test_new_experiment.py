"""A new experiment is three files: flags and trials, a report, and its command."""

import dataclasses
import functools
import importlib.util
from typing import NamedTuple

import numpy as np
import optax

from experiments.running import arms, feeding, flags, loop, report, results
from xguide_jax import attributions, data, guidance, models, ops


class Measured(NamedTuple):
    loss: float
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class Config(flags.RunConfig):
    num_steps: int = 2
    batch_size: int = 4
    log_every: int = 1
    save_every: int = 2
    arms: tuple[str, ...] = ("unguided", "sgt=0.5@half")


def trials(config):
    few = data.take(data.digits(), np.arange(0, 5000, 200))
    network = models.SmallCNN(num_classes=10)

    def trial(arm, seed):
        batches = feeding.batches_of(few, batch_size=config.batch_size, seed=seed)
        problem = loop.linen_problem(
            network, few.inputs, seed=seed, batch_at=batches, optimizer=optax.sgd(0.1)
        )
        term = guidance.saliency_guided(
            mask_fraction=0.5,
            fill=functools.partial(ops.uniform_range_fill, axes=(1, 2)),
            rank_fn=ops.mean_magnitude,
            score_fn=attributions.target_logit,
        )
        terms = {"sgt": guidance.scale(term, arm.weight)} if arm.weight else {}
        measure = lambda state: Measured(float(state.step), np.array([0.0, np.nan]))
        return loop.Trial(problem, terms, measure)

    return trial


def make_report(found, config):
    columns = [report.mean("loss", lambda m: m.loss), report.speed()]
    tables = {"Loss": report.table(columns, found)}
    return report.Report("New", "A new one.", [], tables, {}, {}, {"loss": "loss"})


GRAMMAR = arms.Grammar(unguided=("unguided",), terms=("sgt",))
EXPERIMENT = loop.Experiment(
    "new", "Is it short?", "seconds", Config, lambda config: None, GRAMMAR, trials,
    Measured, make_report,
)  # fmt: skip


def test_a_new_experiment_runs_and_its_records_come_back(tmp_path):
    has_board = importlib.util.find_spec("tensorboardX") is not None
    config = Config(run_dir=tmp_path, tensorboard=has_board)
    loop.run_experiment(EXPERIMENT, config)
    (arm,) = arms.read_arms(config.arms[1:], GRAMMAR)
    assert arm == ("sgt=0.5@half", "sgt", 0.5, "half")
    run = loop.directory.Run("new", tmp_path, config)
    found = results.load_result(run, arm, 0, Measured)
    assert found.arm == arm
    assert found.measured.loss == 2
    np.testing.assert_array_equal(found.measured.rows, [0.0, np.nan])
    assert (tmp_path / "report.html").exists()
    if has_board:  # an extra
        event = lambda name: b"".join(
            path.read_bytes() for path in (tmp_path / "tensorboard" / name).iterdir()
        )
        for tag in (b"task", b"sgt", b"gradient_norm"):
            assert tag in event("sgt=0.5@half-0")
        assert b"sgt" not in event("unguided-0")
        assert b"training" in event("report")
        assert b"PNG" in event("report")
