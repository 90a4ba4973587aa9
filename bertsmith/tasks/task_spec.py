"""What a task is: what its examples look like, what is asked about them, how answers are scored."""

from dataclasses import dataclass

MOST_LABELS = 1000
"""More classes or tags than this are numbers or texts read by mistake."""


@dataclass(frozen=True)
class TaskSpec:
    """A question about a text or about a pair of texts, answered by a class, by any number of labels, or by a number;
    or about each word of a sentence, answered by a tag."""

    name: str
    metrics: tuple[str, ...]
    """Names in `bertsmith.tasks.metrics`, of tags in `tag_scores`; the first one is the task's headline."""
    labels: tuple[str, ...] = ()
    """Of the classes or tags, in the order of their ids; empty for a regression."""
    separator: str | None = None
    """Multi-label: what is written between the labels of an answer; None where an answer is one label."""
    symmetric: bool = False
    """Whether a pair of texts means the same in both orders."""
    low: float = 0.0
    high: float = 1.0
    """Regression: the answers that the model gives as 0 and as 1."""

    @property
    def is_regression(self) -> bool:
        return not self.labels

    @property
    def is_multi_label(self) -> bool:
        """Whether any number of the labels is an answer, none included."""
        return self.separator is not None

    @property
    def num_outputs(self) -> int:
        return len(self.labels) or 1
