"""The command line: one function a verb. Each imports its room when it is called, so that `--help` stays instant."""

from pathlib import Path
from typing import Annotated

import typer

from bertsmith import __version__
from bertsmith.cli.arguments import (
    AsJson,
    Device,
    FileOption,
    ModelArgument,
    OfTask,
    Out,
    Overrides,
    Overwrite,
    Plugins,
    Recipe,
    Traceback,
    Truncate,
    asking_for_plugins,
    command_of,
    content_of,
    refuse_ranks,
    say_next,
    stopping,
    what_to_pretrain,
    with_plugins,
    written,
)  # fmt: skip
from bertsmith.cli.planning import add_verbs as add_planning_verbs
from bertsmith.cli.tasks import add_verbs
from bertsmith.console.shell import command, quote
from bertsmith.console.terminal import say, tell
from bertsmith.storage.folders import no_empty_folder

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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and end")
    ] = False,
    traceback: Traceback = False,
) -> None:
    """Pre-train your own BERT or ELECTRA from raw text on one GPU, and know how good it is."""


@app.command()
def quickstart(out: Out = Path("runs/quickstart"), overwrite: Overwrite = False) -> None:
    """The whole job in about five minutes, on text that is already on this machine."""
    from bertsmith.quickstart.run import quickstart

    refuse_ranks("quickstart")
    with stopping(command("bertsmith", "quickstart", "--out", out)):
        quickstart(out, tell, overwrite)
    tell(f"wrote {out / 'report.html'}, {out / 'hf'}")
    say_next("pretrain", "quickstart", f"data={out / 'data'}", "plan.hours=2", "--out", Path(f"{out}-2h"))


@app.command()
def download(
    what: Annotated[str, typer.Argument(metavar="openwebtext|glue|vocab")],
    out: Out = Path("data"),
) -> None:
    """Fetch OpenWebText, GLUE or BERT's vocabulary; a cut transfer is resumed."""
    from bertsmith.datasets.download import download, present

    before = present(what, out)
    for path in download(what, out):
        tell(f"{path} is there" if path in before else f"wrote {path}")
    archive, vocab = out / "openwebtext.tar.xz", f"vocab={out / 'vocab.txt'}"
    recipe, corpus = ("openwebtext", archive) if archive.exists() else ("parquet", out / "openwebtext")
    match what:
        case "openwebtext":
            say_next("prepare", recipe, f"corpus={corpus}", vocab, "--out", "data/owt")
        case "glue":
            say_next("finetune", "cola", "model=RUN", f"data={out}", "--out", "runs/cola")
        case "vocab":
            say_next("prepare", "openwebtext", "corpus=PATH", vocab, "--out", "data/owt")


