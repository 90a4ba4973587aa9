"""`bertsmith evaluate`: a model in, its held-out measures and its BLiMP accuracies out."""

from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.evals.blimp import BlimpScores, blimp_of
from bertsmith.evals.held_out import HeldOut, held_out
from bertsmith.evals.likelihood import scoring_head
from bertsmith.storage.json_files import finite
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model


@settings
class EvaluateSettings:
    """Settings of `evaluate`."""

    data: str | None = setting(
        None, "data folder whose held-out text is measured; without it and without blimp, the run's own"
    )
    evaluate_rows: int | None = setting(None, "held-out rows; left out: as many as in pre-training", ge=1)
    blimp: str | None = setting(None, "folder of BLiMP's 67 files")
    pairs: int = setting(200, "of each paradigm of BLiMP; 1000 for all", ge=1)
    machine: MachineSettings = setting(
        MachineSettings(compile=False),
        "on what; compiling takes longer than most evaluations; BLiMP is in float32 whatever the dtype",
    )


class Evaluation(NamedTuple):
    """Measures of a model; None where they were not asked for."""

    heldout: dict[str, float] | None
    blimp: BlimpScores | None
    how: HeldOut | None = None
    """How the held-out measures were taken."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs; a measure that is not finite is null."""
        content: dict[str, Any] = {}
        if self.heldout is not None:
            content["heldout"] = finite(self.heldout)
        if self.how is not None:
            content["measured"] = {"heldout_rows": self.how.rows, **self.how.measuring.to_json()}
        if self.blimp is not None:
            content["blimp"] = self.blimp.to_json()
        return content


def evaluate_model(model: Model, asked: EvaluateSettings) -> Evaluation:
    """Measure a pre-trained model.

    Raises:
        UserError: as `held_out` and `read_blimp`; the model has no head to be asked with.
    """
    measures = how = None
    if asked.data is not None or asked.blimp is None:
        how = held_out(model, asked.data, asked.evaluate_rows, asked.machine)
        measures = how.measures
    if asked.blimp is None:
        return Evaluation(measures, None, how)
    machine = choose_machine(asked.machine, model.tokenizer.pad_id)
    scoring_head(model)
    network = model.network.build()
    machine.prepare_model(network)
    return Evaluation(measures, blimp_of(network, Path(asked.blimp), asked.pairs, model.tokenizer, machine), how)
