"""A new experiment is three files: flags and trials, a report, and its command."""

import dataclasses
import functools
import importlib.util
import io
from typing import NamedTuple

import numpy as np
import optax

from experiments.running import arms, feeding, flags, loop, report, results, terminal
from xguide_jax import attributions, data, guidance, models, ops, reporting


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
    few = reporting.MarkedText("first", ["It", " holds"], {"unguided": [0.0, 1.0]})
    texts = {"Words": reporting.token_marks([few] * 3)}
    shown = ("A new one.", [], tables, {}, {}, {"loss": "loss"})
    return report.Report("New", *shown, texts=texts)


GRAMMAR = arms.Grammar(unguided=("unguided",), terms=("sgt",))
EXPERIMENT = loop.Experiment(
    "new", "Is it short?", "seconds", Config, lambda config: None, GRAMMAR, trials,
    Measured, make_report,
)  # fmt: skip


def test_a_new_experiment_runs_and_its_records_come_back(tmp_path, capsys, monkeypatch):
    # The programs of the first network are let go before the second is trained.
    cleared = []
    monkeypatch.setattr(loop, "_KEPT_PROGRAMS", 1)
    monkeypatch.setattr(loop.jax, "clear_caches", lambda: cleared.append(1))
    has_board = importlib.util.find_spec("tensorboardX") is not None
    config = Config(run_dir=tmp_path, tensorboard=has_board)
    loop.run_experiment(EXPERIMENT, config)
    assert cleared == [1]
    (arm,) = arms.read_arms(config.arms[1:], GRAMMAR)
    assert arm == ("sgt=0.5@half", "sgt", 0.5, "half")
    run = loop.directory.Run("new", tmp_path, config)
    found = results.load_result(run, arm, 0, Measured)
    assert found.arm == arm
    assert found.measured.loss == 2
    np.testing.assert_array_equal(found.measured.rows, [0.0, np.nan])
    assert ">holds</b>" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "texts.txt").read_text().count("It holds[9]") == 3
    # Two of them in the terminal, which here is none and has no colours.
    printed = capsys.readouterr().out
    assert printed.count("It holds[9]") == 2
    assert "\x1b" not in printed
    if has_board:  # an extra
        event = lambda name: b"".join(
            path.read_bytes() for path in (tmp_path / "tensorboard" / name).iterdir()
        )
        for tag in (b"task", b"sgt", b"gradient_norm"):
            assert tag in event("sgt=0.5@half-0")
        assert b"sgt" not in event("unguided-0")
        assert b"training" in event("report")
        assert b"PNG" in event("report")


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert terminal.has_colour(Terminal())
    assert not terminal.has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "")  # as if it were not there
    assert terminal.has_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.has_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.has_colour(Terminal())
