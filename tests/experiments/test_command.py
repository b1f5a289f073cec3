"""An experiment as a process: what it refuses, and what a signal leaves."""

import os
import pathlib
import runpy
import shlex
import signal
import subprocess
import sys
import time
import typing

import pytest

from experiments import __main__ as listing
from experiments.running import command, directory, flags, loop, tensorboard
from xguide_jax import files, training

LISTED = listing.listed()
EXPERIMENTS = {each.name: each for each in LISTED if isinstance(each, loop.Experiment)}


def call(monkeypatch, name, *arguments, run=None):
    """What the command does, without a process: its exit status."""
    experiment = EXPERIMENTS[name]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    run = run or (lambda config: pytest.fail("was begun"))
    monkeypatch.setattr(loop, "run_experiment", lambda experiment, config: run(config))
    with pytest.raises(SystemExit) as ended:
        command.main(experiment)
    return ended.value.code


REFUSED = [
    (("--num-steps", "0"), "`num_steps` (=0) must be at least 1."),
    (("--seeds", "0"), "`seeds` (=0) must be at least 1."),
    (("--seed", "-1"), "`seed` (=-1) must be at least 0."),
    (("--batch-size", "0"), "`batch_size` (=0) must be at least 1."),
    (("--log-every", "0"), "`log_every` (=0) must be at least 1."),
    (("--save-every", "0"), "`save_every` (=0) must be at least 1."),
    (("--save-every", "7"), "`save_every` (=7) must be a multiple of `log_every`"),
    (("--num-devices", "0"), "`num_devices` (=0) must lie between 1 and"),
    (("--arms",), "`arms` (=()) must name at least one arm."),
    (("--arms", "sgned"), "`arms` holds 'sgned'; there are"),
    (("--arms", "unguided", "unguided"), "`arms` holds 'unguided' 2 times."),
    (("--learning-rate", "0"), "`learning_rate` (=0.0) must be positive and finite."),
    (("--learning-rate", "nan"), "`learning_rate` (=nan) must be positive and"),
    (("--num-evaluated", "0"), "`num_evaluated` (=0) must be at least"),
    (("--num-points", "0"), "`num_points` (=0) must be at least 1."),
]
OF_DIGITS = (
    ("--dataset", "mnist10k"),
    "mnist10k needs --data-dir or $XGUIDE_DATA.",
)


def takes_digits(name):
    """Whether the experiment has the set: those of texts and series have others."""
    kinds = typing.get_type_hints(EXPERIMENTS[name].config).get("dataset")
    return "mnist10k" in typing.get_args(kinds)


REFUSED_BY_ONE = [
    ("region_guidance", ("--rho", "1.5"), "`rho` (=1.5) must lie in [0, 1]."),
    ("region_guidance", ("--warmup", "nan"), "`warmup` (=nan) must lie in [0, 1]."),
    (
        "region_guidance",
        ("--image-size", "30"),
        "`image_size` (=30) must be a pos",
    ),
    ("region_guidance", ("--arms", "l1_cam=x"), "'l1_cam=x', whose weight (=x) must"),
    ("region_guidance", ("--arms", "l1_cam=nan"), "whose weight (=nan) must be a fin"),
    ("region_guidance", ("--arms", "l1_cam=-1"), "whose weight (=-1) must be a finite"),
    ("region_guidance", ("--arms", "oracle=3"), "'oracle' is not guided, and takes n"),
    ("region_guidance", ("--arms", "unguided@10%"), "'unguided' is not guided, and t"),
    (
        "robust_explanations",
        ("--arms", "haics=inf@none"),
        "whose weight (=inf) must",
    ),
    ("robust_explanations", ("--annotated-share", "0.01"), "(=0.01) is 0 of `batch_si"),
    ("robust_explanations", ("--annotated-share", "1"), "(=1.0) is 32 of `batch_size`"),
    ("robust_explanations", ("--annotated-share", "2"), "(=2.0) must lie in [0, 1]."),
    ("robust_explanations", ("--num-annotated", "7"), "is 8 of `batch_size` (=32) ima"),
    ("robust_explanations", ("--num-annotated", "0"), "(=0) must be at least 1."),
    (
        "saliency_guided_images",
        ("--mask-fraction", "1.1"),
        "(=1.1) must lie in [0, 1]",
    ),
    ("saliency_guided_images", ("--shift", "-1"), "`shift` (=-1) must be at least 0."),
    ("saliency_guided_images", ("--num-draws", "0"), "`num_draws` (=0) must be at lea"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [(name, *case) for name in EXPERIMENTS for case in REFUSED]
    + [(name, *OF_DIGITS) for name in EXPERIMENTS if takes_digits(name)]
    + REFUSED_BY_ONE,
)
def test_flags_that_cannot_be_met_are_refused_at_once(
    name, arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, name, *arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{name}: error: ")
    assert message in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_defaults_are_accepted_and_are_saved_on_the_way(name):
    config = EXPERIMENTS[name].config()
    loop.check(EXPERIMENTS[name], config)
    assert config.save_every <= config.num_steps / 2


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (training.Interrupted(signal.SIGTERM), 143, "stopped by SIGTERM; to go on: "),
        (KeyboardInterrupt(), 130, "stopped by SIGINT; to go on: "),
        (flags.RefusedError("no."), 2, "robust_explanations: error: no.\n"),
        (training.LockedError("in use"), 2, "robust_explanations: error: in use\n"),
        (training.NonFiniteError("a, s"), 1, "robust_explanations: error: a, s\n"),
    ],
)
def test_the_end_of_a_run_is_one_line_and_a_status(
    error, status, told, monkeypatch, capsys
):
    def run(config):
        raise error

    before = signal.getsignal(signal.SIGTERM)
    assert call(monkeypatch, "robust_explanations", run=run) == status
    line = capsys.readouterr().err
    assert line.startswith(told)
    assert line.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_termination_between_trainings_ends_the_run_as_well(monkeypatch, capsys):
    def run(config):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    assert call(monkeypatch, "robust_explanations", run=run) == 143
    assert "to go on: python -m experiments.robust_explanations --run-dir runs/" in (
        capsys.readouterr().err
    )


