"""What a run shows and keeps of its training: lines of metrics, held-out evaluations, and the probes called at them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bertsmith.console.progress import Progress, format_count
from bertsmith.encoders.config import training_flops
from bertsmith.objectives.objective import NO_LOSSES, PretrainingObjective
from bertsmith.storage.results import AVERAGED, task_and_metric
from bertsmith.training.held_out_text import HeldOutText
from bertsmith.training.loop import Event, State, Step
from bertsmith.training.metrics import Meter, MetricsLog, NoLog, with_deviations
from bertsmith.training.optimizers.optimizer import WeightAverage
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.run_warnings import RunWarnings, mean_cosine
from bertsmith.training.runner import Runner, losses_of_all_ranks
from bertsmith.training.schedules import Plan
from bertsmith.training.stages import Stage

Probe = Callable[[PretrainingObjective, Callable[[str], None]], dict[str, float]]
"""A function called with the model at each held-out evaluation: it returns measures, which are logged with the losses,
may show lines below them with its second argument, and leaves the model as it was."""


class PeriodicProbe(NamedTuple):
    """A probe that takes minutes: it is called at the evaluation that comes next after each `steps`, and at the last;
    never with averaged weights. Its time is not the run's."""

    steps: int
    """0: at the last alone."""
    probe: Probe
    skipped: str = "a measure was due, and is left out"
    """The warning where a run that is stopping has no time for it: what is left out, and how to have it after all."""

    def is_due(self, state: State, plan: Plan) -> bool:
        """Return whether it is to be called at the evaluation after this step."""
        before = max(0, state.step - plan.evaluate_steps)
        passed = self.steps > 0 and state.step // self.steps > before // self.steps
        return passed or state.progress(plan) >= 1.0


class TrainLogger:
    """The log of a run: losses between two lines of metrics, added up, and held-out evaluations."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        runner: Runner[PretrainingObjective],
        log: MetricsLog | NoLog,
        bar: Progress,
        probes: Sequence[Probe | PeriodicProbe],
        average: WeightAverage | None,
    ):
        self.recipe, self.runner, self.log, self.bar = recipe, runner, log, bar
        self.periodic = [probe for probe in probes if isinstance(probe, PeriodicProbe)]
        self.probes = [probe for probe in probes if not isinstance(probe, PeriodicProbe)]
        self.average = average
        self.meter = Meter(runner.machine)
        self.run_warnings = RunWarnings(recipe, self.warn)
        self.total = NO_LOSSES
        self.means = ""
        self.measures: dict[str, float] = {}

    def events(self, held_out: HeldOutText) -> list[Event]:
        """Return when it acts, and in which order."""
        plan = self.recipe.plan
        return [
            Event(1, self.add),
            Event(plan.log_steps, self.log_training),
            Event(plan.evaluate_steps, lambda state, step: self.evaluate(held_out, state, step.is_stopping)),
        ]

    def start(self, state: State) -> None:
        self.meter.start(state.tokens, state.seconds)
        self.run_warnings.before_training(state)

    def begin_stage(self, number: int, stages: Sequence[Stage], state: State) -> None:
        """Note the stage that begins or goes on here: what a token costs, and in a run of several which one it is."""
        stage = stages[number]
        flops = self.runner.objective.flops_per_token(stage.rows.length)
        self.meter.set_cost(state.tokens, training_flops(flops))
        if len(stages) > 1:
            after = f"after {format_count(state.tokens)} tokens" if state.tokens else "from the beginning"
            self.bar.line(f"stage {number + 1} of {len(stages)}, {after}: {stage.describe()}")

    def warn(self, step: int, text: str) -> None:
        """Show a warning, and keep it beside the metrics."""
        self.log.warn(step, text)
        self.bar.line(f"warning: {text}")

    def add(self, state: State, step: Step) -> None:
        if math.isfinite(step.gradient_norm):
            self.total += step.losses
        self.run_warnings.after_step(state)
        self.bar.update(state.done(self.recipe.plan), f"step {state.step:,}{self.means}")

    def log_training(self, state: State, step: Step) -> None:
        rates = self.meter.read(state.tokens, state.seconds)
        losses = losses_of_all_ranks(self.total, self.runner.ranks).means()
        self.total = NO_LOSSES
        self.log.write("train", state.step, {
            "tokens": state.tokens, "seconds": round(state.seconds, 3), **losses, "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm, "skipped_steps": state.skipped, **rates,
        })  # fmt: skip
        named = ", ".join(f"{name.replace('_', ' ')} {losses[name]:.3f}" for name in losses if name.endswith("_loss"))
        rate = rates["tokens_per_second"]
        self.means = f", {named}" + ("" if rate is None else f", {format_count(rate)} tokens/s")

    def evaluate(self, held_out: HeldOutText, state: State, is_stopping: bool = False) -> None:
        shown: list[str] = []
        batches = held_out.all
        of_average: dict[str, float] = {}
        if self.average is not None:
            with self.average.applied(), self.runner.whole():
                of_average = self._measure(held_out, lambda line: None)
        with self.runner.whole():
            self.measures = self._measure(held_out, shown.append)
            self.measures |= {f"{AVERAGED}{name}": value for name, value in of_average.items()}
            for each in self.periodic:
                if not each.is_due(state, self.recipe.plan):
                    continue
                if is_stopping:
                    self.warn(state.step, each.skipped)
                else:
                    self.measures |= each.probe(self.runner.objective, shown.append)
            has_cosine = bool(self.measures and batches)
            cosine = mean_cosine(self.runner, batches[0], self.recipe.rows.length) if has_cosine else None
        if not self.measures:
            return
        alike = {} if cosine is None else {"hidden_cosine": cosine}
        self.log.write(
            "heldout", state.step, {"tokens": state.tokens, "seconds": state.seconds, **self.measures, **alike}
        )
        self._show(state, held_out)
        for line in shown:
            self.bar.line(line)
        if cosine is not None:
            self.run_warnings.after_evaluation(state, self.measures, batches, cosine)

    def _show(self, state: State, held_out: HeldOutText) -> None:
        """Show the measures over all text on a line, and those of each of several corpora on lines below."""
        lines: dict[str, list[str]] = {"": [], **{name: [] for name in held_out.batches}}
        for name, value in with_deviations(self.measures).items():
            measure = name.removeprefix(AVERAGED)
            corpus, metric = task_and_metric(measure)
            if corpus not in lines:
                corpus, metric = "", measure
            shown = metric.removeprefix(self.recipe.objective.metric_prefix).replace("_", " ")
            lines[corpus].append(f"{'averaged ' * (measure != name)}{shown} {value}")
        for corpus, found in lines.items():
            title = f"  {corpus}:" if corpus else f"step {state.step:,}: held-out"
            self.bar.line(f"{title} {', '.join(found)}")

    def _measure(self, held_out: HeldOutText, show: Callable[[str], None]) -> dict[str, float]:
        measures = held_out.measure(self.runner, self.recipe.rows.length) if held_out.batches else {}
        for probe in self.probes:
            measures |= probe(self.runner.objective, show)
        return measures
