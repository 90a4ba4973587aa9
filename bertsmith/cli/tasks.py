"""The verbs of labelled tasks, which `app` adds."""

from pathlib import Path
from typing import Annotated

import typer

from bertsmith.cli import arguments as args
from bertsmith.cli.arguments import Out, Overrides, Overwrite, Plugins, Recipe
from bertsmith.console.terminal import say, say_json, tell

RESULTS = "results.json"


def finetune(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Fine-tune an encoder on a task, over several seeds. The same command continues after an interruption."""
    from bertsmith.config.loading import load
    from bertsmith.tasks.finetune import finetune, score_table
    from bertsmith.tasks.recipe import FinetuneRecipe

    overrides = args.with_plugins(overrides, plugin)
    with args.asking_for_plugins(out, overwrite):
        loaded = load(FinetuneRecipe, "finetune", recipe, overrides)
    args.refuse_ranks("finetune")
    before = args.content_of(out / RESULTS)
    with args.stopping(args.command_of("finetune", recipe, overrides, out)):
        results = finetune(loaded, out, overwrite)
    tell("\n".join(score_table(results)))
    tell(args.written(out / RESULTS, before))
    args.say_next(*args.what_next(out, Path(f"{out}-hf")))


def search(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None,
        args.key_values(
            "search.learning_rate=[…] (by default four of them), search.epochs=, search.batch_size=, "
            "search.layerwise_lr_decay=; and the settings of finetune"
        ),
    ] = None,
    *,
    out: Out,
    overwrite: Overwrite = False,
    as_json: args.AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Search settings of fine-tuning for the best on dev. The same command continues after an interruption."""
    from bertsmith.sweeps.search import run_search, search_table

    args.refuse_ranks("search")
    overrides = args.with_plugins(overrides, plugin)
    before = args.content_of(out / RESULTS)
    with args.stopping(args.command_of("search", recipe, overrides, out)):
        results = run_search(recipe, overrides, out, overwrite)
    if as_json:
        say_json(results, indent=2)
        return
    tell("\n".join(search_table(results)))
    tell(args.written(out / RESULTS, before))
    args.say_next(*args.what_next(out / "grid" / results["chosen"], Path(f"{out}-hf")))


def glue(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="a pre-training run, or a Hugging Face folder")],
    overrides: Annotated[
        list[str] | None,
        args.key_values(
            "data=, protocol=reference or cramming, from_mnli=true, jobs=; settings of finetune, for all tasks"
        ),
    ] = None,
    *,
    out: Out,
    overwrite: Overwrite = False,
    as_json: args.AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Fine-tune on each GLUE task in data=DIR. Scores are averaged; the same command continues after an
    interruption."""
    from bertsmith.reports.averages import glue_table
    from bertsmith.sweeps.glue import run_glue, with_published

    args.refuse_ranks("glue")
    overrides = args.with_plugins(overrides, plugin)
    before = args.content_of(out / RESULTS)
    with args.stopping(args.command_of("glue", str(model), overrides, out)):
        results = run_glue(model, overrides, out, overwrite)
    if as_json:
        say_json(with_published(results), indent=2)
        return
    tell("\n".join(glue_table(results)))
    tell(args.written(out / RESULTS, before))
    args.say_next("submit", out, Path(f"{out}.zip"))


def submit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="of `glue`; of `finetune` on GLUE or on questions")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="for questions OUT.json")],
    overrides: Annotated[
        list[str] | None, args.key_values("data=, seed=, check_counts=, null_threshold=, machine.…")
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="one label for all of a task that was not run, so that no file is missing")
    ] = False,
    task: args.OfTask = None,
    plugin: Plugins = None,
) -> None:
    """Predict GLUE's test sets, for its server. Or answer a file of questions (data=FILE)."""
    from bertsmith.config.loading import apply_overrides
    from bertsmith.errors import UserError

    if out.suffix.lower() == ".json":
        from bertsmith.predict.submit import AnswerFileSettings, run_of_questions, write_answers

        if fill:
            raise UserError("--fill: only for GLUE's archive; in a file of questions each one is answered")
        run_of_questions(run, task)  # what the run is comes before what is said of it
        tell(write_answers(run, out, apply_overrides(AnswerFileSettings, {}, overrides or ()).settings, task))
        tell(f"wrote {out}")
        return
    from bertsmith.predict.submit import SubmitSettings, submit

    if task is not None:
        raise UserError(f"--task {task}: of use with OUT.json and questions alone; GLUE's archive holds all tasks")
    lines, left_out = submit(run, out, apply_overrides(SubmitSettings, {}, overrides or ()).settings, fill)
    tell("\n".join(lines))
    for line in left_out:
        tell(f"left out: {line}")
    tell(f"wrote {out}")
    if left_out:
        tell("the GLUE server takes all eleven files; --fill answers those left out with one label each")
        args.say_next("submit", run, out, *(overrides or ()), "--fill")


def grade(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="of GLUE; boolq, squad-v1.1, squad-v2.0, mrqa, conll2000")
    ],
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="the gold file; for GLUE and BoolQ also its folder")],
    predictions: Annotated[
        Path | None, typer.Argument(metavar="PREDICTIONS", help="not needed for conll2000 where GOLD has them too")
    ] = None,
    *,
    null_odds: Annotated[
        Path | None, typer.Option("--null-odds", metavar="FILE", help="squad-v2.0: scores of no answer, a JSON file")
    ] = None,
    null_threshold: Annotated[
        float | None, typer.Option("--null-threshold", help="above this score there is no answer  [default: 1.0]")
    ] = None,
    skip_malformed: Annotated[
        bool, typer.Option("--skip-malformed", help="skip malformed rows of GOLD, as a run with skip_malformed=true")
    ] = False,
    as_json: args.AsJson = False,
) -> None:
    """Score predictions as their official script does. Scores are in percent."""
    from bertsmith.errors import UserError
    from bertsmith.tasks.grade import grade

    if null_threshold is not None and null_odds is None:
        raise UserError(f"--null-threshold {null_threshold:g}: of no use without --null-odds FILE")
    options = {} if null_threshold is None else {"null_threshold": null_threshold}
    graded = grade(task, gold, predictions, null_odds, skip_malformed=skip_malformed, **options)
    for note in graded.notes:
        say(note, error=True)
    if as_json:
        say_json({"task": task} | graded.scores, indent=2)
    else:
        say("\n".join([f"{task}: {graded.about}", *graded.table]))
