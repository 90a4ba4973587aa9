"""Whether an added token is in a text, before or after the text is normalized: `tokenizers` finds some in each."""

import re

import tokenizers
from tokenizers import normalizers

_KEEPS_ASCII = (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)


class AddedSearch:
    """The added tokens of one tokenizer, or those that hold a character."""

    def __init__(self, fast: tokenizers.Tokenizer, holding: str = ""):
        """Collect the tokens of `fast` that hold the characters `holding`, as they are written or normalized."""
        self._normalizer = fast.normalizer
        raw, normalized = [], []
        for token in fast.get_added_tokens_decoder().values():
            written = self._normalizer.normalize_str(token.content) if self._normalizer else token.content
            if holding in token.content or holding in written:
                raw.append(token.content)
                normalized += [written] if token.normalized and self._normalizer and written else []
        self._raw, self._normalized = _any_of(raw), _any_of(normalized) if normalized else None

    def keeps(self, text: str) -> bool:
        """Return whether it is plain that the tokenizer normalizes a text, and every part of it, to itself."""
        return self._normalizer is None or (isinstance(self._normalizer, _KEEPS_ASCII) and text.isascii())

    def normalized(self, text: str) -> str:
        """Return a text as the tokenizer normalizes it."""
        return text if self.keeps(text) else str(self._normalizer.normalize_str(text))

    def finds(self, text: str, normalized: str | None = None) -> bool:
        """Return whether one of the tokens may be in a text, which is `normalized` here if it is not yet."""
        if self._raw.search(text):
            return True
        if self._normalized is None:
            return False
        return bool(self._normalized.search(self.normalized(text) if normalized is None else normalized))


def _any_of(contents: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, contents)) or r"(?!)")
