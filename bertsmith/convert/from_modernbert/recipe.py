"""A YAML file of ModernBERT's pre-training → the text of a recipe, a TOML file."""

from pathlib import Path

from bertsmith.convert.from_modernbert.network import read_network
from bertsmith.convert.from_modernbert.training import read_training
from bertsmith.convert.from_modernbert.yaml_file import YamlSettings
from bertsmith.convert.recipe_file import Draft, Written
from bertsmith.errors import UserError


def recipe_from_modernbert(path: str) -> Written:
    """Return the recipe for a YAML file of AnswerDotAI/ModernBERT's main.py.

    Raises:
        UserError: it cannot be read, its network is of a kind that is not here, or a value is impossible.
    """
    given, draft = YamlSettings(Path(path)), Draft()
    read_network(given, draft)
    read_training(given, draft)
    try:
        return draft.written(f"AnswerDotAI/ModernBERT, main.py {Path(path).name}")
    except UserError as error:
        raise UserError(f"{path}: these settings are no recipe here: {error}") from None
