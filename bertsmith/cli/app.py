"""The command line: one function a verb. Each imports its room when it is called, so that `--help` is instant."""

from pathlib import Path
from typing import Annotated

import typer

from bertsmith import __version__
from bertsmith.cli import arguments as args
from bertsmith.cli import asking, planning, records, tasks
from bertsmith.cli.arguments import Out, Overrides, Overwrite, Plugins, Recipe
from bertsmith.console.shell import command, quote
from bertsmith.console.terminal import say, tell

app = typer.Typer(
    name="bertsmith",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"bertsmith {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
    traceback: args.Traceback = False,
) -> None:
    """Pre-train your own BERT or ELECTRA from raw text on one GPU, and know how good it is."""


@app.command()
def quickstart(out: Out = Path("runs/quickstart"), overwrite: Overwrite = False) -> None:
    """Pre-train and fine-tune a small BERT in minutes. Its text is already on this machine."""
    from bertsmith.quickstart.run import quickstart

    args.refuse_ranks("quickstart")
    with args.stopping(command("bertsmith", "quickstart", "--out", out)):
        quickstart(out, tell, overwrite)
    tell(f"wrote {out / 'report.html'}, {out / 'hf'}")
    args.say_next("pretrain", "fast-tiny", f"data={out / 'data'}", "--out", Path(f"{out}-long"))


@app.command()
def download(
    what: Annotated[str, typer.Argument(metavar="openwebtext|glue|vocab")],
    out: Out = Path("data"),
) -> None:
    """Download OpenWebText, GLUE or BERT's vocabulary. An interrupted transfer is resumed."""
    from bertsmith.datasets.download import download, present

    before = present(what, out)
    for path in download(what, out):
        tell(f"{path} is there" if path in before else f"wrote {path}")
    archive, vocab = out / "openwebtext.tar.xz", f"vocab={out / 'vocab.txt'}"
    recipe, corpus = ("openwebtext", archive) if archive.exists() else ("parquet", out / "openwebtext")
    match what:
        case "openwebtext":
            args.say_next("prepare", recipe, f"corpus={corpus}", vocab, "--out", "data/owt")
        case "glue":
            args.say_next("finetune", "cola", "model=RUN", f"data={out}", "--out", "runs/cola")
        case "vocab":
            args.say_next("prepare", "openwebtext", "corpus=PATH", vocab, "--out", "data/owt")


