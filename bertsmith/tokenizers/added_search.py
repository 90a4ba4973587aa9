"""Whether an added token is in a text, before or after the text is normalized: `tokenizers` finds some in each."""

import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import tokenizers
from tokenizers import normalizers

_KEEPS_ASCII = (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)
_MAY_COMPOSE = re.compile(
    "[^\x00-\u02ff\u0400-\u0482\u048a-\u052f\u05d0-\u05ea\u0620-\u063f\u0641-\u064a\u0660-\u066f\u0671-\u06d3"
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff60\U0001f300-\U0001f64f]"
)
"""Any character but those of common scripts that NFC leaves as they are, whatever stands beside them."""


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
        self._raw, self._normalized = _any_of(raw), _any_of(normalized)
        self._has_others = not set(normalized) <= set(raw)

    def keeps(self, text: str) -> bool:
        """Return whether it is plain that the tokenizer normalizes a text, and every part of it, to itself."""
        if self._normalizer is None or text.isascii():
            return self._normalizer is None or isinstance(self._normalizer, _KEEPS_ASCII)
        return isinstance(self._normalizer, normalizers.NFC) and not _MAY_COMPOSE.search(text)

    def normalized(self, text: str) -> str:
        """Return a text as the tokenizer normalizes it."""
        return text if self.keeps(text) else str(self._normalizer.normalize_str(text))

    def finds(self, text: str, normalized: str | None = None) -> bool:
        """Return whether one of the tokens may be in a text, which is `normalized` here if it is not yet."""
        if self._raw is None:
            return False
        if self._raw.search(text):
            return True
        if self._normalized is None:
            return False
        normalized = self.normalized(text) if normalized is None else normalized
        return (normalized != text or self._has_others) and bool(self._normalized.search(normalized))


def _any_of(contents: list[str]) -> re.Pattern[str] | None:
    """Return a pattern that is found where one of the contents is; of 24 spaces, two are enough."""
    known = {content for content in contents if content}
    if not known:
        return None
    least = sorted(content for content in known if not any(part in known for part in _parts(content)))
    begun = groupby(least, key=itemgetter(0))  # at most places of a text, one look is enough for all of a group
    groups = (f"{re.escape(first)}(?:{'|'.join(re.escape(one[1:]) for one in group)})" for first, group in begun)
    return re.compile("|".join(groups))


def _parts(content: str) -> Iterator[str]:
    """Yield the parts of a content's first 40 characters, without the content itself."""
    places = range(min(len(content), 40) + 1)
    return (content[i:j] for i in places for j in places[i + 1 :] if j - i < len(content))
