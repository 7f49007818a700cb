"""The floors hold: a floor imports only from floors to its left, and RecBole is imported at the rim alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recbole_prorec"
FLOORS = ["nn", "data", "text", "tokenizer", "generation", "model", "inference", "serve", "trainer", "report",
          "known_settings", "quick_start", "compare", "cold_start", "command"]
ROOTS = {"errors": set(), "import_hooks": set(), "artifacts": {"errors"}, "compat": {"import_hooks"},
         "registry": {"errors", "import_hooks"}}
RIM = {"data", "model", "trainer", "report", "compat", "registry", "known_settings", "quick_start", "compare", "cold_start"}


def imports(source):
    """Dotted names of all modules that a source text imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def allowed(floor):
    if floor in ROOTS:
        return ROOTS[floor]
    return {*ROOTS, *FLOORS[: FLOORS.index(floor) + 1]}


def violations(floor, source):
    for name in imports(source):
        parts = [*name.split("."), "quick_start"]  # the bare package is as much as its rightmost part
        if name.startswith("."):
            yield f"{name} is relative"
        elif parts[0] == "recbole_prorec" and parts[1] not in allowed(floor):
            yield name
        elif parts[0] == "recbole" and floor not in RIM:
            yield name


def floors_of_files():
    for file in sorted(PACKAGE.rglob("*.py")):
        floor = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if floor not in ("__init__", "__main__"):
            yield file, floor


def test_every_file_stands_on_a_known_floor():
    assert {floor for _, floor in floors_of_files()} <= {*FLOORS, *ROOTS}


def test_floors_import_only_what_is_left_of_them():
    broken = {file.relative_to(PACKAGE): list(violations(floor, file.read_text("utf-8"))) for file, floor in floors_of_files()}
    assert not {file: names for file, names in broken.items() if names}


@pytest.mark.parametrize("floor, line", [
    ("text", "from recbole_prorec.tokenizer.alignment import x"), ("text", "import recbole_prorec.model"),
    ("errors", "import recbole_prorec.data"), ("generation", "from recbole.utils import InputType"),
    ("tokenizer", "def f():\n    import recbole"), ("model", "from . import prorec"), ("text", "from recbole_prorec import trainer"),
    ("model", "import recbole_prorec"),
])
def test_an_import_in_the_wrong_direction_is_seen(floor, line):
    assert list(violations(floor, line))
