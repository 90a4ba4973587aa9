"""The command line: one function a verb. Each imports its room when it is called, so that `--help` stays instant."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bertsmith import __version__
from bertsmith.command_line import (
    AsJson,
    Device,
    File,
    Model,
    OfTask,
    Out,
    Overrides,
    Overwrite,
    Recipe,
    Traceback,
    Truncate,
    command_of,
    say_next,
    stopping,
)  # fmt: skip
from bertsmith.task_verbs import add_verbs

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
        print(f"bertsmith {__version__}")
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
    """The whole job in six minutes, on text that is already on this machine."""
    from bertsmith.quickstart import quickstart

    with stopping(f"bertsmith quickstart --out {out}"):
        quickstart(out, overwrite)


@app.command()
def download(
    what: Annotated[str, typer.Argument(metavar="openwebtext|glue|vocab")],
    out: Out = Path("data"),
) -> None:
    """Fetch OpenWebText, GLUE or BERT's vocabulary; a cut transfer is resumed."""
    from bertsmith.download import download

    for path in download(what, out):
        print(f"wrote {path}")
    archive = out / "openwebtext.tar.xz"
    corpus = ("openwebtext", archive) if archive.exists() else ("parquet", out / "openwebtext")
    following = {
        "openwebtext": f"bertsmith prepare {corpus[0]} corpus={corpus[1]} vocab={out}/vocab.txt --out data/owt",
        "glue": f"bertsmith finetune cola model=RUN data={out} --out runs/cola",
        "vocab": f"bertsmith prepare openwebtext corpus=PATH vocab={out}/vocab.txt --out data/owt",
    }
    say_next(following.get(what, ""))


@app.command()
def tokenizer(recipe: Recipe, overrides: Overrides = None, out: Out = ..., overwrite: Overwrite = False) -> None:
    """Train a WordPiece vocabulary on a prepare recipe's corpus: size=N; or add its words to another: extend=PATH."""
    from bertsmith.config import load
    from bertsmith.text.learning import TokenizerRecipe, train_tokenizer

    loaded = load(TokenizerRecipe, "prepare", recipe, overrides or ())
    with stopping(command_of("tokenizer", recipe, overrides, out)):
        train_tokenizer(loaded.settings, out, overwrite)
    print(f"wrote {out}/tokenizer.json and vocab.txt")
    say_next(f"bertsmith prepare {recipe} corpus={loaded.settings.corpus} vocab={out} --out data/prepared")


@app.command()
def prepare(recipe: Recipe, overrides: Overrides = None, out: Out = ..., overwrite: Overwrite = False) -> None:
    """Turn raw text into token shards."""
    from bertsmith.config import load
    from bertsmith.text.prepare import PrepareRecipe, prepare

    loaded = load(PrepareRecipe, "prepare", recipe, overrides or ())
    with stopping(command_of("prepare", recipe, overrides, out)):
        data = prepare(loaded.settings, out, overwrite)
    print(
        f"wrote {data.path}: {data.num_tokens('train'):,} training and {data.num_tokens('heldout'):,} held-out tokens"
    )
    say_next(f"bertsmith pretrain bert-small-owt data={out} --out runs/bert-small-owt")


@app.command()
def pretrain(recipe: Recipe, overrides: Overrides = None, out: Out = ..., overwrite: Overwrite = False) -> None:
    """Train an encoder on token shards; the same command continues it."""
    from bertsmith.config import load
    from bertsmith.probes.blimp import blimp_probes
    from bertsmith.training.pretrain import pretrain
    from bertsmith.training.recipe import PretrainRecipe

    loaded = load(PretrainRecipe, "pretrain", recipe, overrides or ())
    with stopping(command_of("pretrain", recipe, overrides, out)):
        pretrain(loaded.settings, out, overwrite, blimp_probes(loaded.settings))
    print(f"wrote {out}")
    say_next(f"bertsmith finetune cola model={out} data=data/glue --out {out}-cola")


add_verbs(app)


@app.command()
def evaluate(
    model: Model,
    asked: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE …]", help="data, evaluate_rows, blimp, pairs, machine.…")
    ] = None,
    as_json: AsJson = False,
    paradigms: Annotated[
        bool, typer.Option("--paradigms", help="BLiMP's 67 paradigms too, not its phenomena alone")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="a JSON file to write as well")] = None,
) -> None:
    """Held-out measures (data=DIR; a run's own data without it), or BLiMP's (blimp=DIR pairs=200)."""
    from bertsmith.answers import show_evaluation
    from bertsmith.config import lay_over
    from bertsmith.files import make_folder, refuse_folder
    from bertsmith.predictor import Predictor
    from bertsmith.probes.evaluate import EvaluateSettings, evaluate_model

    settings = lay_over(EvaluateSettings, {}, asked or ()).settings
    if out is not None:
        refuse_folder(out)
        make_folder(out.resolve().parent)
    show_evaluation(evaluate_model(Predictor(model).pretrained("be evaluated"), settings), as_json, paradigms, out)


