"""What `bertsmith finetune` can be told."""

from dataclasses import replace
from typing import Literal, get_args, get_type_hints

from bertsmith.config.fields import setting, settings
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.early_stopping import EarlyStoppingSettings
from bertsmith.tasks.mixing import SEVERAL, SeveralSettings
from bertsmith.training.machine import MachineSettings
from bertsmith.training.optimizers import OptimizerSettings
from bertsmith.training.schedules import ScheduleSettings

QUESTION_TASKS = ("squad-v1.1", "squad-v2.0", "newsqa", "naturalqs", "triviaqa", "searchqa")
"""Answered by a stretch of a text."""


@settings
class FinetuneRecipe:
    """How an encoder learns a labelled task; the defaults are the reference's for its small and base sizes.

    Source: google-research/electra, configure_finetuning.py.
    """

    task: Literal[
        "cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli", "chunk",
        "squad-v1.1", "squad-v2.0", "newsqa", "naturalqs", "triviaqa", "searchqa", "custom", "several",
    ] = setting(
        description="a GLUE task, chunk (CoNLL-2000), questions (SQuAD, MRQA), custom, or several of them"
    )  # fmt: skip
    model: str = setting(
        description="where to start: a pre-training run, or a Hugging Face folder of a BERT, ELECTRA or ModernBERT",
        identity=False,
    )
    data: str = setting(
        description="the GLUE folder, with a folder a task; of chunk the folder of its train.txt and test.txt; of "
        "questions and of a custom task that of its train and dev files",
        identity=False,
    )
    seeds: int = setting(3, "trials, with the seeds 0, 1, …; more are added to those there", ge=1, identity=False)
    epochs: float = setting(3, "times that every training example is seen", gt=0)
    batch_size: int = setting(32, "examples a step; of questions windows", ge=1)
    similar_lengths: bool = setting(
        False,
        "batches of rows of similar length: less padding, so faster, on a GPU above all; chunking came out 0.2 lower",
    )
    sequence_length: int = setting(
        128,
        "longest row in tokens, [CLS] and [SEP] included; longer texts are cut, questions' contexts read in windows",
        ge=5,
    )
    double_unordered: bool = setting(True, "where a pair has no order (MRPC, STS-B), train on both orders")
    layerwise_lr_decay: float = setting(
        0.8, "factor on the learning rate from each layer to the one below it; 1 for none", gt=0, le=1
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none",
        "balanced: in the loss examples count for more, the rarer their class, N / (classes × examples of the class); "
        "of multi-label those with a label, as often as there are examples without it. custom.weights gives others",
    )
    classifier_pooling: Literal["cls", "mean"] | None = setting(
        None,
        "of texts, for a modern encoder: read classes from the vector of [CLS], or the mean of the row; left out: as "
        "the model says (its classifier_pooling)",
    )
    random_weights: bool = setting(
        False, "take only the model's shape and tokenizer and start from random weights, the mark to beat"
    )
    compat: bool = setting(
        False,
        "do as the reference also where that is odd; docs/departures.md lists where. Its head cannot be exported",
    )
    check_counts: bool = setting(True, "refuse GLUE files whose number of examples is not the published one")
    skip_malformed: bool = setting(False, "leave malformed lines of a file out, and count them, instead of stopping")
    custom: CustomSettings = setting(CustomSettings(), "the columns of a custom task")
    answering: AnsweringSettings = setting(AnsweringSettings(), "how answers to questions are found")
    several: SeveralSettings = setting(SeveralSettings(), "the tasks of a run of several")
    early_stopping: EarlyStoppingSettings = setting(EarlyStoppingSettings(), "whether to stop early, and when")
    schedule: ScheduleSettings = setting(
        ScheduleSettings(learning_rate=1e-4, warmup_proportion=0.1), "the learning rate"
    )
    optimizer: OptimizerSettings = setting(OptimizerSettings(), "how weights move")
    machine: MachineSettings = setting(MachineSettings(), "on what", identity=False)

    def __post_init__(self) -> None:
        if self.compat and self.classifier_pooling == "mean":
            raise ValueError("classifier_pooling = 'mean': the reference reads [CLS]; leave it or compat out")
        if self.task == SEVERAL:
            self.several.check(get_args(get_type_hints(FinetuneRecipe)["task"]))
            if self.custom.weights and "custom" not in self.several.tasks:
                raise ValueError("custom.weights: several.tasks has no custom task; leave them out")

    def of_task(self, name: str) -> "FinetuneRecipe":
        """The recipe of one of several tasks; `custom.weights` are of the custom one alone."""
        custom = self.custom if name == "custom" else replace(self.custom, weights={})
        return replace(self, task=name, data=self.several.folders.get(name, self.data), custom=custom)

    @property
    def kind(self) -> Literal["texts", "words", "questions"]:
        """What is given an answer: a text or a pair of them, each word, or a question about a text."""
        if self.task == "custom":
            return {"tagging": "words", "answering": "questions"}.get(self.custom.kind, "texts")
        if self.task in QUESTION_TASKS:
            return "questions"
        return "words" if self.task == "chunk" else "texts"

    @property
    def unanswerable(self) -> bool:
        """Whether a question may be without an answer."""
        return self.task == "squad-v2.0" or (self.task == "custom" and self.custom.unanswerable)

    @property
    def exports(self) -> bool:
        """Whether a class of Hugging Face's is like the head."""
        return not (self.kind == "questions" and self.answering.joint)

    def segment_of_words(self, num_segments: int) -> int:
        """The segment id of every token of a tagged sentence, of an encoder that tells `num_segments` apart. The
        reference has them all in segment 1 (finetune/tagging/tagging_tasks.py)."""
        return 1 if self.compat and num_segments > 1 else 0
