"""The tasks by name: those of every file in `published/`, and those that a plugin adds."""

from pathlib import Path

from bertsmith.config.registry import Registry, modules_in
from bertsmith.tasks import published
from bertsmith.tasks.answering.files import question_spec, read_question_columns
from bertsmith.tasks.custom import CustomSettings, find_file
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.texts.examples import read_columns
from bertsmith.tasks.words.sentences import read_custom_tagging

TASKS: Registry[TaskSpec] = Registry(
    "task", {spec.name: spec for module in modules_in(published) for spec in module.SPECS}
)


def custom_spec(custom: CustomSettings) -> TaskSpec:
    """Return the task of the user's own files; what its answers are is known once these are read."""
    if custom.kind == "answering":
        return question_spec(
            "custom", find_file, lambda path, **options: read_question_columns(path, custom, **options),
            may_have_none=custom.unanswerable, columns=(custom.question, custom.context),
        )  # fmt: skip
    read = read_custom_tagging if custom.kind == "tagging" else read_columns
    # A file with a word a line has no columns, so what is to be tagged may be called "text" as well.
    texts = tuple(name for name in (custom.text, custom.second_text) if name is not None)
    return TaskSpec(
        "custom",
        input="words" if custom.kind == "tagging" else "texts",
        columns=((custom.text,), ("text",)) if custom.kind == "tagging" else (texts,),
        read=lambda recipe: read(custom, Path(recipe.data), skip_malformed=recipe.skip_malformed),
    )
