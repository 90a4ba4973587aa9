"""What `predict` (with `file_answers`), `score` and `evaluate` print: a line a text, or JSON for programs.

Lines of a file are read and answered some at a time, in order; an empty line is answered by an empty one (null in
JSON), so that answers stay beside their texts.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress, islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from bertsmith.console.terminal import say, say_json, tell
from bertsmith.errors import UserError, quoted
from bertsmith.evals.blimp import Accuracy
from bertsmith.evals.evaluate import Evaluation
from bertsmith.evals.likelihood import MEASURES
from bertsmith.predict.predictor import Filled, Predictor, TokenValues
from bertsmith.storage.files import reported
from bertsmith.storage.json_files import write_json
from bertsmith.tasks.answering.answerer import FoundAnswer
from bertsmith.tasks.texts.classifier import Labels, Prediction
from bertsmith.tasks.words.tagger import TagsWithProbs

LINES_AT_ONCE = 1024

SUSPECT_PROB = 0.5
"""From here on a token is taken for replaced."""


class Line(NamedTuple):
    """One text's answer, in both forms."""

    parts: list[str]
    """Separated by tabs, or on lines of their own."""
    content: Any
    """For JSON."""
    columns: Mapping[str, Any] = MappingProxyType({})
    """For a table: "prediction", of most "probability", and what else there is."""


NO_ANSWER = Line([], None)
"""To a text that is blank."""


def read_lines(source: str) -> Iterator[str]:
    """The lines of a file, of standard input where `source` is "-", without their ends: line feeds, carriage returns or
    both.

    Raises:
        UserError: it cannot be read, or a line is not UTF-8.
    """
    if source == "-" and sys.stdin is None:
        raise UserError("standard input is closed; name a file")
    opened = contextlib.nullcontext(sys.stdin.buffer) if source == "-" else _open(source)
    with opened as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise UserError(f"{source}, line {number}: not UTF-8; convert the file") from None
            text = text.removeprefix("\ufeff") if number == 1 else text
            yield from text.removesuffix("\n").removesuffix("\r").split("\r")


def _open(source: str) -> IO[bytes]:
    with reported(Path(source)):
        return open(source, "rb")


def lines_of(texts: list[str], file: str | None) -> Iterable[str]:
    """The texts of the command line, or the lines of a file; not both. "-" for either is standard input."""
    if file == "":
        raise UserError("--file: no name; give that of a file with a text a line, or - for standard input")
    if bool(texts) == (file is not None):
        raise UserError("give texts, or --file FILE with a text a line (- for standard input); one of the two")
    return read_lines(file or "-") if file or texts == ["-"] else texts


def print_answers(texts: Iterable[str], answer: Callable[[list[str]], list[Line]], as_json: bool, between: str) -> None:
    """A line for each text, in order; `between` separates its parts."""
    for _, line in answered(texts, answer):
        say_line(line, as_json, between)


def answered(texts: Iterable[str], answer: Callable[[list[str]], list[Line]]) -> Iterator[tuple[str, Line]]:
    """Each text with its answer, in order; the answer to a blank one has nothing in it."""
    texts = iter(texts)
    while some := list(islice(texts, LINES_AT_ONCE)):
        asked = [text for text in some if text.strip()]
        answers = iter(answer(asked) if asked else [])
        for text in some:
            yield text, next(answers) if text.strip() else NO_ANSWER


def say_line(line: Line, as_json: bool, between: str) -> None:
    """Print one answer; `between` separates its parts."""
    if as_json:
        say_json(line.content)
    else:
        say(between.join(line.parts))


def predictions(model: Predictor, texts: list[str], most: int, truncate: bool) -> list[Line]:
    """Classes, tags or answers where the model was fine-tuned; else masks filled where there are any, or tokens
    judged."""
    if model.classifies:
        return _classes(model, texts, truncate)
    if model.answers_questions:
        return _answered(model, texts, truncate)
    if model.tags_words:
        return [tag_line(words) for words in model.tag_with_probs([text.split() for text in texts], truncate)]
    to_fill = ["[MASK]" in text or not model.judges for text in texts]
    filled = map(_filled, model.fill(list(compress(texts, to_fill)), most, truncate) if any(to_fill) else [])
    plain = [text for text, fills in zip(texts, to_fill, strict=True) if not fills]
    judged = map(_judged, model.replaced(plain, truncate) if plain else [])
    return [next(filled if fills else judged) for fills in to_fill]


def print_scores(model: Predictor, file: str, per_token: bool, truncate: bool, as_json: bool) -> None:
    """Print a line for each line of `file`, and for people what the scores are the sums of."""
    if not as_json:
        say(f"score: {MEASURES[model.score_measure]}", error=True)
    print_answers(read_lines(file), lambda some: scores(model, some, per_token, truncate), as_json, "\t")


def scores(model: Predictor, texts: list[str], per_token: bool, truncate: bool) -> list[Line]:
    """Score and number of tokens, and in JSON what the score is the sum of; `per_token` adds each token's share."""
    lines, measure = [], model.score_measure
    for tokens in model.score_tokens(texts, truncate):
        total = sum(value for _, value in tokens)
        parts = [f"{total:.4f}", str(len(tokens))]
        content = {"score": total, "num_tokens": len(tokens), "sum_of": measure}
        if per_token:
            parts.append(_listed(tokens, 4))
            content["tokens"] = [{"token": token, "score": value} for token, value in tokens]
        lines.append(Line(parts, content))
    return lines


