"""The verbs that train nothing, which `app` adds: `recipe`, `show`, `plan`, `doctor`."""

from typing import Annotated, Any, cast

import typer

from bertsmith.cli import arguments as args
from bertsmith.console.terminal import say, say_json


def recipe(
    context: typer.Context,
    hparams: Annotated[
        str | None,
        typer.Option("--from-electra", metavar="HPARAMS", help="google-research/electra's: JSON text, or a .json file"),
    ] = None,
    yaml_file: Annotated[
        str | None, typer.Option("--from-modernbert", metavar="FILE.yaml", help="of AnswerDotAI/ModernBERT's main.py")
    ] = None,
    run_mlm: Annotated[
        str | None,
        typer.Option(
            "--from-run-mlm",
            metavar="'--ARGUMENTS …'",
            help="transformers' run_mlm.py's: one text, or a .json file",
        ),
    ] = None,
    finetuning: Annotated[bool, typer.Option("--finetune", help="HPARAMS are of fine-tuning")] = False,
    compat: Annotated[
        bool, typer.Option("--compat", help="with HPARAMS: keep the reference's quirks (compat=true)")
    ] = False,
) -> None:
    """Print the recipe of settings for another program."""
    given = [text for text in (hparams, yaml_file, run_mlm) if text is not None]
    if not given:
        say(context.get_help())
        return
    from bertsmith.errors import UserError

    if len(given) > 1:
        raise UserError("--from-electra, --from-modernbert, --from-run-mlm: give one of them")
    if hparams is None and (finetuning or compat):
        raise UserError(f"--{'finetune' if finetuning else 'compat'}: of use with --from-electra alone")
    if hparams is not None:
        from bertsmith.convert.from_electra.recipe import recipe_from_electra

        converted = recipe_from_electra(hparams, finetune=finetuning, compat=compat)
    elif yaml_file is not None:
        from bertsmith.convert.from_modernbert.recipe import recipe_from_modernbert

        converted = recipe_from_modernbert(yaml_file)
    else:
        from bertsmith.convert.from_run_mlm.recipe import recipe_from_run_mlm

        converted = recipe_from_run_mlm(str(run_mlm))
    say(converted.text.removesuffix("\n"))
    say(f"next: {converted.command}", error=True)


def show(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="[RECIPE|DATA|RUN|MODEL|VERB]")] = None,
    overrides: args.Overrides = None,
    plugin: args.Plugins = None,
) -> None:
    """Show settings, or the content of a folder. Without a name, the verbs and the recipes."""
    from bertsmith.cli.show import show, show_overview

    if what is None:
        args.say_next(*show_overview(cast(Any, context.find_root().command).commands))
    else:
        args.say_next(*show(what, args.with_plugins(overrides, plugin)))


def plan(
    recipe: args.Recipe,
    overrides: args.Overrides = None,
    *,
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="repeatable  [default: all GPUs known]")] = None,
    utilisation: Annotated[
        float | None, typer.Option("--utilisation", help="share of the GPU's peak FLOP/s  [default: by model width]")
    ] = None,
    price: Annotated[float | None, typer.Option("--price", help="USD an hour  [default: assumed]")] = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", help="[default: that of data=FOLDER, else BERT's]")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", help="that train one run, eight in a machine")] = 1,
    network: Annotated[float, typer.Option("--network", help="Gbit/s between two machines")] = 100,
    as_json: args.AsJson = False,
    plugin: args.Plugins = None,
) -> None:
    """Estimate time and cost of a pre-training. Also its parameters, FLOPs and memory."""
    from dataclasses import asdict

    from bertsmith.cli.answers import print_estimate
    from bertsmith.planning.estimate import BYTES_OF_GIGABIT, Assumptions, estimate

    assumed = Assumptions(utilisation, gpu or (), price, vocab_size, gpus, network * BYTES_OF_GIGABIT)
    found = estimate(recipe, args.with_plugins(overrides, plugin), assumed)
    if as_json:
        say_json(asdict(found), indent=2)
    else:
        args.say_next(*print_estimate(found))


def doctor() -> None:
    """Check versions, GPU, kernels and disk. The exit status is 1 if a GPU is present but unusable."""
    from bertsmith.planning.doctor import doctor

    lines, usable = doctor()
    for line in lines:
        say(line)
    if not usable:
        raise typer.Exit(1)
    args.say_next("quickstart")
