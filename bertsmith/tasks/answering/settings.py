"""The settings of question answering."""

from bertsmith.config.fields import setting, settings

JOINT = ("joint = true",)


@settings
class AnsweringSettings:
    """Settings of the rows of questions and contexts, and of the search for answers in them; the defaults are the
    reference's.

    Source: google-research/electra, configure_finetuning.py.
    """

    train: str | None = setting(None, "file to learn from, in place of the one in data", identity=False)
    dev: str | None = setting(None, "file to be scored on, in place of the one in data", identity=False)
    nearest: bool = setting(
        False, "where a training answer does not stand at its offset, take its nearest occurrence; otherwise it is lost"
    )
    question_length: int = setting(64, "tokens of a question; a longer one loses its end", ge=1)
    stride: int = setting(128, "tokens of the context from one window's beginning to the next one's", ge=1)
    answer_length: int = setting(30, "longest answer, in tokens", ge=1)
    joint: bool = setting(
        True, "the end depends on the beginning; false: both by themselves, as in Hugging Face's classes"
    )
    beam_size: int = setting(20, "beginnings of a window for which ends are looked for, where joint", ge=1, only=JOINT)
    answerable_weight: float = setting(
        0.5,
        "of the loss of saying whether there is an answer, where joint and questions may be without one",
        ge=0,
        only=JOINT,
    )
    null_threshold: float | None = setting(
        None,
        "null odds above which a question counts as given no answer; left out, -2.75 where joint, otherwise 0, and for "
        "`predict` and `submit` what gave the best F1 on dev",
    )
    force_length: bool = setting(False, "take rows that are longer than those the model was pre-trained on")

    @property
    def tags(self) -> set[str]:
        return {f"joint = {str(self.joint).lower()}"}

    @property
    def threshold(self) -> float:
        """Threshold of null odds: joint ones are a logit, as in the reference; others a difference of scores."""
        if self.null_threshold is not None:
            return self.null_threshold
        return -2.75 if self.joint else 0.0
