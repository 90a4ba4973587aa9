"""An answer in the forms that `predict` and `score` give it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from bertsmith.predict.predictor import Filled, TokenValues
from bertsmith.tasks.answering.answerer import FoundAnswer
from bertsmith.tasks.texts.classifier import Labels, Prediction
from bertsmith.tasks.words.tagger import TagsWithProbs

SUSPECT_PROB = 0.5
"""From here on a token is taken for replaced."""


class Line(NamedTuple):
    """One row's answer."""

    parts: list[str]
    """Separated by tabs, or on lines of their own."""
    content: Any
    """For JSON."""
    columns: Mapping[str, Any] = MappingProxyType({})
    """For a table: "prediction", of most "probability", and what else there is."""


NO_ANSWER = Line([], None)
"""To a row that is blank."""


def class_line(answer: Prediction | Labels) -> Line:
    """Return a class with its probability, any number of labels, of none at all a dash, or a number."""
    if isinstance(answer, Labels):
        chosen = [(label, answer.probs[label]) for label in answer.labels]
        columns = {"prediction": list(answer.labels), "probability": [prob for _, prob in chosen]}
        return Line([_listed(chosen, 4) or "-"], {"labels": list(answer.labels), "probs": answer.probs}, columns)
    if answer.label is None:
        number = f"{answer.value:.{answer.decimals}f}"
        return Line([number], {"value": answer.value}, {"prediction": answer.value})
    content = {"label": answer.label, "prob": answer.value, "probs": answer.probs}
    columns = {"prediction": answer.label, "probability": answer.value}
    return Line([f"{answer.label}\t{answer.value:.4f}"], content, columns)


def answer_line(answer: FoundAnswer) -> Line:
    """Return the text in one line, of no answer a dash, and its score; for JSON character by character."""
    content = {"text": answer.text, "start": answer.start, "score": answer.score}
    if answer.null_odds is not None:
        content["null_odds"] = answer.null_odds
    columns = {"prediction": answer.text, "probability": answer.prob, **content}
    del columns["text"]
    score = [] if answer.score is None else [f"{answer.score:.4f}"]
    return Line(["\t".join([" ".join(answer.text.split()) or "-", *score])], content, columns)


def tag_line(words: TagsWithProbs, a_word_a_line: bool = False) -> Line:
    """Return words with their tags, in one line, or as `grade conll2000` reads them."""
    content = {"words": [word for word, _, _ in words], "tags": [tag for _, tag, _ in words]}
    columns = {"words": content["words"], "prediction": content["tags"], "probability": [prob for _, _, prob in words]}
    if a_word_a_line:
        return Line([*(f"{word} {tag}" for word, tag, _ in words), ""], content, columns)
    return Line([" ".join(f"{word}/{tag}" for word, tag, _ in words)], content, columns)


def filled_line(filled: Filled) -> Line:
    """Return the text with its masks filled, and the guesses for each."""
    masks = [[{"token": token, "prob": prob} for token, prob in guesses] for guesses in filled.masks]
    columns = {"prediction": filled.text, "probability": [guesses[0][1] for guesses in filled.masks]}
    parts = [filled.text, *(_listed(guesses, 3) for guesses in filled.masks)]
    return Line(parts, {"text": filled.text, "masks": masks}, columns)


def judged_line(tokens: TokenValues) -> Line:
    """Return the text with stars around suspect words, and each token's probability of being replaced."""
    content = {"tokens": [{"token": token, "replaced_prob": prob} for token, prob in tokens]}
    columns = {"prediction": [token for token, _ in tokens], "probability": [prob for _, prob in tokens]}
    return Line([_marked(tokens), _listed(tokens, 2)], content, columns)


def score_line(tokens: TokenValues, measure: str, per_token: bool) -> Line:
    """Return score and number of tokens, and in JSON what the score is the sum of; `per_token` adds each token's."""
    total = sum(value for _, value in tokens)
    parts = [f"{total:.4f}", str(len(tokens))]
    content: dict[str, Any] = {"score": total, "num_tokens": len(tokens), "sum_of": measure}
    if per_token:
        parts.append(_listed(tokens, 4))
        content["tokens"] = [{"token": token, "score": value} for token, value in tokens]
    return Line(parts, content)


def _marked(tokens: TokenValues) -> str:
    """Return the text's words, *those* with a suspect token between stars."""
    words: list[tuple[str, bool]] = []
    for token, prob in tokens:
        if words and token.startswith("##"):
            word, suspect = words.pop()
            words.append((word + token[2:], suspect or prob >= SUSPECT_PROB))
        else:
            words.append((token, prob >= SUSPECT_PROB))
    return " ".join(f"*{word}*" if suspect else word for word, suspect in words)


def _listed(tokens: TokenValues, digits: int) -> str:
    return "  ".join(f"{token} {value:.{digits}f}" for token, value in tokens)
