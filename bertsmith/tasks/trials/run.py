"""The folder of a fine-tuning run: opened and locked; the trials that it lacks; its results.

RUN/recipe.toml          every setting of the run
    manifest.json        what it is: identity, task, model; finished or not
    tokenizer.json       vocab.txt …
    trials/seed-0/…      see `bertsmith.tasks.trial`
    results.json         all trials' scores, rewritten after each
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from bertsmith.config.loading import defaults, to_dict, to_toml
from bertsmith.console.terminal import say
from bertsmith.storage.files import Held, locked, make_folder, own_folder, write_text
from bertsmith.storage.folders import no_empty_folder, numbered_folders, open_run_folder, remove_unfinished
from bertsmith.storage.json_files import member, write_json
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.storage.results import cautions_of, read_trial_results
from bertsmith.tasks.metrics import summarize
from bertsmith.tasks.runs import trial_folder
from bertsmith.tasks.trial import trial_name
from bertsmith.tasks.trials.contexts import RunPlan


class FinetuneRun:
    """A fine-tuning run and its folder, which this process holds from `open` on, until the run is finished or its
    `with` block ends."""

    def __init__(self, plan: RunPlan, out: Path):
        self.plan, self.out = plan, out
        self.results: dict[str, Any] = {}
        self._held: Held | None = None
        self._lock = ExitStack()

    def __enter__(self) -> "FinetuneRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, traceback)
        self._held = None

    def check(self) -> None:
        """Raise UserError where the folder is another run's; nothing is written."""
        _check_folder(self.plan, self.out, overwrite=False)

    def open(self, overwrite: bool = False) -> None:
        """Make the folder this run's, or take it up; nothing where it is open.

        Raises:
            UserError: it belongs to another recipe, model or data (what differs is named), or to another process.
        """
        if self._held is None:
            self._held = _take(self.plan, self.out, overwrite, self._lock)

    def missing(self) -> list[int]:
        """Return the seeds whose trials are not there."""
        return [seed for seed in range(self.plan.source.recipe.seeds) if not trial_folder(self.out, seed).is_dir()]

    def write_results(self) -> None:
        """Write results.json out of all finished trials."""
        assert self._held is not None, "it is open"
        self._held.check()
        self.results = self._collect()
        write_json(self.out / "results.json", self.results)

    def finish(self) -> None:
        """Write results.json, mark the run as finished and let its folder go; say what early stopping kept of each
        trial, and what it was warned of."""
        self.write_results()
        write_manifest(self.out, "finetune", read_manifest(self.out, "finetune") | {"finished": True})
        for trial in self.results["trials"]:
            name = trial_name(self.plan.source.name, trial["seed"])
            details = read_trial_results(trial_folder(self.out, trial["seed"]), trial["seed"])
            if stopping := details.get("early_stopping"):
                _say(
                    f"{name}: the weights of step {stopping['step']} of {details['steps']} are kept, "
                    f"{stopping['metric']} {stopping['score']:.4f} on held-out examples"
                )
            for caution in cautions_of(details):
                _say(f"{name}: {caution}")
        if before := self.plan.finetuned_on:
            _say(f"started from a model that had learnt {', '.join(before)} before")
        self._lock.close()
        self._held = None

    def _collect(self) -> dict[str, Any]:
        """Return the content of results.json."""
        trials, metrics = [], self.plan.metrics
        for seed in numbered_folders(self.out / "trials", "seed-"):
            path = str(trial_folder(self.out, seed) / "results.json")
            scores = member(read_trial_results(trial_folder(self.out, seed), seed), "metrics", dict, path)
            for name in metrics:
                member(scores, name, float, path)
            trials.append({"seed": seed, "metrics": scores})
        summary = {name: summarize([trial["metrics"][name] for trial in trials]) for name in metrics}
        return {"task": self.plan.about["task"], "trials": trials, "summary": summary}


class Trial(NamedTuple):
    """One seed of a run."""

    run: FinetuneRun
    seed: int

    @property
    def name(self) -> str:
        return trial_name(self.run.plan.source.name, self.seed)

    @property
    def folder(self) -> Path:
        return trial_folder(self.run.out, self.seed)

    @property
    def cost(self) -> float:
        """Characters that it goes through, those it trains on three times an epoch: a step goes forward, and then
        backward for twice as long."""
        characters = self.run.plan.num_characters
        return 3 * self.run.plan.source.recipe.epochs * characters["train"] + characters["dev"]


@no_empty_folder
def _take(plan: RunPlan, out: Path, overwrite: bool, lock: ExitStack) -> Held:
    """Lock the folder, for as long as `lock` says, and write what the run is."""
    make_folder(out)
    held = lock.enter_context(locked(out))
    _check_folder(plan, out, overwrite)
    remove_unfinished(own_folder(out / "trials"), "seed-")
    recipe = plan.source.recipe
    content = {"identity": plan.source.identity, "recipe": to_dict(recipe), **plan.about, "finished": False}
    write_manifest(out, "finetune", content)
    # After the manifest: of a run that is killed between them, the folder can be recognised.
    write_text(out / "recipe.toml", to_toml(recipe))
    plan.tokenizer.save(out)
    return held


def _check_folder(plan: RunPlan, out: Path, overwrite: bool) -> None:
    source = plan.source
    open_run_folder(out, FOLDER_TYPES["finetune"], source.identity, defaults(source.recipe), overwrite)


def _say(text: str) -> None:
    say(text, error=True)
