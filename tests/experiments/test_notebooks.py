"""The notebooks run from top to bottom as they are, and show what they did."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

from xguide_jax import models

FOLDER = pathlib.Path(__file__).parents[2] / "experiments" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def kinds(notebook):
    """What every code cell puts out: 'stream' or a type of data."""
    return [
        [
            kind
            for output in cell.outputs
            for kind in (
                # 'text/plain' stands beside every picture.
                ["image/png"]
                if "image/png" in output.get("data", {})
                else output.get("data", {output.output_type: None})
            )
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.thorough  # a kernel each, which compiles and trains like a reader's
@each_notebook
def test_runs_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if any("packaged_minilm" in cell.source for cell in notebook.cells):
        try:
            models.packaged_minilm()
        except ImportError as error:
            pytest.skip(str(error))
    stored = [set(cell) for cell in kinds(notebook)]
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},  # as in a reader's own server
    ).execute()
    assert [set(cell) - {"stderr"} for cell in kinds(notebook)] == stored


@each_notebook
def test_a_reader_sees_results_and_pictures_without_running_it(path):
    notebook = nbformat.read(path, as_version=4)
    shown = [kind for cell in kinds(notebook) for kind in cell]
    assert "image/png" in shown
    assert "stream" in shown
    assert path.stat().st_size < 150_000  # pictures at the resolution of a screen


def test_there_are_notebooks():
    expected = {
        "custom_term", "evaluate_maps", "fine_tune_text", "give_it_a_voice",
        "guide_your_model", "guide_your_photographs", "guide_your_series",
        "photographs_in_your_loop",
    }  # fmt: skip
    assert expected <= {path.stem for path in PATHS}
