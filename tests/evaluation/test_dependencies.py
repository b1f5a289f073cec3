"""Measuring needs no plotting library."""

import ast
import pathlib
import subprocess
import sys

from xguide_jax import evaluation

FOLDER = pathlib.Path(evaluation.__file__).parent


def test_it_is_imported_where_the_extras_are_not_installed():
    code = (
        "import sys\n"
        "for name in ('matplotlib', 'jinja2', 'PIL', 'tyro', 'safetensors'):\n"
        "    sys.modules[name] = None  # importing it is an ImportError\n"
        "from xguide_jax import evaluation\n"
        "assert not {'flax', 'optax', 'orbax'} & set(sys.modules)\n"
        "print(evaluation.paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 4.0]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("+1.667 [+0.232, +3.101]")


def test_results_are_records_and_no_key_is_a_path():
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                assert not any(isinstance(key, ast.JoinedStr) for key in node.keys)
            if isinstance(node, ast.Subscript):
                assert not isinstance(node.slice, ast.JoinedStr)
