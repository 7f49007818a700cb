"""Every key of the yaml is read, and every stage is called by what it reads."""

import ast
from pathlib import Path

import pytest
import yaml

from recbole_prorec.registry import MODELS, properties_file

PACKAGE = Path(__file__).parents[1] / "recbole_prorec"
READ_BY_RECBOLE = {"loss_type", "train_neg_sample_args", "epochs", "stopping_step", "learning_rate", "train_batch_size", "eval_batch_size",
                   "weight_decay", "learner", "clip_grad_norm", "eval_step", "MAX_ITEM_LIST_LENGTH"}
READ_BY_COMPOSED_NAME = {f"{part}_{rest}" for parts, rests in (
    (("alignment",), ("epochs", "learning_rate", "stopping_step")), (("alignment", "distillation"), ("weight",)),
) for part in parts for rest in rests}


def names_looked_up():
    """The constant x of every config[x] or settings[x] in the package."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                yield node.slice.value


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_key_of_the_yaml_is_read(model):
    keys = yaml.safe_load(properties_file("model", model).read_text("utf-8")).keys()
    assert not keys - set(names_looked_up()) - READ_BY_RECBOLE - READ_BY_COMPOSED_NAME


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_key_of_the_yaml_says_its_type_and_meaning(model):
    for line in properties_file("model", model).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            assert "  # (" in line, line
