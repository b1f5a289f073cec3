"""Flips each comparison and sign in the metrics, one at a time: do the tests notice?

Run by hand from the root, not collected by pytest; it takes the time of the matching
tests for every operator:

    python tests/mutate_metrics.py --only xguide_jax/metrics/parity.py

Prints a line for each flip, killed or survived, and ends with status 1 if one survived.
The files stay as they are: each flip is made in a copy of the package.
"""

import argparse
import ast
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("xguide_jax/metrics", "xguide_jax/evaluation")
FLIPS = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.USub: ast.UAdd,
}  # fmt: skip
# Where strict and not strict differ is an edge of its own.
EDGES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
# Tests beside tests/<part>/test_<module>.py.
MORE_TESTS = {
    "masking": ["region_ranking", "patterns"],
    "ordering": ["region_ranking", "patterns"],
    "localisation": ["region_ranking"],
    "overlap": ["localisation", "region_ranking"],
    "evaluated": ["evaluating"],
    "measuring": ["evaluating"],
    "positions": ["evaluating"],
    "presenting": ["evaluating"],
    "result_tables": ["evaluating"],
}


def flips(source):
    """(line, column, what, flipped source), one for each operator."""
    count = sum(1 for _ in _operators(ast.parse(source)))
    for number in range(count):
        for table in (FLIPS, EDGES):
            tree = ast.parse(source)
            node, field, index = list(_operators(tree))[number]
            old = getattr(node, field) if index is None else node.ops[index]
            if type(old) not in table:
                continue
            new = table[type(old)]()
            if index is None:
                setattr(node, field, new)
            else:
                node.ops[index] = new
            what = f"{type(old).__name__} -> {type(new).__name__}"
            yield node.lineno, node.col_offset, what, ast.unparse(tree)


def _operators(tree):
    """(node, field, index) of each comparison and sign outside of annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from ((node, "ops", index) for index in range(len(node.ops)))
        elif type(getattr(node, "op", None)) in FLIPS:
            yield node, "op", None


def matching_tests(path):
    folder = ROOT / "tests" / path.parent.name
    names = [path.stem, *MORE_TESTS.get(path.stem, [])]
    found = [folder / f"test_{name}.py" for name in names]
    return [str(test) for test in found if test.exists()]


def survives(copy, tests):
    # `-I` and the tests' own path would find the package beside the tests.
    code = (
        "import sys, pytest; sys.dont_write_bytecode = True; "
        f"sys.path.insert(0, {str(copy)!r}); "
        f"sys.exit(pytest.main(['-n', '0', '-xq', '--tb=no', "
        f"'-p', 'no:cacheprovider', '--rootdir', {str(ROOT)!r}, *{tests!r}]))"
    )
    try:
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=copy, capture_output=True, timeout=900, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    if run.returncode not in (0, 1, 2):
        raise RuntimeError(run.stdout.decode() + run.stderr.decode())
    return run.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="a file; may be repeated")
    chosen = parser.parse_args().only
    paths = chosen or [str(p) for f in FOLDERS for p in sorted((ROOT / f).glob("*.py"))]
    survived = total = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "xguide_jax", copy / "xguide_jax")
        for path in map(pathlib.Path, paths):
            path = (ROOT / path).relative_to(ROOT)
            source, tests = (ROOT / path).read_text(), matching_tests(path)
            mutable = any(True for _ in flips(source))
            if mutable and not (tests and survives(copy, tests)):
                raise SystemExit(f"{path}: no matching test that passes as it is")
            for line, column, what, flipped in flips(source):
                (copy / path).write_text(flipped)
                alive = survives(copy, tests)
                total, survived = total + 1, survived + alive
                state = "SURVIVED" if alive else "killed"
                print(f"{state:8} {path}:{line}:{column} {what}", flush=True)
            (copy / path).write_text(source)
    print(f"{total - survived} of {total} killed, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
