"""Words and sentences of texts whose words have blanks between them, without a model or a language's list."""

import regex
from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer

_WORD = regex.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")
_WITHOUT_BLANKS = "".join(
    rf"\p{{Script={name}}}" for name in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
)
_SHINGLE_WORD = regex.compile(rf"[{_WITHOUT_BLANKS}]\p{{M}}*|[\w--[{_WITHOUT_BLANKS}]]+|[^\w\s]+", regex.V1)
_TERMINAL = regex.escape("".join(sorted(TERMINAL_PUNCTUATION)))
_SENTENCE_END = regex.compile(rf"(?<!\b\p{{Lu}})[{_TERMINAL}]+[\"'”’)\]]*(?=\s|$)|\n+")
"""A terminal mark before a blank, but not after a single capital, as in J. Smith; or a line end."""


class PlainWords(WordTokenizer):  # type: ignore[misc]  # of a library without types
    """What datatrove's filters ask for words and sentences. A word is letters, digits and apostrophes, or a run of
    marks. datatrove takes spaCy's for English, which cuts finer (isn't is two words, each mark is one) and is 300 MB to
    install and 80 times as slow; docs/filtering.md compares what is dropped."""

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


class ShingleWords(PlainWords):
    """Words to compare texts by. In scripts without blanks between words each character is one."""

    def word_tokenize(self, text: str) -> list[str]:
        found: list[str] = _SHINGLE_WORD.findall(text)
        return found


SHINGLE_WORDS = ShingleWords()

PLAIN_WORDS = PlainWords()
"""One for all filters: datatrove remembers the words of the last texts by it."""

WITHOUT_BLANKS = ("zh", "ja", "th", "lo", "km", "my", "bo", "dz", "wuu", "yue")
"""Languages that write words without blanks between them, to which rules about words do not apply."""
