"""Words and sentences of texts whose words have blanks between them, without a model or a language's list."""

import regex
from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer

_WORD = regex.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")
_TERMINAL = regex.escape("".join(sorted(TERMINAL_PUNCTUATION)))
_SENTENCE_END = regex.compile(rf"(?<!\b\p{{Lu}})[{_TERMINAL}]+[\"'”’)\]]*(?=\s|$)|\n+")
"""A terminal mark before a blank, but not after a single capital, as in J. Smith; or a line end."""


class PlainWords(WordTokenizer):  # type: ignore[misc]  # of a library without types
    """What datatrove's filters ask for words and sentences. A word is letters, digits and apostrophes, or a run of
    marks, as spaCy's tokenizer has it for English: that is 300 MB to install and takes 80 times as long
    (docs/filtering.md compares what is dropped)."""

    def word_tokenize(self, text: str) -> list[str]:
        found: list[str] = _WORD.findall(text)
        return found

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [found.end() for found in _SENTENCE_END.finditer(text)]
        if not ends or ends[-1] < len(text):
            ends.append(len(text))
        return list(zip([0, *ends], ends, strict=False))

    def sent_tokenize(self, text: str) -> list[str]:
        return [sentence for start, stop in self.span_tokenize(text) if (sentence := text[start:stop].strip())]


PLAIN_WORDS = PlainWords()
"""One for all filters: datatrove remembers the words of the last texts by it."""

WITHOUT_BLANKS = ("zh", "ja", "th", "lo", "km", "my", "bo", "dz", "wuu", "yue")
"""Languages that write words without blanks between them, to which rules about words do not apply."""