@app.command()
def predict(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT …]", help="a tab parts a pair, and a question from its context; - for standard input"
        ),
    ] = None,
    *,
    file: File = None,
    top: Annotated[int, typer.Option("--top", min=1, help="guesses for a [MASK]")] = 5,
    as_json: AsJson = False,
    truncate: Truncate = False,
    device: Device = "auto",
    task: OfTask = None,
) -> None:
    """Fill [MASK]; a discriminator finds replaced tokens; a fine-tuned model classifies, tags or answers."""
    from bertsmith.answers import lines_of
    from bertsmith.file_answers import print_predictions
    from bertsmith.predictor import Predictor

    lines = lines_of(texts or [], file)
    print_predictions(Predictor(model, device, task), lines, file, top, truncate, as_json)


@app.command()
def score(
    model: Model,
    file: Annotated[str, typer.Argument(metavar="FILE", help="a sentence a line; - for standard input")],
    as_json: AsJson = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="each token's share too")] = False,
    truncate: Truncate = False,
    device: Device = "auto",
) -> None:
    """A line for each line of FILE: its pseudo-log-likelihood in nats (of a discriminator, how well its tokens fit),
    and its number of tokens."""
    from bertsmith.answers import print_scores
    from bertsmith.predictor import Predictor

    print_scores(Predictor(model, device), file, per_token, truncate, as_json)


@app.command()
def export(
    run: Path,
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR")],
    onnx: Annotated[bool, typer.Option("--onnx", help="with a model.onnx, for onnxruntime")] = False,
    opset: Annotated[int | None, typer.Option(metavar="N", help="of that file; implies --onnx  [default: 18]")] = None,
    task: OfTask = None,
) -> None:
    """Write a run as a Hugging Face folder."""
    from bertsmith.export import export_run, how_to_load
    from bertsmith.interop.onnx import DEFAULT_OPSET

    if onnx and opset is None:
        opset = DEFAULT_OPSET
    print(f"wrote {export_run(run, out, opset, task)}")
    say_next(how_to_load(out))


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE …]", help="generator=, vocab=, lowercase=, heads=")
    ] = None,
) -> None:
    """Read somebody's BERT, ELECTRA or WordPiece ModernBERT: a Hugging Face folder or a TensorFlow checkpoint."""
    from bertsmith.config import lay_over
    from bertsmith.importing import ImportSettings, import_model

    for line in import_model(path, out, lay_over(ImportSettings, {}, overrides or ()).settings):
        print(line)
    print(f"wrote {out}")
    model = out / "discriminator" if (out / "discriminator").is_dir() else out
    say_next(f"bertsmith prepare text corpus=PATH vocab={model} --out data/mine")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN …]")],
    out: Annotated[Path | None, typer.Option("--out", help="the page to write")] = None,
) -> None:
    """Write one HTML page about one run or several side by side."""
    from bertsmith.files import refuse_folder
    from bertsmith.reports.page import write_page

    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    refuse_folder(out)
    print(f"wrote {write_page(runs, out)}")
    say_next(f"open {out} in a browser")


@app.command()
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
        print(context.get_help())
        return
    from bertsmith.from_electra.recipe import command, recipe_from_electra

    written = recipe_from_electra(hparams, finetune=finetuning, compat=compat)
    print(written.text, end="")
    print(f"next: {command(written.verb, 'my.toml')}", file=sys.stderr)


@app.command()
def show(what: Annotated[str, typer.Argument(metavar="RECIPE|DATA|RUN")], overrides: Overrides = None) -> None:
    """Every setting with its value, origin and meaning; or what a data folder or a run holds."""
    from bertsmith.show import show

    say_next(show(what, overrides or ()))


@app.command()
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
) -> None:
    """What pre-training takes, without training: parameters, FLOPs, memory, time and cost."""
    from dataclasses import asdict

    from bertsmith.estimate import Assumptions, estimate, print_estimate

    found = estimate(recipe, overrides or (), Assumptions(utilisation, gpu or (), price, vocab_size))
    if as_json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        say_next(print_estimate(found))


@app.command()
def doctor() -> None:
    """Versions, GPU and kernels, disk, and what will be used; exit status 1 when a GPU is present but unusable."""
    from bertsmith.doctor import doctor

    status = doctor()
    if not status:
        say_next("bertsmith quickstart")
    raise typer.Exit(status)
