"""`bertsmith evaluate`: a model in, its held-out measures, BLiMP accuracies, correlations with STS-B and a quick
reading of GLUE out."""

from pathlib import Path
from typing import Any, NamedTuple, get_args

from bertsmith.config.fields import setting, settings
from bertsmith.evals.blimp import BlimpScores, blimp_of
from bertsmith.evals.held_out import HeldOut, held_out
from bertsmith.evals.likelihood import scoring_head
from bertsmith.hub.pooling import PoolingName
from bertsmith.predict.embedding import open_embedder
from bertsmith.predict.sts import StsScores, read_sts, score_sts
from bertsmith.storage.json_files import finite
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder, pretrained_encoder
from bertsmith.tasks.quick_glue import QUICK_TASKS, Reading, quick_glue
from bertsmith.training.averages import check_averages, with_averages
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model
from bertsmith.training.recipe import QuickTask


@settings
class EvaluateSettings:
    """Settings of `evaluate`."""

    data: str | None = setting(
        None,
        "data folder, or its address, whose held-out text is measured; without it, blimp, glue and sts, the run's own",
        url=True,
    )
    evaluate_rows: int | None = setting(None, "held-out rows; left out: as many as in pre-training", ge=1)
    blimp: str | None = setting(None, "folder of BLiMP's 67 files")
    pairs: int = setting(200, "of each paradigm of BLiMP; 1000 for all", ge=1)
    glue: str | None = setting(
        None, "GLUE folder: fine-tune on at most 5,000 examples of CoLA, SST-2, MRPC, STS-B, RTE, three seeds each"
    )
    glue_tasks: tuple[QuickTask, ...] = setting(
        (), f"which of {', '.join(get_args(QuickTask))}; none named: all that are in the folder"
    )
    sts: str | None = setting(
        None, "GLUE folder, or STS-B's in it: how cosines of texts' vectors correlate with its dev set, zero-shot"
    )
    pooling: PoolingName | None = setting(
        None,
        "of sts, how a text's vector is made: mean, cls, or own, as the model's files for sentence-transformers say; "
        "left out: own where there are such files, else mean",
    )
    jobs: int | None = setting(
        None,
        "of glue: trainings at a time, each in a process of its own, as of `finetune`; left out: one on each GPU, on "
        "the CPU one",
        ge=1,
    )
    averaged: bool = setting(False, "of a pre-training run: the moving average of its weights (average_decay)")
    mean_of: int = setting(1, "of a pre-training run: the mean of its newest checkpoints, this many", ge=1)
    machine: MachineSettings = setting(
        MachineSettings(compile=False),
        "on what; compiling takes longer than most evaluations; BLiMP and sts are in float32 whatever the dtype",
    )

    def __post_init__(self) -> None:
        check_averages(self.averaged, self.mean_of)
        if self.takes_averages and (self.jobs or 1) > 1:
            raise ValueError(
                f"jobs = {self.jobs}: averages of weights lie in no folder; export them, or leave jobs out"
            )
        if self.pooling is not None and self.sts is None:
            raise ValueError(f"pooling = {self.pooling}: of use with sts=DIR alone")
        if self.glue_tasks and self.glue is None:
            raise ValueError(
                f"glue_tasks = {list(self.glue_tasks)}: without glue nothing is read; add glue=DIR, or leave it out"
            )

    @property
    def takes_averages(self) -> bool:
        """Whether averages of a run's weights are measured."""
        return self.averaged or self.mean_of > 1


class Evaluation(NamedTuple):
    """Measures of a model; None where they were not asked for."""

    heldout: dict[str, float] | None
    blimp: BlimpScores | None
    how: HeldOut | None = None
    """How the held-out measures were taken."""
    glue: dict[str, Reading] | None = None
    """By task, and of all as "mean"."""
    sts: StsScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs; a measure that is not finite is null."""
        content: dict[str, Any] = {}
        if self.heldout is not None:
            content["heldout"] = finite(self.heldout)
        if self.how is not None:
            content["measured"] = {"heldout_rows": self.how.rows, **self.how.measuring.to_json()}
        if self.blimp is not None:
            content["blimp"] = self.blimp.to_json()
        if self.glue is not None:
            content["glue"] = {task: finite(reading.to_json()) for task, reading in self.glue.items()}
        if self.sts is not None:
            content["sts"] = self.sts.to_json()
        return content


def evaluate_model(model: Model, asked: EvaluateSettings) -> Evaluation:
    """Measure a pre-trained model.

    Raises:
        UserError: as `with_averages`, `held_out`, `read_blimp`, `quick_glue`, `read_sts` and `open_embedder`; the model
            has no head to be asked with.
    """
    model = with_averages(model, asked.averaged, asked.mean_of)
    measures = how = blimp = glue = sts = None
    if asked.data is not None or (asked.blimp is None and asked.glue is None and asked.sts is None):
        how = held_out(model, asked.data, asked.evaluate_rows, asked.machine)
        measures = how.measures
    if asked.blimp is not None:
        machine = choose_machine(asked.machine, model.tokenizer.pad_id)
        scoring_head(model)
        network = model.network.build()
        machine.prepare_model(network)
        blimp = blimp_of(network, Path(asked.blimp), asked.pairs, model.tokenizer, machine)
    if asked.glue is not None:
        tasks = asked.glue_tasks or QUICK_TASKS
        given: Path | PretrainedEncoder = model.path
        jobs = asked.jobs
        if asked.takes_averages:  # which lie in no folder, that other processes could read
            given, jobs = pretrained_encoder(model.network, model.tokenizer), 1
        glue = quick_glue(given, Path(asked.glue), asked.machine, model.length, tasks, jobs=jobs)
    if asked.sts is not None:
        pairs = read_sts(Path(asked.sts))
        machine = choose_machine(asked.machine, model.tokenizer.pad_id)
        encoder = model.network.build_encoder()
        machine.prepare_model(encoder)
        sts = score_sts(open_embedder(model, encoder, machine, pooling=asked.pooling), pairs)
    return Evaluation(measures, blimp, how, glue, sts)
