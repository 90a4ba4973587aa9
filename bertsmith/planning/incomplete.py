"""Recipes to look at, whose paths need not be said: what `show` and `plan` load."""

from collections.abc import Sequence

from bertsmith.config.loading import Loaded, load, read_recipe_values


def load_incomplete(verb: str, what: str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a recipe that need not say its paths: those missing are "…", and their origin is "needed". Raises UserError
    as `bertsmith.config.loading.load` does."""
    required = {
        "filter": ("corpus", "layout"),
        "prepare": ("corpus", "vocab"),
        "pretrain": ("data",),
        "finetune": ("model", "data"),
    }[verb]
    given = {override.partition("=")[0] for override in overrides}
    values = read_recipe_values(verb, what)
    wanted = [*required, *(key for key, value in values.items() if value == "")]  # "" leaves it to the command line
    instead = getattr(recipe_class(verb), "exclusive", ())  # of which one is enough
    there = given | {key for key, value in values.items() if value != ""}
    missing = [f"{key}=…" for key in wanted if not there & {key, *(instead if key in instead else ())}]
    complete = None
    if verb == "pretrain" and "init=…" not in missing:
        from bertsmith.training.initial import take_architecture

        complete = take_architecture
    loaded = load(recipe_class(verb), verb, what, [*overrides, *missing], complete)
    origins = loaded.origins | {text.removesuffix("=…"): "needed" for text in missing}
    return loaded._replace(origins=origins)


def recipe_class(verb: str) -> type:
    """Return the class of the settings of `verb`: filter, prepare, pretrain or finetune."""
    if verb == "filter":
        from bertsmith.filtering.recipe import FilterRecipe

        return FilterRecipe
    if verb == "prepare":
        from bertsmith.text.prepare import PrepareRecipe

        return PrepareRecipe
    if verb == "pretrain":
        from bertsmith.training.recipe import PretrainRecipe

        return PretrainRecipe
    from bertsmith.tasks.recipe import FinetuneRecipe

    return FinetuneRecipe
