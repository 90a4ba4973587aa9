"""Fine-tuning: a pre-trained encoder and a labelled task in, a trial a seed and their scores out."""

from pathlib import Path
from typing import Any

from bertsmith.config.loading import Loaded
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.results import by_task
from bertsmith.tasks.trials.contexts import Contexts
from bertsmith.tasks.trials.run import FinetuneRun
from bertsmith.tasks.trials.schedule import run_trials


@no_empty_folder
def finetune(loaded: Loaded, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Run the trials of a `FinetuneRecipe` that the folder `out` does not have yet; returns its results.json.

    A trial is whole or absent: one that was killed starts again from its beginning, finished ones stay. With the
    recipe's `jobs` several run side by side, in processes of their own.

    Raises:
        UserError: the model or the data cannot be used; `out` belongs to another recipe, model or data (what differs
            is named) or to another process; memory or disk is full; gradients are not finite.
        Interrupted: by SIGTERM or SIGINT; the trials finished before it stay.
    """
    contexts = Contexts()
    with FinetuneRun(contexts.plan(loaded.settings), out) as run:
        run.open(overwrite)
        run_trials([run], contexts)
    return run.results


def score_table(results: dict[str, Any]) -> list[str]:
    """Return the lines of a table for each task: scores by seed; of several seeds median, mean and deviation too."""
    trials = {f"seed {trial['seed']}": by_task(trial["metrics"]) for trial in results["trials"]}
    lines = []
    for task, summary in by_task(results["summary"]).items():
        rows = {seed: metrics[task] for seed, metrics in trials.items()}
        for row in ("median", "mean", "std") if len(trials) > 1 else ():
            rows[row] = {name: values[row] for name, values in summary.items()}
        widths = {name: max(10, len(name) + 2) for name in summary}
        lines.append(f"{task or results['task']:>10}" + "".join(f"{name:>{width}}" for name, width in widths.items()))
        for row, scores in rows.items():
            lines.append(f"{row:>10}" + "".join(f"{scores[name]:>{width}.4f}" for name, width in widths.items()))
    return lines
