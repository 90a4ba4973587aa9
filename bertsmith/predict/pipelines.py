"""Rows in, lines of answers out: a `Pipeline` for each head of a model, as `predict` and `score` use them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.predict.predictor import Filled, Predictor, TokenValues
from bertsmith.tables.cells import is_missing, text, words
from bertsmith.tasks.answering.answerer import SpanAnswer
from bertsmith.tasks.runs import Finetuned
from bertsmith.tasks.words.tagger import TagsWithProbs
from bertsmith.tokenizers.tokenizer import Tokenizer

SUSPECT_PROB = 0.5
"""From here on a token is taken for replaced."""


class Line(NamedTuple):
    """One row's answer."""

    parts: list[str]
    """Separated by tabs, or on lines of their own."""
    content: Any
    """For JSON."""
    columns: Mapping[str, Any] = MappingProxyType({})
    """For a table: "prediction", mostly "probability", and others."""


NO_ANSWER = Line([], None)
"""To a row that is blank."""

Row = tuple[Any, ...]
"""A question to the model, one part a column: texts, or a list of words."""


@dataclass
class Pipeline(ABC):
    """A model's answers to rows, as lines."""

    model: Predictor
    truncate: bool = False
    """Whether longer texts are cut to the model's length."""
    top_k: int = 5
    """Tokens shown for each [MASK]."""
    num_cut: int = 0
    """Rows that were cut."""
    default_columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text",),)
    note_on_cut: ClassVar[str] = ""

    @property
    def columns(self) -> Sequence[tuple[str, ...]]:
        """The names of a table's columns that hold the parts; several where they go by several names."""
        opened = self.model.opened
        return opened.recipe.spec.columns if isinstance(opened, Finetuned) else self.default_columns

    def parse(self, line: str) -> Row:
        """Return the parts that a line of text has."""
        return (line,)

    def read_cell(self, value: Any) -> Any:
        """Return the part in a table's cell. Raises ValueError where it is none."""
        return text(value)

    def is_blank(self, row: Row) -> bool:
        """Return whether there is nothing to ask about."""
        return not any(part.strip() for part in row)

    @abstractmethod
    def ask(self, rows: Sequence[Row]) -> list[Line]:
        """Return a line for each of at least one row. Raises UserError where the model cannot answer one."""

    def notes(self, num_rows: int) -> list[str]:
        """Return lines for people after `num_rows` rows."""
        as_trained = ", as in training" if self.model.was_finetuned else ""
        length = f"{self.model.opened.length} tokens{as_trained}{self.note_on_cut}"
        return [f"{self.num_cut:,} of {num_rows:,} rows were cut to {length}"] if self.num_cut else []


class Classify(Pipeline):
    """The class, labels or number of a text, or of a pair of texts."""

    def parse(self, line: str) -> Row:
        return tuple(line.split("\t"))

    def ask(self, rows: Sequence[Row]) -> list[Line]:
        for row in rows:
            if len(row) > 2 or len(row) != len(rows[0]):
                raise UserError(
                    f"{_quoted(row)}: {len(row) - 1} tabs; a line is one text, or all are two texts with a tab between"
                )
        first, *second = map(list, zip(*rows, strict=True))
        answers, num_cut = self.model.classify(first, second[0] if second else None, truncate=True, count_cut=True)
        self.num_cut += num_cut
        return [Line([answer.text()], answer.to_json(), answer.columns()) for answer in answers]


@dataclass
class TagWords(Pipeline):
    """The tag of each word."""

    a_word_a_line: bool = False
    """Whether lines are as `grade conll2000` reads them."""
    note_on_cut: ClassVar[str] = "; the words after that are not read"

    def parse(self, line: str) -> Row:
        return (line.split(),)

    def read_cell(self, value: Any) -> Any:
        return [] if is_missing(value) else words(value)

    def is_blank(self, row: Row) -> bool:
        return not row[0]

    def ask(self, rows: Sequence[Row]) -> list[Line]:
        tagged, num_cut = self.model.tag_with_probs([row[0] for row in rows], truncate=True)
        self.num_cut += num_cut
        return list(map(self._line, tagged))

    def _line(self, tagged: TagsWithProbs) -> Line:
        words, tags, probs = map(list, zip(*tagged, strict=True)) if tagged else ([], [], [])
        content = {"words": words, "tags": tags}
        columns = {"words": words, "prediction": tags, "probability": probs}
        if self.a_word_a_line:
            return Line([*map(" ".join, zip(words, tags, strict=True)), ""], content, columns)
        return Line([" ".join(map("/".join, zip(words, tags, strict=True)))], content, columns)


class Answer(Pipeline):
    """The answer to a question in its context."""

    default_columns = (("question", "context"),)

    def parse(self, line: str) -> Row:
        return tuple(line.split("\t"))

    def is_blank(self, row: Row) -> bool:
        return not row[0].strip()

    def ask(self, rows: Sequence[Row]) -> list[Line]:
        for row in rows:
            if len(row) != 2:
                raise UserError(f"{_quoted(row)}: {len(row) - 1} tabs; a line is a question, a tab, and its context")
        questions, contexts = map(list, zip(*rows, strict=True))
        return [answer_line(answer) for answer in self.model.answer(questions, contexts, truncate=True)]