def test_the_command_that_goes_on_names_the_directory_once():
    config = flags.RunConfig(run_dir=pathlib.Path("a b"))
    go_on = lambda *arguments: command.go_on_command("x", config, list(arguments))
    assert go_on("--seeds", "2") == "python -m experiments.x --seeds 2 --run-dir 'a b'"
    for own in (["--run-dir", "a b"], ["--run-dir=a b"], ["--run_dir", "a b"]):
        assert go_on(*own) == shlex.join(["python", "-m", "experiments.x", *own])


def test_the_list_gives_question_cost_and_command_of_each(capsys):
    listing.main()
    printed = capsys.readouterr().out
    assert {*EXPERIMENTS} >= {
        "region_guidance", "robust_explanations", "saliency_guided_images",
    }  # fmt: skip
    assert len(LISTED) > len(EXPERIMENTS)  # evaluate trains no arms
    for experiment in LISTED:
        assert printed.count(f"  python -m experiments.{experiment.name}\n") == 1
        assert experiment.question in printed
        assert experiment.cost in printed
        assert "on 2 cores" in experiment.cost


@pytest.mark.parametrize("room", ["running", "digits"])
def test_a_room_run_as_a_command_says_that_it_is_none(room):
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"experiments.{room}", run_name="__main__")
    assert ended.value.code == (
        f"experiments.{room} is no command; `python -m experiments` lists them."
    )


def test_every_module_that_is_no_command_says_so():
    for module in ("digits.accuracy", "running.loop", "region_guidance.columns"):
        ended = subprocess.run(
            [sys.executable, "-m", f"experiments.{module}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        assert ended.stderr == (
            f"experiments.{module} is no command; `python -m experiments` lists them.\n"
        )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_tensorboard_is_refused_where_it_is_not_installed(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, name, "--tensorboard") == 2
    assert capsys.readouterr().err == (
        f"{name}: error: --tensorboard needs tensorboardX: install "
        "xguide_jax[tensorboard].\n"
    )
    assert not list(tmp_path.iterdir())


def test_tensorboard_is_given_the_numbers_of_the_log(tmp_path):
    pytest.importorskip("tensorboardX")
    config = flags.RunConfig(run_dir=tmp_path, tensorboard=True)
    with (
        directory.open_run(config, name="x") as run,
        tensorboard.writer(run, "a-0") as board,
    ):
        tensorboard.add_scalars(board, {"step": 1, "task": 0.5})
    assert list((tmp_path / "tensorboard" / "a-0").iterdir())


def test_nothing_is_written_for_tensorboard_unless_it_is_asked_for(tmp_path):
    config = flags.RunConfig(run_dir=tmp_path)
    with (
        directory.open_run(config, name="x") as run,
        tensorboard.writer(run, "a-0") as board,
    ):
        assert board is None
        tensorboard.add_scalars(board, {"step": 1, "task": 0.5})
    assert not (tmp_path / "tensorboard").exists()


ROOT = pathlib.Path(__file__).parents[2]
ENDLESS = (
    "--arms", "unguided", "--num-steps", "1000000", "--log-every", "1",
    "--save-every", "1000000", "--batch-size", "2", "--num-devices", "1",
)  # fmt: skip


def start(arguments):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def until(process, condition):
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    pytest.fail("nothing happened for two minutes")


@pytest.mark.thorough  # whole processes that compile and are signalled, twice
def test_a_run_that_is_told_to_end_goes_on_with_the_command_it_prints(tmp_path):
    log = tmp_path / "metrics.jsonl"
    steps = lambda: [record["step"] for record in files.read_records(log)]
    checkpoints = tmp_path / "checkpoints" / "unguided-0"
    module = ["-m", "experiments.saliency_guided_images"]
    command_line = [*module, *ENDLESS, "--run-dir", str(tmp_path)]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        begun = len(steps())
        process = start(command_line)
        until(process, lambda begun=begun: len(steps()) > begun + 1)
        if not begun:
            second = start(command_line)
            _, told = second.communicate(timeout=120)
            assert second.returncode == 2
            assert f"in use by process {process.pid} on " in told
            assert "Traceback" not in told
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
        assert process.returncode == status
        assert "Traceback" not in told
        # After the progress bar.
        what, _, go_on = told.strip().rpartition("\n")[2].partition("; to go on: ")
        last = steps()[-1]
        assert what.endswith(f"stopped by {number.name} after step {last}")
        # Not a step is lost, and none is taken twice.
        assert (checkpoints / str(last)).is_dir()
        assert steps() == list(range(1, last + 1))
        command_line = shlex.split(go_on)[1:]
    assert not list(tmp_path.rglob(".lock"))