def show_evaluation(found: Evaluation, as_json: bool, paradigms: bool, out: Path | None) -> None:
    """As tables or as JSON, and in the file `out` too if there is one."""
    if out is not None:
        write_json(out, found.to_json())
    if as_json:
        say_json(found.to_json())
        return
    _print_tables(found, paradigms)
    if out is not None:
        tell(f"wrote {out}")


def _print_tables(found: Evaluation, paradigms: bool) -> None:
    """The held-out measures, then BLiMP's table; with a line for each paradigm if wanted."""
    for name, value in (found.heldout or {}).items():
        say(f"{name.replace('_', ' '):<24}{'–' if math.isnan(value) else f'{value:.4f}':>10}")
    if found.how is not None:
        say(found.how.measuring.describe(found.how.rows))
    if found.blimp is None:
        return
    width = max(map(len, found.blimp.paradigms if paradigms else found.blimp.phenomena))
    say(f"{'BLiMP':<{width}}  accuracy  ± error   pairs")
    for name, accuracy in found.blimp.phenomena.items():
        say(_row(name.replace("_", " "), accuracy, width))
    if paradigms:
        say()
        for name, accuracy in found.blimp.paradigms.items():
            say(_row(name, accuracy, width))
        say()
    say(_row("overall", found.blimp.overall, width))
    say("half of them would be right by chance")


def _row(name: str, found: Accuracy, width: int) -> str:
    return f"{name:<{width}}  {found.accuracy:>8.3f}  {found.standard_error:>7.3f}  {found.pairs:>6,}"


def _classes(model: Predictor, texts: list[str], truncate: bool) -> list[Line]:
    """A tab separates the two texts of a pair."""
    split = [text.split("\t") for text in texts]
    sizes = {len(parts) for parts in split}
    if len(sizes) > 1 or max(sizes) > 2:
        odd = next(
            text for text, parts in zip(texts, split, strict=True) if len(parts) != len(split[0]) or len(parts) > 2
        )
        raise UserError(
            f"{quoted(odd, 60)}: {odd.count(chr(9))} tabs; a line is one text, or all are two texts with a tab between"
        )
    second = [parts[1] for parts in split] if sizes == {2} else None
    return [class_line(answer) for answer in model.classify([parts[0] for parts in split], second, truncate)]


def class_line(answer: Prediction | Labels) -> Line:
    """A class with its probability, any number of labels, of none at all a dash, or a number."""
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


def _answered(model: Predictor, texts: list[str], truncate: bool) -> list[Line]:
    """A tab separates a question from its context."""
    pairs = [text.split("\t") for text in texts]
    for text, parts in zip(texts, pairs, strict=True):
        if len(parts) != 2:
            raise UserError(f"{quoted(text, 60)}: {len(parts) - 1} tabs; a line is a question, a tab, and its context")
    return [answer_line(answer) for answer in model.answer(*map(list, zip(*pairs, strict=True)), truncate)]


def answer_line(answer: FoundAnswer) -> Line:
    """The text in one line, of no answer a dash, and its score; for JSON character by character."""
    content = {"text": answer.text, "start": answer.start, "score": answer.score}
    if answer.null_odds is not None:
        content["null_odds"] = answer.null_odds
    columns = {"prediction": answer.text, "probability": answer.prob, **content}
    del columns["text"]
    score = [] if answer.score is None else [f"{answer.score:.4f}"]
    return Line(["\t".join([" ".join(answer.text.split()) or "-", *score])], content, columns)


def tag_line(words: TagsWithProbs, a_word_a_line: bool = False) -> Line:
    """Words with their tags, in one line, or as `grade conll2000` reads them."""
    content = {"words": [word for word, _, _ in words], "tags": [tag for _, tag, _ in words]}
    columns = {"words": content["words"], "prediction": content["tags"], "probability": [prob for _, _, prob in words]}
    if a_word_a_line:
        return Line([*(f"{word} {tag}" for word, tag, _ in words), ""], content, columns)
    return Line([" ".join(f"{word}/{tag}" for word, tag, _ in words)], content, columns)


def _filled(found: Filled) -> Line:
    masks = [[{"token": token, "prob": prob} for token, prob in guesses] for guesses in found.masks]
    columns = {"prediction": found.text, "probability": [guesses[0][1] for guesses in found.masks]}
    parts = [found.text, *(_listed(guesses, 3) for guesses in found.masks)]
    return Line(parts, {"text": found.text, "masks": masks}, columns)


def _judged(tokens: TokenValues) -> Line:
    content = {"tokens": [{"token": token, "replaced_prob": prob} for token, prob in tokens]}
    columns = {"prediction": [token for token, _ in tokens], "probability": [prob for _, prob in tokens]}
    return Line([_marked(tokens), _listed(tokens, 2)], content, columns)


def _marked(tokens: TokenValues) -> str:
    """The text's words, *those* with a suspect token between stars."""
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
