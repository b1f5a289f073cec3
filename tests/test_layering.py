"""Who may import whom, and where devices, networks and constants are decided."""

import ast
import importlib
import pathlib

import pytest

import xguide_jax

PACKAGE = pathlib.Path(xguide_jax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
SUBPACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# Each sees these and itself, no more; `test_nothing_is_allowed_that_nobody_needs` keeps
# the table from growing wider than the code.
MODULES = {"deprecating", "files", "intervals", "types"}
ALLOWED = {
    "types": set(),
    "deprecating": set(),
    "files": set(),
    "intervals": set(),
    "ops": {"types"},
    "attributions": {"types", "ops"},
    "losses": {"types", "ops"},
    "metrics": {"types", "ops"},
    "guidance": {"types", "ops", "attributions", "losses"},
    "evaluation": {
        *("types", "ops", "attributions", "metrics", "intervals", "tables"),
        "reporting",  # where a figure or a page is asked for, inside the function
    },
    "tables": set(),
    "training": {"types", "ops"},
    "models": {"types", "ops"},
    "data": set(),
    "reporting": {"files", "intervals", "tables"},
    "testing": {"types", "ops", "training"},
}
PLANNED = {"evaluation"} - set(SUBPACKAGES)


def part(path):
    """The subpackage of a file, or the name of a module beside them."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """The absolute names a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def names_used(path):
    """Every name, attribute and imported name in the code, comments left out."""
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            used |= {piece for a in node.names for piece in a.name.split(".")}
    return used


def identify(path):
    return str(path.relative_to(PACKAGE))


def test_every_part_has_its_place():
    parts = {part(path) for path in FILES if path.parent != PACKAGE}
    assert parts | MODULES | PLANNED == set(ALLOWED)
    modules = {path.stem for path in FILES if path.parent == PACKAGE}
    assert modules == {"__init__"} | MODULES


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_a_part_imports_only_what_is_left_of_it(path):
    own = part(path)
    # Old names may stand anywhere, for one release.
    allowed = ALLOWED.get(own, set()) | {own, "deprecating"}
    for name in imports(path):
        top, *rest = name.split(".")
        assert top not in ("experiments", "tests"), name
        if top == "xguide_jax":
            assert set(rest[:1]) & allowed, f"{own} must not import {name}"


@pytest.mark.parametrize("own", sorted(set(ALLOWED) - PLANNED))
def test_nothing_is_allowed_that_nobody_needs(own):
    names = {name for path in FILES if part(path) == own for name in imports(path)}
    needed = {name.split(".")[1] for name in names if name.startswith("xguide_jax.")}
    assert ALLOWED[own] <= needed


def test_training_knows_no_method():
    assert ALLOWED["training"] == {"types", "ops"}
    assert "training" not in ALLOWED["guidance"]


def test_only_who_composes_decides_what_is_constant():
    """A search of the text: docstrings say "hold it constant" as well."""
    # This one reads programs and knows the primitive by its name; it never calls it.
    reader = PACKAGE / "attributions" / "propagation" / "graph.py"
    assert "stop_gradient" not in names_used(reader)
    files = [path for path in FILES if path != reader]
    found = {part(path) for path in files if "stop_gradient" in path.read_text()}
    assert found == {"guidance"} or found == {"guidance", "training"}


def test_only_one_module_knows_of_devices():
    lifting = {"pmap", "shard_map", "Mesh", "NamedSharding"}
    found = {identify(path) for path in FILES if lifting & names_used(path)}
    assert found == {"training/parallel.py"}


def test_only_models_know_a_network_library():
    def uses_flax(path):
        return any(name.split(".")[0] == "flax" for name in imports(path))

    assert {part(path) for path in FILES if uses_flax(path)} == {"models"}


def test_nothing_is_read_from_the_environment():
    found = {"environ", "getenv"}
    assert not [identify(path) for path in FILES if found & names_used(path)]


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_a_subpackage_says_what_it_offers(name):
    """`__all__` is sorted, names all that `__init__` imports, and nothing else."""
    path = PACKAGE / name / "__init__.py"
    module = importlib.import_module(f"xguide_jax.{name}")
    assert module.__doc__
    used = {name.rsplit(".", 1)[1] for name in imports(path)}
    imported = used - {"__getattr__", "deprecating"}
    assert set(module.__all__) == imported
    kind = lambda n: 0 if n.isupper() else 1 if n[0].isupper() else 2
    assert list(module.__all__) == sorted(module.__all__, key=lambda n: (kind(n), n))
    assert not any(n.startswith("_") for n in module.__all__)
