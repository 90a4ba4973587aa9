"""Errors of a command line that does not parse; for a setting written as an option, how to write it."""

import difflib
import importlib
from collections.abc import Sequence

from bertsmith.console.shell import quote

SETTINGS = {
    "filter": ("bertsmith.filtering.recipe:FilterRecipe",),
    "tokenizer": ("bertsmith.text.learning:TokenizerRecipe",),
    "prepare": ("bertsmith.text.prepare:PrepareRecipe",),
    "prepare merge": ("bertsmith.text.merging:MergeSettings",),
    "pretrain": ("bertsmith.training.recipe:PretrainRecipe",),
    "plan": ("bertsmith.training.recipe:PretrainRecipe",),
    "finetune": ("bertsmith.tasks.recipe:FinetuneRecipe",),
    "search": ("bertsmith.sweeps.search:SearchOptions", "bertsmith.tasks.recipe:FinetuneRecipe"),
    "glue": ("bertsmith.sweeps.glue:GlueSettings", "bertsmith.tasks.recipe:FinetuneRecipe"),
    "submit": ("bertsmith.predict.submit:SubmitSettings", "bertsmith.predict.submit:AnswerFileSettings"),
    "evaluate": ("bertsmith.predict.evaluate:EvaluateSettings",),
    "export": ("bertsmith.convert.export:ExportSettings",),
    "import": ("bertsmith.convert.importing:ImportSettings",),
}
"""Verb → the settings that it takes as key=value."""


def usage_message(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return the message of an error of the command line's parser (typer's, or click's); None of any other error."""
    if not hasattr(error, "format_message"):
        return None
    context = getattr(error, "ctx", None)
    path = "bertsmith" if context is None else context.command_path
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message()
    verb = path.partition(" ")[2]
    if type(error).__name__ == "NoSuchOption" and (
        hint := _as_setting(verb, getattr(error, "option_name", ""), arguments)
    ):
        return hint
    message = error.format_message().strip().rstrip(".")
    return f"{message}; `{path} --help` shows what there is"


def _as_setting(verb: str, option: str, arguments: Sequence[str]) -> str | None:
    """Return how the setting that `option` names is written; None where it names none of the verb's."""
    from bertsmith.config.schema import keys_of

    typed = next((text for text in arguments if text.split("=")[0] == option), "")
    name = option.lstrip("-").replace("-", "_")
    keys = [key for cls in settings_classes(verb) for key in keys_of(cls)]
    last_parts = {key.rpartition(".")[2]: key for key in sorted(keys, key=len, reverse=True)}
    key = name if name in keys else last_parts.get(name)
    if key is None:
        near = difflib.get_close_matches(name, [*keys, *last_parts], n=1, cutoff=0.8)
        key = last_parts.get(near[0], near[0]) if near else None
    if not typed or key is None:
        return None
    return f"{option}: not an option; a setting is written key=value: {quote(f'{key}={_value(typed, arguments)}')}"


def _value(typed: str, arguments: Sequence[str]) -> str:
    if "=" in typed:
        return typed.partition("=")[2]
    following = arguments[arguments.index(typed) + 1 :][:1]
    return following[0] if following and not following[0].startswith("--") else "VALUE"


def settings_classes(verb: str) -> list[type]:
    """Return the classes of the settings that `verb` takes as key=value."""
    names = (name.partition(":") for name in SETTINGS.get(verb, ()))
    return [getattr(importlib.import_module(module), cls) for module, _, cls in names]
