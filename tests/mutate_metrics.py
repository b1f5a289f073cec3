"""Flips each comparison and sign in the metrics, one at a time: do the tests notice?

Run by hand from the root, not collected by pytest; a second or two for every operator:

    python tests/mutate_metrics.py --only xguide_jax/metrics/parity.py

A −1 that says "the last axis" or "what is left" is no sign, and stays: in an array
[B, n] it is the same as 1. Prints a line for each flip that survives and a count for
each file, and ends with status 1 if one survived that `EXPLAINED` does not name. The
files stay as they are: each flip is made in a copy of the package.
"""

import argparse
import ast
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

# The parent holds what every child needs but for the package: before JAX is imported,
# as in conftest.py.
os.environ["JAX_PLATFORMS"] = "cpu"
import chex  # noqa: F401
import hypothesis  # noqa: F401
import optax  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
from flax import linen  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("xguide_jax/metrics", "xguide_jax/metrics/text", "xguide_jax/evaluation")
SECONDS = 300  # a child that takes longer hangs, and so is killed
FLIPS = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.USub: ast.UAdd,
}  # fmt: skip
# Where strict and not strict differ is an edge of its own.
EDGES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
# Tests of tests/<part>/ beside test_<module>.py, in this order.
MORE_TESTS = {
    "masking": ["region_ranking", "patterns"],
    "ordering": ["region_ranking", "patterns"],
    "localisation": ["region_ranking"],
    "overlap": ["localisation", "region_ranking"],
    "removing": ["faithfulness", "both_orders", "erasure", "road", "sensitivity_n"],
    "both_orders": ["faithfulness"],
    "road": ["faithfulness"],
    "evaluated": ["evaluating"],
    "measuring": ["evaluating"],
    "positions": ["evaluating"],
    "presenting": ["evaluating"],
    "result_tables": ["evaluating"],
}
# {(file, the line, the flip): why no test can tell, or need not}
_ATTACKS = "xguide_jax/metrics/attacks.py"
EXPLAINED = {
    (
        _ATTACKS,
        "return jnp.clip(wide + sigma * noise, low, high).astype(inputs.dtype)",
        "wide + sigma * noise -> wide - sigma * noise",
    ): "The noise is symmetric: another draw of the same.",
    (
        _ATTACKS,
        "moved = wide + draws(ops.example_keys(key, len(wide))).astype(wide.dtype)",
        "wide + draws(ops.example_keys(key, len(wide))).astype(wide.dtype) -> "
        "wide - draws(ops.example_keys(key, len(wide))).astype(wide.dtype)",
    ): "The start is symmetric: another draw of the same.",
    (
        "xguide_jax/metrics/both_orders.py",
        "where = (number, first, last) if some else (last > first,)",
        "last > first -> last <= first",
    ): "The name under which a reading is kept: the two names change places.",
    (
        "xguide_jax/metrics/randomisation.py",
        "others = (targets + jax.vmap(draw)(keys)) % num_classes",
        "targets + jax.vmap(draw)(keys) -> targets - jax.vmap(draw)(keys)",
    ): "Uniform over the other classes either way.",
    (
        "xguide_jax/metrics/rationale.py",
        "match = (both > 0) & (both >= (iou_threshold - _ROUNDING) * either)",
        "both >= (iou_threshold - _ROUNDING) * either -> "
        "both > (iou_threshold - _ROUNDING) * either",
    ): "The limit lies a rounding below every share of two counts.",
    (
        "xguide_jax/metrics/rationale.py",
        "f1 = _quotient(2 * known * recall, known + recall, num_true > 0)",
        "num_true > 0 -> num_true >= 0",
    ): "Where nothing is marked the recall is NaN, and so is the sum.",
    (
        "xguide_jax/metrics/mass.py",
        "last = jnp.sum(held[:, None] < wanted[..., None], axis=-1, dtype=jnp.int32)",
        "held[:, None] < wanted[..., None] -> held[:, None] <= wanted[..., None]",
    ): "What is wanted lies a millionth below every share that sums can hold.",
    (
        "xguide_jax/metrics/mass.py",
        "defined = (total > 0) & (total < jnp.inf) & "
        "(jnp.sum(inside, -1, keepdims=True) > 0)",
        "total < jnp.inf -> total <= jnp.inf",
    ): "Of an endless mass both quotients are NaN.",
    (
        "xguide_jax/metrics/mass.py",
        "defined = (total > 0) & (total < jnp.inf) & "
        "(jnp.sum(inside, -1, keepdims=True) > 0)",
        "-1 -> +1",
    ): "In [B, n] the last axis is axis 1.",
    (
        "xguide_jax/evaluation/chunking.py",
        "if len(sizes) != 1 or sizes <= {(), (0,)}:",
        "sizes <= {(), (0,)} -> sizes < {(), (0,)}",
    ): "Of one element, it is no more than a part of two.",
}