@app.command()
def tokenizer(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Train a vocabulary on a corpus: kind=wordpiece, bpe or unigram, of size=N tokens. extend=PATH adds words to
    another vocabulary."""
    from bertsmith.config.loading import load
    from bertsmith.text.learning import TokenizerRecipe, train_tokenizer

    overrides = args.with_plugins(overrides, plugin)
    loaded = load(TokenizerRecipe, "prepare", recipe, overrides)
    with args.stopping(args.command_of("tokenizer", recipe, overrides, out)):
        train_tokenizer(loaded.settings, out, overwrite)
    tell(f"wrote {out}/tokenizer.json{' and vocab.txt' if (out / 'vocab.txt').exists() else ''}")
    typed = [text for text in overrides if text.startswith(("corpus=", "corpora="))]
    text = typed if loaded.settings.corpora else [f"corpus={loaded.settings.corpus}"]
    args.say_next("prepare", recipe, *text, f"vocab={out}", "--out", "data/prepared")


@app.command(name="filter")
def filter_(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Choose a corpus's documents by language and published rules, each text once. Writes JSON lines for `prepare`,
    with counts and a sample of what was dropped."""
    from bertsmith.cli.filtering import filter_text

    filter_text(recipe, args.with_plugins(overrides, plugin), out, overwrite)


@app.command()
def prepare(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    place: args.OutOrAddress,
    overwrite: Overwrite = False,
    plugin: Plugins = None,
) -> None:
    """Turn raw text into token shards. The same command continues after an interruption. part=3/16 does the third of 16
    parts on a machine by itself, and `prepare merge --out DIR` makes one data folder of them."""
    from bertsmith.cli.preparing import merge_parts, prepare_text

    if recipe == "merge":
        merge_parts(overrides or [], place, overwrite)
    else:
        prepare_text(recipe, args.with_plugins(overrides, plugin), place, overwrite)


@app.command()
def pretrain(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Pre-train an encoder on token shards. The same command continues after an interruption."""
    from bertsmith.errors import UserError
    from bertsmith.evals.pinned import probes_of
    from bertsmith.memory import keep_imports
    from bertsmith.tasks.quick_glue import glue_probes
    from bertsmith.training.initial import load_pretraining
    from bertsmith.training.joining import joined_ranks, may_restart
    from bertsmith.training.pretrain import pretrain

    keep_imports()
    overrides = args.with_plugins(overrides, plugin)
    before = args.content_of(out)
    again = args.command_of("pretrain", recipe, overrides, out)
    with joined_ranks() as ranks, args.stopping(again):
        with args.asking_for_plugins(out, overwrite):
            loaded = load_pretraining(recipe, overrides)
        if overwrite and may_restart():
            raise UserError(
                "--overwrite: torchrun --max-restarts would give it again at each restart, and the run would be lost; "
                "remove the folder first, or leave one of the two out"
            )
        checked = loaded.settings
        pretrain(checked, out, overwrite, [*probes_of(checked, ranks), *glue_probes(checked, ranks)], ranks)
        tell(args.written(out, before))
        args.say_next("finetune", "cola", f"model={out}", "data=data/glue", "--out", Path(f"{out}-cola"))


for task_verb in (tasks.finetune, tasks.search, tasks.glue, tasks.submit, tasks.grade):
    app.command()(task_verb)


for asking_verb in (asking.evaluate, asking.predict, asking.score, asking.embed):
    app.command()(asking_verb)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="of `pretrain`, `finetune` or `search`")],
    out: args.OutDir,
    overrides: Annotated[
        list[str] | None,
        args.key_values("card.license=, card.language=, card.base_model=, card.datasets=, averaged=, …"),
    ] = None,
    *,
    onnx: Annotated[bool, typer.Option("--onnx", help="also write model.onnx, for onnxruntime")] = False,
    opset: Annotated[int | None, typer.Option(metavar="N", help="its opset; implies --onnx  [default: 18]")] = None,
    all_steps: Annotated[
        bool, typer.Option("--all-steps", help="each checkpoint of a pre-training run, and its first weights")
    ] = False,
    task: args.OfTask = None,
    plugin: Plugins = None,
) -> None:
    """Write a run as a Hugging Face folder."""
    from bertsmith.config.loading import apply_overrides
    from bertsmith.convert.all_steps import export_steps
    from bertsmith.convert.export import ExportSettings, export_run, how_to_load
    from bertsmith.errors import UserError
    from bertsmith.hub.onnx import DEFAULT_OPSET

    if onnx and opset is None:
        opset = DEFAULT_OPSET
    settings = apply_overrides(ExportSettings, {}, overrides or ()).settings
    if all_steps:
        if task is not None:
            raise UserError(f"--task {task}: of no use with --all-steps, which is of pre-training runs")
        folders = export_steps(run, out, opset, settings)
        tell(f"wrote {len(folders):,} steps, {folders[0]} to {folders[-1].name}")
        tell(f"next: {how_to_load(folders[-1])}")
        return
    tell(f"wrote {export_run(run, out, opset, task, settings)}")
    tell(f"next: {how_to_load(out)}")


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a Hugging Face folder, or a TensorFlow checkpoint")],
    out: args.OutDir,
    overrides: Annotated[
        list[str] | None, args.key_values("generator=, vocab=, lowercase=, strip_accents=, heads=, card.license=, …")
    ] = None,
) -> None:
    """Convert a published BERT, ELECTRA, RoBERTa, DistilBERT, DeBERTa, ModernBERT, …, with its tokenizer."""
    from bertsmith.config.loading import apply_overrides
    from bertsmith.convert.importing import ImportSettings, import_model

    for line in import_model(path, out, apply_overrides(ImportSettings, {}, overrides or ()).settings):
        tell(line)
    tell(f"wrote {out}")
    model = out / "discriminator" if (out / "discriminator").is_dir() else out
    args.say_next("prepare", "text", "corpus=PATH", f"vocab={model}", "--out", "data/mine")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN …]")],
    out: Annotated[Path | None, typer.Option("--out", help="the HTML file to write")] = None,
    plugin: Plugins = None,
) -> None:
    """Write an HTML page about one run or several."""
    from bertsmith.reports.page import write_page

    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    tell(f"wrote {write_page(runs, out)}")
    tell(f"next: open {quote(out)} in a browser")


app.command()(records.record)


for planning_verb in (planning.recipe, planning.show, planning.plan, planning.doctor):
    app.command()(planning_verb)
