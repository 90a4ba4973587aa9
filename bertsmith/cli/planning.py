"""The verbs that train nothing: `recipe`, `show`, `plan`, `doctor`; `cli` takes them up beside its own."""

from typing import Annotated, Any, cast

import typer

from bertsmith.cli.arguments import AsJson, Overrides, Plugins, Recipe, say_next, with_plugins
from bertsmith.console.terminal import say, say_json


def add_verbs(app: typer.Typer) -> None:
    """Make the functions of this file verbs of `app`."""
    for verb in (recipe, show, plan, doctor):
        app.command()(verb)


def recipe(
    context: typer.Context,
    hparams: Annotated[
        str | None, typer.Option("--from-electra", metavar="HPARAMS", help="its --hparams: JSON, or a .json file")
    ] = None,
    finetuning: Annotated[
        bool, typer.Option("--finetune", help="they are of fine-tuning, though none says so")
    ] = False,
    compat: Annotated[bool, typer.Option("--compat", help="with the reference's oddities")] = False,
) -> None:
    """Print the recipe that settings of google-research/electra mean."""
    if hparams is None:
        say(context.get_help())
        return
    from bertsmith.convert.from_electra.recipe import recipe_from_electra, usage

    written = recipe_from_electra(hparams, finetune=finetuning, compat=compat)
    say(written.text.removesuffix("\n"))
    say(f"next: {usage(written.verb, 'my.toml')}", error=True)


def show(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="[RECIPE|DATA|RUN|MODEL|VERB]")] = None,
    overrides: Overrides = None,
    plugin: Plugins = None,
) -> None:
    """Every setting with its value, origin and meaning; what a folder holds; without a name, what there is."""
    from bertsmith.cli.overview import show_overview
    from bertsmith.cli.show import show

    say_next(
        *(
            show_overview(cast(Any, context.find_root().command).commands)
            if what is None
            else show(what, with_plugins(overrides, plugin))
        )
    )


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", help="on this GPU; may be repeated; left out: on all")
    ] = None,
    utilisation: Annotated[
        float | None, typer.Option("--utilisation", help="share of the GPU's peak that is reached; left out: by width")
    ] = None,
    price: Annotated[float | None, typer.Option("--price", help="USD an hour; left out: an assumed one")] = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", help="left out: that of data=FOLDER, else BERT's")
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """What pre-training takes, without training: parameters, FLOPs, memory, time and cost."""
    from dataclasses import asdict

    from bertsmith.cli.plan_tables import print_estimate
    from bertsmith.planning.estimate import Assumptions, estimate

    found = estimate(recipe, with_plugins(overrides, plugin), Assumptions(utilisation, gpu or (), price, vocab_size))
    if as_json:
        say_json(asdict(found), indent=2)
    else:
        say_next(*print_estimate(found))


def doctor() -> None:
    """Versions, GPU and kernels, disk, and what will be used; exit status 1 when a GPU is present but unusable."""
    from bertsmith.planning.doctor import doctor

    lines, usable = doctor()
    for line in lines:
        say(line)
    if not usable:
        raise typer.Exit(1)
    say_next("quickstart")
