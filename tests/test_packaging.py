"""The yaml files are found from a checkout, an editable install and a wheel; constraints and requirements agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_prorec import registry

ROOT = Path(__file__).parents[1]
SOURCES = ["recbole_prorec", "properties", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "constraints.txt"]
FIND = "from recbole_prorec import registry as r; print(r.__file__); print(r.properties_file('dataset', 'ml-100k'))"


def test_the_yaml_files_are_found_from_the_checkout():
    assert registry.properties_file("dataset", "ml-100k").is_file()
    assert registry.properties_file("dataset", "no-such-data") is None


@pytest.mark.parametrize("file", sorted((ROOT / "properties").glob("*/*.yaml")), ids=lambda file: file.stem)
def test_every_yaml_file_is_a_commented_mapping(file):
    text = file.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    uncommented = [line for line in text.splitlines() if re.match(r"\w+:", line) and "#" not in line]
    assert not uncommented


def test_every_requirement_has_a_constraint_and_no_constraint_names_a_local_build():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))
    required = re.search(r"install_requires=\[(.*?)\]", (ROOT / "setup.py").read_text(encoding="utf-8"), re.DOTALL)[1]
    names = re.findall(r'^\s*"([\w-]+)', required, re.MULTILINE)
    assert {name.lower() for name in names} <= {name.lower() for name in pinned}
    assert not any("+" in version for version in pinned.values())


@pytest.fixture
def copy(tmp_path):
    """The sources alone, so that a build leaves nothing in the checkout."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tmp_path / "copy")
    return tmp_path / "copy"


def python(folder, *words):
    command = [str(folder / "bin" / "python"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_an_installation_finds_its_yaml_files_and_has_its_command(copy, tmp_path, editable):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python(venv, "-m", "pip", "install", "--quiet", "--no-deps", *(["-e"] if editable else []), str(copy))
    if not editable:
        shutil.rmtree(copy)  # nothing but the installation is left to find
    module, found = python(venv, "-c", FIND).splitlines()
    assert Path(found).is_relative_to(Path(module).parents[1] if editable else Path(module).parent)
    assert (venv / "bin" / "run_recbole").is_file()
