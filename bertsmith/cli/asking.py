"""The verbs that ask a model, which `app` adds: `evaluate`, `predict`, `score`, `embed`."""

from pathlib import Path
from typing import Annotated

import typer

from bertsmith.cli import arguments as args
from bertsmith.console.terminal import say, tell
from bertsmith.storage.folders import no_empty_folder


@no_empty_folder
def evaluate(
    model: args.ModelArgument,
    asked: Annotated[
        list[str] | None, args.key_values("data=, evaluate_rows=, blimp=, pairs=, sts=, pooling=, glue=, jobs=, …")
    ] = None,
    as_json: args.AsJson = False,
    paradigms: Annotated[bool, typer.Option("--paradigms", help="show each of BLiMP's 67 paradigms")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="also write the measures to this JSON file")] = None,
    plugin: args.Plugins = None,
) -> None:
    """Measure a model on held-out text, BLiMP, STS-B or GLUE. Text is data=DIR, by default the run's own; BLiMP is
    blimp=DIR pairs=200; sts=DIR correlates cosines of texts' vectors with STS-B; glue=DIR fine-tunes on at most 5,000
    examples of five tasks."""
    from bertsmith.cli.answers import show_evaluation
    from bertsmith.config.loading import apply_overrides
    from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
    from bertsmith.predict.predictor import Predictor
    from bertsmith.storage.file_types import EVALUATION_FILE, check_output
    from bertsmith.storage.files import make_folder

    settings = apply_overrides(EvaluateSettings, {}, asked or ()).settings
    if out is not None:
        check_output(out, EVALUATION_FILE)
        make_folder(out.resolve().parent)
    with args.stopping(None):
        evaluation = evaluate_model(Predictor(model).pretrained("be evaluated"), settings)
    show_evaluation(evaluation, as_json, paradigms, out)


def predict(
    model: args.ModelArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT …]", help="pairs, or a question and its context, separated by a tab; - for stdin"
        ),
    ] = None,
    *,
    file: args.FileOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="tokens to show for each [MASK]")] = 5,
    as_json: args.AsJson = False,
    truncate: args.Truncate = False,
    device: args.Device = "auto",
    task: args.OfTask = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="write rows with answers to this .csv, .tsv, .jsonl or .parquet file")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file of --out if it exists")] = False,
    plugin: args.Plugins = None,
) -> None:
    """Fill in [MASK], classify, tag or answer. A discriminator finds replaced tokens."""
    from bertsmith.cli.answers import print_predictions
    from bertsmith.errors import UserError
    from bertsmith.predict.predictor import Predictor
    from bertsmith.predict.rows import lines_of

    if out is not None and as_json:
        raise UserError("--json and --out: give one of them; an --out that ends in .jsonl has an object a line")
    lines = lines_of(texts or [], file)
    asked = Predictor(model, device, task)
    print_predictions(asked, lines, file, top, truncate, as_json, out=out, overwrite=overwrite)


def score(
    model: args.ModelArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="one sentence a line; - for standard input")],
    as_json: args.AsJson = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="show the score of each token")] = False,
    truncate: args.Truncate = False,
    device: args.Device = "auto",
    *,
    plugin: args.Plugins = None,
) -> None:
    """Score texts by pseudo-log-likelihood. For each line of FILE, prints its score in nats (for a discriminator, how
    well its tokens fit) and its number of tokens."""
    from bertsmith.cli.answers import print_scores
    from bertsmith.predict.predictor import Predictor

    print_scores(Predictor(model, device), file, per_token, truncate, as_json)


@no_empty_folder
def embed(
    model: args.ModelArgument,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="one text a line, - for standard input; .tsv, .csv, .jsonl, .parquet: a table"
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="the .npy file to write, a row a text")],
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", metavar="own|mean|cls", help="[default: the model's own, else mean]"),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="vectors of length 1  [default: as the model's own pooling]"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="NAME", help="one of the prompts in the model's own files")
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", metavar="NAME", help="of a table, the one with the texts  [default: text]")
    ] = None,
    device: args.Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file of --out if it exists")] = False,
    plugin: args.Plugins = None,
) -> None:
    """Turn each text of FILE into a vector. Longer texts are cut to the model's length."""
    from bertsmith.predict.predictor import Predictor
    from bertsmith.predict.rows import check_out
    from bertsmith.predict.vectors import VECTORS_ENDING, read_texts, write_vectors

    check_out(out, file, overwrite, (VECTORS_ENDING,))
    texts = read_texts(file, column)
    embedder = Predictor(model, device).embedder(pooling, normalize, prompt)
    with args.stopping(None):
        num_cut = write_vectors(embedder, texts, out)
    if num_cut:
        say(f"{num_cut:,} of {len(texts):,} texts were cut to {embedder.length} tokens", error=True)
    if blank := sum(not text.strip() for text in texts):
        say(f"{blank:,} of {len(texts):,} texts are blank", error=True)
    tell(f"wrote {out}: {len(texts):,} vectors of {embedder.pooler.width} numbers, {embedder.description}")