@dataclass
class Fill(Pipeline):
    """The text with each [MASK] filled; one without any is repeated."""

    num_plain: int = 0
    """Texts without a [MASK]."""
    num_misspelt: int = 0
    """Of these, texts with one in other letters."""

    def ask(self, rows: Sequence[Row]) -> list[Line]:
        texts = [row[0] for row in rows]
        mask = self.model.mask_token
        has_mask = [mask in text for text in texts]
        masked, plain = list(compress(texts, has_mask)), [text for text in texts if mask not in text]
        spellings = {"[mask]", "<mask>", mask.lower()}
        self.num_misspelt += sum(any(spelling in text.lower() for spelling in spellings) for text in plain)
        filled = map(filled_line, self.fill(masked))
        others = iter(self.ask_plain(plain))
        return [next(filled if fills else others) for fills in has_mask]

    def fill(self, texts: list[str]) -> list[Filled]:
        """Return texts with their masks filled. Raises UserError where the model cannot fill any."""
        filled, num_cut = self.model.fill(texts, self.top_k, self.truncate, count_cut=True)
        self.num_cut += num_cut
        return filled

    def ask_plain(self, texts: list[str]) -> list[Line]:
        """Return lines for texts without a [MASK]."""
        self.num_plain += len(texts)
        return [filled_line(Filled(text, [])) for text in texts]

    def notes(self, num_rows: int) -> list[str]:
        notes = super().notes(num_rows)
        if self.num_plain:
            notes.append(
                f"{self.num_plain:,} of {num_rows:,} rows have no {self.model.mask_token} and stay as they are; write "
                f"it where a word is wanted"
            )
        if self.num_misspelt:
            notes.append(
                f"{self.num_misspelt:,} of {num_rows:,} rows have a mask in other letters; it is written "
                f"{self.model.mask_token}"
            )
        return notes


class DetectReplaced(Fill):
    """The tokens that were replaced; the generator beside it, if any, fills each [MASK]."""

    def fill(self, texts: list[str]) -> list[Filled]:
        return super().fill(texts) if texts else []

    def ask_plain(self, texts: list[str]) -> list[Line]:
        if not texts:
            return []
        judged, num_cut = self.model.replaced(texts, self.truncate, count_cut=True)
        self.num_cut += num_cut
        return list(map(self._line, judged))

    def _line(self, tokens: TokenValues) -> Line:
        """Return the text with stars around suspect words, and each token's probability of being replaced."""
        content = {"tokens": [{"token": token, "replaced_prob": prob} for token, prob in tokens]}
        columns = {"prediction": [token for token, _ in tokens], "probability": [prob for _, prob in tokens]}
        return Line([_marked(tokens, self.model.opened.tokenizer), _listed(tokens, 2)], content, columns)


@dataclass
class Score(Pipeline):
    """The pseudo-log-likelihood of each text."""

    per_token: bool = False
    """Whether each token's share is shown."""

    def ask(self, rows: Sequence[Row]) -> list[Line]:
        scored, num_cut = self.model.score_tokens([row[0] for row in rows], self.truncate, count_cut=True)
        self.num_cut += num_cut
        return list(map(self._line, scored))

    def _line(self, tokens: TokenValues) -> Line:
        """Return the score, the sum that JSON names, and the number of tokens."""
        total = sum(value for _, value in tokens)
        content: dict[str, Any] = {"score": total, "num_tokens": len(tokens), "sum_of": self.model.score_measure}
        if self.per_token:
            content["tokens"] = [{"token": token, "score": value} for token, value in tokens]
        listed = [_listed(tokens, 4)] if self.per_token else []
        return Line([f"{total:.4f}", str(len(tokens)), *listed], content)


def pipeline_of(model: Predictor, top_k: int = 5, truncate: bool = False) -> Pipeline:
    """Return the pipeline of `predict` for a model. Fine-tuned ones cut texts as in training."""
    finetuned: dict[HeadName | None, type[Pipeline]] = {
        "classification": Classify, "tagging": TagWords, "answering": Answer,
    }  # fmt: skip
    pipeline = finetuned.get(model.opened.network.head, DetectReplaced if model.detects_replaced else Fill)
    return pipeline(model, truncate or model.was_finetuned, top_k)


def answer_line(answer: SpanAnswer) -> Line:
    """Return the text in one line, of no answer a dash, and its score; for JSON character by character."""
    content = {"text": answer.text, "start": answer.start, "score": answer.score}
    if answer.null_odds is not None:
        content["null_odds"] = answer.null_odds
    columns = {"prediction": answer.text, "probability": answer.prob, **content}
    del columns["text"]
    score = [] if answer.score is None else [f"{answer.score:.4f}"]
    return Line(["\t".join([" ".join(answer.text.split()) or "-", *score])], content, columns)


def filled_line(filled: Filled) -> Line:
    """Return the text with its masks filled, and the guesses for each."""
    masks = [[{"token": token, "prob": prob} for token, prob in guesses] for guesses in filled.masks]
    columns = {"prediction": filled.text, "probability": [guesses[0][1] for guesses in filled.masks]}
    parts = [filled.text, *(_listed(guesses, 3) for guesses in filled.masks)]
    return Line(parts, {"text": filled.text, "masks": masks}, columns)


def _marked(tokens: TokenValues, tokenizer: Tokenizer) -> str:
    """Return the text's words, *those* with a suspect token between stars."""
    words: list[tuple[str, bool]] = []
    before = ""
    for token, prob in tokens:
        word, suspect = words.pop() if words and tokenizer.continues(token, before) else ("", False)
        words.append((tokenizer.append(word, token), suspect or prob >= SUSPECT_PROB))
        before = token
    return " ".join(f"*{word}*" if suspect else word for word, suspect in words)


def _listed(tokens: TokenValues, digits: int) -> str:
    return "  ".join(f"{token} {value:.{digits}f}" for token, value in tokens)


def _quoted(row: Row) -> str:
    return quoted("\t".join(row), 60)
