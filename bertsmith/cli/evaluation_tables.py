"""What `evaluate` prints."""

import math
from pathlib import Path

from bertsmith.console.terminal import say, say_json, tell
from bertsmith.evals.blimp import Accuracy
from bertsmith.evals.evaluate import Evaluation
from bertsmith.storage.json_files import write_json


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
    """Print the held-out measures, then BLiMP's table; with a line for each paradigm if wanted."""
    for name, value in (evaluation.heldout or {}).items():
        say(f"{name.replace('_', ' '):<24}{'–' if math.isnan(value) else f'{value:.4f}':>10}")
    if evaluation.how is not None:
        say(evaluation.how.measuring.describe(evaluation.how.rows))
    if evaluation.blimp is None:
        return
    width = max(map(len, evaluation.blimp.paradigms if paradigms else evaluation.blimp.phenomena))
    say(f"{'BLiMP':<{width}}  accuracy  ± error   pairs")
    for name, accuracy in evaluation.blimp.phenomena.items():
        say(_row(name.replace("_", " "), accuracy, width))
    if paradigms:
        say()
        for name, accuracy in evaluation.blimp.paradigms.items():
            say(_row(name, accuracy, width))
        say()
    say(_row("overall", evaluation.blimp.overall, width))
    say("half of them would be right by chance")


def _row(name: str, accuracy: Accuracy, width: int) -> str:
    return f"{name:<{width}}  {accuracy.accuracy:>8.3f}  {accuracy.standard_error:>7.3f}  {accuracy.pairs:>6,}"
