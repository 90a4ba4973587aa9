"""Recipes: read with the values that the standard library finds, or refused; and what they mean is estimated."""

import json
import tomllib
from pathlib import Path

import pytest
from attack import STEERING, attack, example, few_and_many
from hypothesis import given, settings
from hypothesis import strategies as st
from mutation import ODD_VALUES, mutated

from bertsmith.cli.answers import print_estimate
from bertsmith.config.loading import MAX_NUMBER, apply_overrides, load, to_dict, to_toml
from bertsmith.config.schema import keys_of
from bertsmith.errors import UserError
from bertsmith.planning.estimate import estimate
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.text.prepare import PrepareRecipe
from bertsmith.training.recipe import PretrainRecipe

CONTENT = """# A recipe of many settings.
data = "no such folder"
batch_size = 4
seed = 7

[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4

[objective]
kind = "mlm"

[rows]
length = 32

[plan]
tokens = 100000
log_steps = 0x10

[schedule]
learning_rate = 1e-4

[[stages]]
tokens = 5000
batch_size = 2
length = 16
"""


def read(folder: Path) -> None:
    path = folder / "recipe.toml"
    found = load(PretrainRecipe, "pretrain", str(path)).settings
    said, meant = tomllib.loads(path.read_text(encoding="utf-8-sig")), to_dict(found)
    for key in ("data", "batch_size", "seed"):
        assert key not in said or said[key] == meant[key]
    assert to_dict(apply_overrides(PretrainRecipe, tomllib.loads(to_toml(found)), ()).settings) == meant


@few_and_many
def test_bytes(examples: int, tmp_path: Path):
    original = example(tmp_path, {"recipe.toml": CONTENT})
    attack(mutated(CONTENT.encode()), examples, original, "recipe.toml", read, tmp_path)


@pytest.mark.parametrize(
    "override",
    ["plan.steps=1000000000", "plan.hours=1000000", "plan.tokens=1000000000000", "batch_size=1000000000",
     "model.hidden_size=64 model.num_attention_heads=64", "schedule.learning_rate=1e15"],
)  # fmt: skip
def test_the_largest_numbers_are_planned_with(tmp_path: Path, override: str):
    print_estimate(estimate("bert-tiny", override.split()))


VALUES = [*map(json.dumps, ODD_VALUES), "9" * 5000, "0x" + "f" * 5000, "-1", "1e308", "1e999", "inf", "nan",
          "[" * 3000, "1979-05-27", "'" + "a" * 9000, "\x1b[2J", "caf\udce9", "true", "{a=1}", "[[1]]",
          str(MAX_NUMBER)]  # fmt: skip


@pytest.mark.parametrize("cls", [PretrainRecipe, FinetuneRecipe, PrepareRecipe], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("examples", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_odd_values_on_the_command_line_are_taken_or_refused_in_few_words(cls: type, examples: int):
    needed = {"data": "d", "model": "m", "task": "custom", "corpus": "c", "vocab": "v", "layout": "text"}
    keys = list(keys_of(cls))

    @settings(max_examples=examples, derandomize=True, database=None)
    @given(st.sampled_from(keys), st.sampled_from(VALUES) | st.text(max_size=20))
    def attempt(key: str, text: str) -> None:
        given_first = [f"{name}={value}" for name, value in needed.items() if name in keys]
        try:
            apply_overrides(cls, {}, [*given_first, f"{key}={text}"])
        except UserError as error:
            message = str(error)
            assert message.count("\n") <= 2 and not STEERING.search(message), message
            assert all(len(line) <= 600 for line in message.split("\n")), message

    attempt()
