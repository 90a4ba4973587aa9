"""The results of `predict` and `score`, a line a row (of a blank row empty, in JSON null) or a table; of `evaluate`;
of `plan`: what a pre-training takes, and on which GPU.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from bertsmith.cli.show import print_facts
from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.terminal import aligned, say, say_json, tell
from bertsmith.evals.blimp import Accuracy
from bertsmith.evals.likelihood import MEASURES
from bertsmith.planning.estimate import Estimate, OnGPU
from bertsmith.predict.evaluate import Evaluation
from bertsmith.predict.pipelines import Line, Score, pipeline_of
from bertsmith.predict.predictor import Predictor
from bertsmith.predict.rows import AskedRows, answered, asked_rows, check_cells, check_out, read_lines, write_table
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import write_json


@no_empty_folder
def print_predictions(
    model: Predictor,
    lines: Iterable[str],
    file: str | None,
    max_guesses: int,
    truncate: bool,
    as_json: bool,
    *,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Print an answer for each of `lines` (those of `file`, if there is one) or each row of the table `file`; or write
    the rows with their answers to the table `out`. Raises UserError where a row cannot be read or answered, or `out`
    cannot be written."""
    pipeline = pipeline_of(model, max_guesses, truncate)
    if out is not None:
        check_out(out, file, overwrite)
    asked = asked_rows(pipeline, lines, file)
    num_rows = 0
    if out is None:
        for line in answered(pipeline, asked):
            say_line(line, as_json, asked.separator)
            num_rows += 1
    else:
        asked = asked._replace(rows=list(asked.rows))
        columns = asked.columns()
        check_cells(out, columns)
        answers = list(answered(pipeline, asked))
        write_table(out, columns, answers)
        num_rows = len(answers)
        tell(f"wrote {out}: {num_rows:,} rows")
    for note in pipeline.notes(num_rows):
        say(note, error=True)


def print_scores(model: Predictor, file: str, per_token: bool, truncate: bool, as_json: bool) -> None:
    """Print a line for each line of `file`, and for people what the scores are the sums of."""
    if not as_json:
        say(f"score: {MEASURES[model.score_measure]}", error=True)
    pipeline = Score(model, truncate, per_token=per_token)
    rows = AskedRows((pipeline.parse(line) if line.strip() else None for line in read_lines(file)), dict)
    for line in answered(pipeline, rows):
        say_line(line, as_json, "\t")


def say_line(line: Line, as_json: bool, separator: str) -> None:
    """Print one answer."""
    if as_json:
        say_json(line.content)
    else:
        say(separator.join(line.parts))


def show_evaluation(evaluation: Evaluation, as_json: bool, paradigms: bool, out: Path | None) -> None:
    """Print it as tables or as JSON, and write it to the file `out` too if there is one."""
    if out is not None:
        write_json(out, evaluation.to_json())
    if as_json:
        say_json(evaluation.to_json())
        return
    _print_tables(evaluation, paradigms)
    if out is not None:
        tell(f"wrote {out}")


def _print_tables(evaluation: Evaluation, paradigms: bool) -> None:
    """Print the held-out measures, then the tables of BLiMP and GLUE; BLiMP's with each paradigm if wanted."""
    for name, value in (evaluation.heldout or {}).items():
        say(f"{name.replace('_', ' '):<24}{'–' if math.isnan(value) else f'{value:.4f}':>10}")
    if evaluation.how is not None:
        say(evaluation.how.measuring.describe(evaluation.how.rows))
    if (blimp := evaluation.blimp) is not None:
        rows = [("BLiMP", "accuracy", "± error", "pairs")]
        rows += [_accuracy_row(name.replace("_", " "), accuracy) for name, accuracy in blimp.phenomena.items()]
        if paradigms:
            rows += [
                ("",) * 4,
                *(_accuracy_row(name, accuracy) for name, accuracy in blimp.paradigms.items()),
                ("",) * 4,
            ]
        _print_table([*rows, _accuracy_row("overall", blimp.overall)], "half of them would be right by chance")
    if (sts := evaluation.sts) is not None:
        table: list[tuple[str, ...]] = [("STS-B, zero-shot", "correlation")]
        table += [(name, f"{getattr(sts, name):.4f}") for name in ("spearman", "pearson")]
        cut = f"; {sts.num_cut:,} texts were cut" if sts.num_cut else ""
        _print_table(table, f"of the cosines of {sts.pairs:,} pairs of texts with people's scores, {sts.pooling}{cut}")
    if (glue := evaluation.glue) is not None:
        rows = [("GLUE, quick", "metric", "score", "± error")]
        rows += [(task, each.metric, f"{each.mean:.4f}", f"{each.standard_error:.4f}") for task, each in glue.items()]
        _print_table(rows, "fine-tuned on at most 5,000 examples, three seeds a task; the error is that of their mean")