def flips(source):
    """(line, what, flipped source), one for each operator."""
    count = sum(1 for _ in _operators(ast.parse(source)))
    for number in range(count):
        for table in (FLIPS, EDGES):
            tree = ast.parse(source)
            node, field, index = list(_operators(tree))[number]
            old = getattr(node, field) if index is None else node.ops[index]
            if type(old) not in table:
                continue
            new = table[type(old)]()
            text = ast.unparse(node)
            if index is None:
                setattr(node, field, new)
            else:
                node.ops[index] = new
            yield node.lineno, f"{text} -> {ast.unparse(node)}", ast.unparse(tree)


def _operators(tree):
    """(node, field, index) of each comparison and sign."""
    axes = _axes(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from ((node, "ops", index) for index in range(len(node.ops)))
        elif type(getattr(node, "op", None)) in FLIPS and node not in axes:
            yield node, "op", None


def _axes(tree):
    """The numbers in `axis=-1`, `x.shape[-1]` and `x.reshape(-1, 2)`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "axis":
            found.add(node.value)
        elif isinstance(node, ast.Subscript):
            if getattr(node.value, "attr", None) == "shape":
                found.add(node.slice)
        elif getattr(getattr(node, "func", None), "attr", None) == "reshape":
            found |= set(node.args)
    return {each for each in found if isinstance(each, ast.UnaryOp)}


def matching_tests(path):
    folder = ROOT / "tests" / path.parts[1]
    # The files of a subpackage share the test of its name.
    names = [path.stem, *path.parts[2:-1], *MORE_TESTS.get(path.stem, [])]
    found = [folder / f"test_{name}.py" for name in names]
    return [str(test) for test in found if test.exists()]


class _KillersFirst:
    """A pytest plugin: what found the last flips of a file is likely to find the next.

    Attributes:
      killers: names of tests, the likeliest first.
      found: the file in which the test is named that failed.
    """

    def __init__(self, killers, found):
        self.killers, self.found = killers, found

    def pytest_collection_modifyitems(self, items):
        place = {name: number for number, name in enumerate(self.killers)}
        items.sort(key=lambda item: place.get(item.nodeid, len(place)))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.found.write_text(report.nodeid)


def survives(copy, tests, killers):
    """Whether the tests pass; a test that fails moves to the front of `killers`."""
    found, log = copy / "found.txt", copy / "log.txt"
    found.write_text("")
    child = os.fork()
    if not child:
        _test(copy, tests, _KillersFirst(killers, found), log)
    _, status = os.waitpid(child, 0)
    if killer := found.read_text():
        killers[:] = [killer, *(name for name in killers if name != killer)]
    code = os.waitstatus_to_exitcode(status)
    if code > 2:
        raise RuntimeError(log.read_text())
    return code == 0


def _test(copy, tests, plugin, log):
    """Runs the tests on the copy in this process, and ends it."""
    signal.alarm(SECONDS)
    sys.dont_write_bytecode = True
    # `PYTHONPATH` and the tests' own path would find the package beside the tests.
    sys.path.insert(0, str(copy))
    os.chdir(copy)
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    options = ["-n", "0", "-xq", "--tb=line", "-p", "no:cacheprovider"]
    code = pytest.main([*options, "--rootdir", str(ROOT), *tests], plugins=[plugin])
    sys.stdout.flush()
    os._exit(code)


def mutate(copy, path):
    """(killed, explained, survived) flips of one file."""
    source, tests = (ROOT / path).read_text(), matching_tests(path)
    every, killers = list(flips(source)), []
    if every and not (tests and survives(copy, tests, killers)):
        raise SystemExit(f"{path}: no matching test that passes as it is")
    counts = {"killed": 0, "explained": 0, "SURVIVED": 0}
    start = time.monotonic()
    for line, what, flipped in every:
        (copy / path).write_text(flipped)
        text = source.splitlines()[line - 1].strip()
        explained = (str(path), text, what) in EXPLAINED
        alive = survives(copy, tests, killers)
        state = ("explained" if explained else "SURVIVED") if alive else "killed"
        counts[state] += 1
        if alive or explained:
            print(f"{state:9} {path}:{line}: {what}    in: {text}", flush=True)
    (copy / path).write_text(source)
    seconds = time.monotonic() - start
    print(f"{path}: {counts} of {len(every)}, {seconds:.0f} s", flush=True)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="a file; may be repeated")
    chosen = parser.parse_args().only
    paths = chosen or [str(p) for f in FOLDERS for p in sorted((ROOT / f).glob("*.py"))]
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "xguide_jax", copy / "xguide_jax")
        found = [
            mutate(copy, (ROOT / path).relative_to(ROOT))
            for path in map(pathlib.Path, paths)
        ]
    total = {state: sum(each[state] for each in found) for state in found[0]}
    print(f"{total} of {sum(total.values())}")
    return 1 if total["SURVIVED"] else 0


if __name__ == "__main__":
    sys.exit(main())