@app.command()
def tokenizer(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Train a WordPiece vocabulary on a prepare recipe's corpus: size=N; or add its words to another: extend=PATH."""
    from bertsmith.config.loading import load
    from bertsmith.text.learning import TokenizerRecipe, train_tokenizer

    overrides = with_plugins(overrides, plugin)
    loaded = load(TokenizerRecipe, "prepare", recipe, overrides)
    with stopping(command_of("tokenizer", recipe, overrides, out)):
        train_tokenizer(loaded.settings, out, overwrite)
    tell(f"wrote {out}/tokenizer.json and vocab.txt")
    say_next("prepare", recipe, f"corpus={loaded.settings.corpus}", f"vocab={out}", "--out", "data/prepared")


@app.command()
def prepare(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Turn raw text into token shards."""
    from bertsmith.config.loading import load
    from bertsmith.text.prepare import PrepareRecipe, prepare

    overrides = with_plugins(overrides, plugin)
    loaded = load(PrepareRecipe, "prepare", recipe, overrides)
    before = content_of(out)
    with stopping(command_of("prepare", recipe, overrides, out)):
        data = prepare(loaded.settings, out, overwrite)
    counts = f"{data.num_tokens('train'):,} training and {data.num_tokens('heldout'):,} held-out tokens"
    tell(f"{written(out, before)}: {counts}")
    say_next(*what_to_pretrain(out, Path(loaded.settings.vocab), data.num_tokens("train")))


@app.command()
def pretrain(
    recipe: Recipe, overrides: Overrides = None, *, out: Out, overwrite: Overwrite = False, plugin: Plugins = None
) -> None:
    """Train an encoder on token shards; the same command continues it."""
    from bertsmith.evals.probes import probes_of
    from bertsmith.training.architecture import load_pretraining
    from bertsmith.training.pretrain import pretrain

    overrides = with_plugins(overrides, plugin)
    with asking_for_plugins(out, overwrite):
        loaded = load_pretraining(recipe, overrides)
    refuse_ranks("pretrain")
    before = content_of(out)
    with stopping(command_of("pretrain", recipe, overrides, out)):
        pretrain(loaded.settings, out, overwrite, probes_of(loaded.settings))
    tell(written(out, before))
    say_next("finetune", "cola", f"model={out}", "data=data/glue", "--out", Path(f"{out}-cola"))


add_verbs(app)


@app.command()
@no_empty_folder
def evaluate(
    model: ModelArgument,
    asked: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE …]", help="data, evaluate_rows, blimp, pairs, machine.…")
    ] = None,
    as_json: AsJson = False,
    paradigms: Annotated[
        bool, typer.Option("--paradigms", help="BLiMP's 67 paradigms too, not its phenomena alone")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="a JSON file to write as well")] = None,
    plugin: Plugins = None,
) -> None:
    """Held-out measures (data=DIR; a run's own data without it), or BLiMP's (blimp=DIR pairs=200)."""
    from bertsmith.cli.answers import show_evaluation
    from bertsmith.config.loading import lay_over
    from bertsmith.evals.evaluate import EvaluateSettings, evaluate_model
    from bertsmith.predict.predictor import Predictor
    from bertsmith.storage.file_types import EVALUATION_FILE, check_output
    from bertsmith.storage.files import make_folder

    settings = lay_over(EvaluateSettings, {}, asked or ()).settings
    if out is not None:
        check_output(out, EVALUATION_FILE)
        make_folder(out.resolve().parent)
    show_evaluation(evaluate_model(Predictor(model).pretrained("be evaluated"), settings), as_json, paradigms, out)


@app.command()
def predict(
    model: ModelArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT …]", help="a tab parts a pair, and a question from its context; - for standard input"
        ),
    ] = None,
    *,
    file: FileOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="guesses for a [MASK]")] = 5,
    as_json: AsJson = False,
    truncate: Truncate = False,
    device: Device = "auto",
    task: OfTask = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="a table to write instead: rows with answers (.csv, .tsv, .jsonl, .parquet)"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace that table if it is there")] = False,
    plugin: Plugins = None,
) -> None:
    """Fill [MASK]; a discriminator finds replaced tokens; a fine-tuned model classifies, tags or answers."""
    from bertsmith.cli.answers import print_predictions
    from bertsmith.errors import UserError
    from bertsmith.predict.predictor import Predictor
    from bertsmith.predict.rows import lines_of

    if out is not None and as_json:
        raise UserError("--json and --out: give one of them; an --out that ends in .jsonl has an object a line")
    lines = lines_of(texts or [], file)
    asked = Predictor(model, device, task)
    print_predictions(asked, lines, file, top, truncate, as_json, out=out, overwrite=overwrite)


@app.command()
def score(
    model: ModelArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="a sentence a line; - for standard input")],
    as_json: AsJson = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="each token's share too")] = False,
    truncate: Truncate = False,
    device: Device = "auto",
    *,
    plugin: Plugins = None,
) -> None:
    """A line for each line of FILE: its pseudo-log-likelihood in nats (of a discriminator, how well its tokens fit),
    and its number of tokens."""
    from bertsmith.cli.answers import print_scores
    from bertsmith.predict.predictor import Predictor

    print_scores(Predictor(model, device), file, per_token, truncate, as_json)


@app.command()
def export(
    run: Path,
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE …]", help="card.license=, card.language=, card.base_model=, card.datasets="),
    ] = None,
    *,
    onnx: Annotated[bool, typer.Option("--onnx", help="with a model.onnx, for onnxruntime")] = False,
    opset: Annotated[int | None, typer.Option(metavar="N", help="of that file; implies --onnx  [default: 18]")] = None,
    task: OfTask = None,
    plugin: Plugins = None,
) -> None:
    """Write a run as a Hugging Face folder."""
    from bertsmith.config.loading import lay_over
    from bertsmith.convert.export import ExportSettings, export_run, how_to_load
    from bertsmith.hub.onnx import DEFAULT_OPSET

    if onnx and opset is None:
        opset = DEFAULT_OPSET
    told = lay_over(ExportSettings, {}, overrides or ()).settings
    tell(f"wrote {export_run(run, out, opset, task, told)}")
    tell(f"next: {how_to_load(out)}")


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE …]",
            help="generator=, vocab=, lowercase=, strip_accents=, heads=, card.license= and the card's other keys",
        ),
    ] = None,
) -> None:
    """Read somebody's BERT, ELECTRA or WordPiece ModernBERT: a Hugging Face folder or a TensorFlow checkpoint."""
    from bertsmith.config.loading import lay_over
    from bertsmith.convert.importing import ImportSettings, import_model

    for line in import_model(path, out, lay_over(ImportSettings, {}, overrides or ()).settings):
        tell(line)
    tell(f"wrote {out}")
    model = out / "discriminator" if (out / "discriminator").is_dir() else out
    say_next("prepare", "text", "corpus=PATH", f"vocab={model}", "--out", "data/mine")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN …]")],
    out: Annotated[Path | None, typer.Option("--out", help="the page to write")] = None,
    plugin: Plugins = None,
) -> None:
    """Write one HTML page about one run or several side by side."""
    from bertsmith.reports.page import write_page

    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    tell(f"wrote {write_page(runs, out)}")
    tell(f"next: open {quote(out)} in a browser")


add_planning_verbs(app)
