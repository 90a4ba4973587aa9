"""The verbs of labelled tasks; `cli` takes them up beside its own."""

from pathlib import Path
from typing import Annotated

import typer

from bertsmith.cli.arguments import (
    AsJson,
    OfTask,
    Out,
    Overrides,
    Overwrite,
    Plugins,
    Recipe,
    asking_for_plugins,
    command_of,
    content_of,
    refuse_ranks,
    say_next,
    stopping,
    what_next,
    with_plugins,
    written,
)
from bertsmith.console.terminal import say, say_json, tell

RESULTS = "results.json"

TASK_NAMES = "squad-v1.1, squad-v2.0, mrqa, conll2000, cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte or wnli"


def add_verbs(app: typer.Typer) -> None:
    """Make the functions of this file verbs of `app`."""
    for verb in (finetune, search, glue, submit, grade):
        app.command()(verb)


def finetune(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Fine-tune a pre-trained encoder on a labelled task, over several seeds."""
    from bertsmith.config.loading import load
    from bertsmith.tasks.finetune import FinetuneRecipe, finetune, score_table

    overrides = with_plugins(overrides, plugin)
    with asking_for_plugins(out, overwrite):
        loaded = load(FinetuneRecipe, "finetune", recipe, overrides)
    refuse_ranks("finetune")
    before = content_of(out / RESULTS)
    with stopping(command_of("finetune", recipe, overrides, out)):
        results = finetune(loaded, out, overwrite)
    tell("\n".join(score_table(results)))
    tell(written(out / RESULTS, before))
    say_next(*what_next(out, Path(f"{out}-hf")))


def search(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE …]",
            help="search.learning_rate=[…], search.epochs=, search.batch_size=, search.layerwise_lr_decay=; seeds= and "
            "the rest of finetune; without any search.… four learning rates",
        ),
    ] = None,
    *,
    out: Out,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Fine-tune with every combination of some settings, and choose one by dev; the same command continues it."""
    from bertsmith.sweeps.search import run_search, search_table

    refuse_ranks("search")
    overrides = with_plugins(overrides, plugin)
    before = content_of(out / RESULTS)
    with stopping(command_of("search", recipe, overrides, out)):
        results = run_search(recipe, overrides, out, overwrite)
    if as_json:
        say_json(results, indent=2)
        return
    tell("\n".join(search_table(results)))
    tell(written(out / RESULTS, before))
    say_next(*what_next(out / "grid" / results["chosen"], Path(f"{out}-hf")))


def glue(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="a pre-training run, or a Hugging Face folder")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE …]",
            help="data=, protocol=reference or cramming, from_mnli=true; seeds= and the rest of finetune, for all",
        ),
    ] = None,
    *,
    out: Out,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Fine-tune on every GLUE task that is in data=DIR, and average in two ways; the same command continues it."""
    from bertsmith.reports.glue_table import glue_table
    from bertsmith.sweeps.glue import run_glue, with_published

    refuse_ranks("glue")
    overrides = with_plugins(overrides, plugin)
    before = content_of(out / RESULTS)
    with stopping(command_of("glue", str(model), overrides, out)):
        results = run_glue(model, overrides, out, overwrite)
    if as_json:
        say_json(with_published(results), indent=2)
        return
    tell("\n".join(glue_table(results)))
    tell(written(out / RESULTS, before))
    say_next("submit", out, Path(f"{out}.zip"))


def submit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="of `glue`, or of `finetune` on GLUE or on questions")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="of questions OUT.json")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE …]", help="data=, seed=, check_counts=, null_threshold=, machine.…"),
    ] = None,
    fill: Annotated[
        bool,
        typer.Option("--fill", help="answer a task that was not run with one label, so that no file is missing"),
    ] = False,
    task: OfTask = None,
    plugin: Plugins = None,
) -> None:
    """Answer GLUE's test sets and write the archive that its server takes; or a file of questions (data=FILE)."""
    from bertsmith.config.loading import lay_over
    from bertsmith.errors import UserError

    if out.suffix.lower() == ".json":
        from bertsmith.predict.answer_file import AnswerFileSettings, run_of_questions, write_answers

        if fill:
            raise UserError("--fill: of use with GLUE's archive alone; of a file of questions each one is answered")
        run_of_questions(run, task)  # what the run is comes before what is said of it
        tell(write_answers(run, out, lay_over(AnswerFileSettings, {}, overrides or ()).settings, task))
        tell(f"wrote {out}")
        return
    from bertsmith.predict.submit import SubmitSettings, submit

    if task is not None:
        raise UserError(f"--task {task}: of use with OUT.json and questions alone; GLUE's archive holds all tasks")
    written, left_out = submit(run, out, lay_over(SubmitSettings, {}, overrides or ()).settings, fill)
    tell("\n".join(written))
    for line in left_out:
        tell(f"left out: {line}")
    tell(f"wrote {out}")
    if left_out:
        tell("the GLUE server takes all eleven files; --fill answers those left out with one label each")
        say_next("submit", run, out, "--fill")


def grade(
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_NAMES)],
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="the gold file; of GLUE a dev file or its folder")],
    predictions: Annotated[
        Path | None, typer.Argument(metavar="PREDICTIONS", help="conll2000: left out where GOLD has them too")
    ] = None,
    *,
    null_odds: Annotated[
        Path | None, typer.Option("--null-odds", metavar="FILE", help="squad-v2.0: how likely there is no answer")
    ] = None,
    null_threshold: Annotated[
        float | None, typer.Option("--null-threshold", help="no answer where the odds are greater  [default: 1.0]")
    ] = None,
    skip_malformed: Annotated[
        bool,
        typer.Option("--skip-malformed", help="leave malformed rows of GOLD out, as a run with skip_malformed=true"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a prediction file as the official script of its task does, in percent."""
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