def _print_table(rows: Sequence[Sequence[str]], note: str) -> None:
    for line in aligned(rows):
        say(line)
    say(note)


def _accuracy_row(name: str, accuracy: Accuracy) -> tuple[str, str, str, str]:
    return name, f"{accuracy.accuracy:.3f}", f"{accuracy.standard_error:.3f}", f"{accuracy.pairs:,}"


def print_estimate(found: Estimate) -> list[object]:
    """Print two tables for people: what it takes, and where; return the words of the next command."""
    print_facts(f"{found.recipe}: what it takes, without training", _facts(found))
    share = f"{100 * found.utilisation:g} % of its data sheet's peak"
    which = "one GPU" if found.num_gpus == 1 else f"{found.num_gpus} GPUs together, each"
    say(f"\n{which} at {share} and assumed prices; --utilisation, --price")
    headings = ["", "numbers", "peak", "rows at once", "memory", "tokens/s", "tokens", "time", "USD an hour", "USD"]
    rows = [[*_row(on)] for on in found.gpus]
    if found.num_gpus > 1:
        headings.append("summing gradients")
        shares = ["–" if on.reducing is None else f"{100 * on.reducing:.2g} %" for on in found.gpus]
        rows = [[*row, share] for row, share in zip(rows, shares, strict=True)]
    for line in aligned([headings, *rows]):
        say(f"  {line}")
    data = ["data=DATA"] if found.data is None else []
    return ["pretrain", found.recipe, *found.overrides, *data, "--out", f"runs/{Path(found.recipe).stem}"]


def _facts(found: Estimate) -> dict[str, str]:
    parts = ", ".join(f"{name} {number:,}" for name, number in found.parameters.items() if name != "total")
    memory = found.memory_on_cpu
    on_cpu = f"{_gigabytes(memory.process)} with {memory.num_rows:,} rows at once"
    return {
        "parameters": f"{found.parameters['total']:,}: {parts}",
        "vocabulary": f"{found.vocab_size:,} tokens ({found.vocab_source})",
        "plan": _plan(found),
        **({} if found.mix is None else {"mix": found.mix.removeprefix("mix: ")}),
        "FLOPs": f"{_flops(found.flops, found.flops_per_token)} (matrix products; backward = 2 × forward)",
        "as the reference counts": _reference(found),
        "memory on the CPU": f"{on_cpu}, all of the process; tensors take {_gigabytes(memory.total)} of it",
    }


def _plan(found: Estimate) -> str:
    rows = [f"{stage.batch_size:,} rows × {stage.length:,} tokens" for stage in found.stages]
    if found.tokens is None:
        ends = [f" ({format_count(stage.tokens)} tokens)" if stage.tokens else "" for stage in found.stages]
        return f"{found.hours:g} hours of steps of {', then '.join(map(''.join, zip(rows, ends, strict=True)))}"
    steps = " + ".join(f"{stage.steps:,} steps × {row}" for stage, row in zip(found.stages, rows, strict=True))
    passes = f", {found.tokens / found.data_tokens:,.1f} times the data's" if found.data_tokens else ""
    return f"{steps} = {format_count(found.tokens)} tokens{passes}"


def _reference(found: Estimate) -> str:
    if found.reference_flops_per_token is None:
        return "it has no count of such a model"
    count = f"{_flops(found.reference_flops, found.reference_flops_per_token)} (all operations; backward = forward)"
    flops = found.reference_flops
    if flops is None:
        return count
    name = min(found.published_flops, key=lambda name: abs(math.log(found.published_flops[name] / flops)))
    return f"{count}; {name} has {_power(found.published_flops[name])}"


def _flops(total: float | None, per_token: float) -> str:
    a_token = f"{format_count(per_token)} a token"
    return a_token if total is None else f"{_power(total)}, {a_token}"


def _power(number: float) -> str:
    return f"{number:.3g}".replace("e+", "e")


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"


def _row(on: OnGPU) -> tuple[str, ...]:
    peak = "–" if on.peak_flops is None else f"{on.peak_flops / 1e12:.3g} TFLOP/s"
    price = f"{on.price:.2f}"
    if on.memory is None:
        why = f"no {on.dtype}" if on.peak_flops is None else "none fits"
        return on.name, on.dtype, peak, why, "–", "–", "–", "–", price, "–"
    assert on.tokens_per_second is not None and on.tokens is not None and on.seconds is not None
    assert on.cost is not None
    return (
        on.name, on.dtype, peak, f"{on.memory.num_rows:,}", _gigabytes(on.memory.total),
        format_count(on.tokens_per_second), format_count(on.tokens), format_seconds(on.seconds), price,
        f"{on.cost:,.2f}" if on.cost < 10 else f"{on.cost:,.0f}",
    )  # fmt: skip
