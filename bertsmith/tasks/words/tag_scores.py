"""Tags that a model gave to words in, scores out, with the file that has them beside the gold ones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.scoring.entities import Tag, count_entities, parse_tag, total
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.words.sentences import Sentences

MAX_CONSTANT_TAGS = 5


def fallback(spec: TaskSpec, train: Sentences) -> int:
    """Return the tag of a word that is in no row: "O", or of plain tags the most frequent one in training."""
    if "f1" in spec.metrics:
        return spec.labels.index("O")
    return spec.labels.index(Counter(word.columns[-1] for word in train.flat()).most_common(1)[0][0])


def constant_tag_score(spec: TaskSpec, sentences: Sentences) -> float | None:
    """Return the best of the headline's scores of giving every word the same tag, one of the commonest (O alone is no
    entity); None where all have the same."""
    gold = sentences.tags()
    counts = Counter(tag for tags in gold for tag in tags)
    if len(counts) == 1:
        return None
    headline = spec.metrics[:1]
    tried = ([[tag] * len(tags) for tags in gold] for tag, _ in counts.most_common(MAX_CONSTANT_TAGS))
    return max(measure_tags(headline, gold, given)[headline[0]] for given in tried)


def score_tags(
    ids: np.ndarray, sentences: Sentences, ends: np.ndarray, spec: TaskSpec, path: Path | None
) -> dict[str, float]:
    """Return metrics of all words of a dev set, those that are in no row included; `path` gets a line a word: the word,
    its gold tag, its predicted one, with a blank line behind each sentence.

    Args:
        ids: [W], tags of all words.
        ends: [N], counts of words: sentence i is the words `ends[i - 1]` to `ends[i]`.
    """
    gold = sentences.tags()
    flat = [spec.labels[id] for id in ids]
    predicted = [flat[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    if path is not None:
        with atomic_write(path, "w") as file:
            for words, *both in zip(sentences.texts(), gold, predicted, strict=True):
                file.writelines(f"{word} {wanted} {given}\n" for word, wanted, given in zip(words, *both, strict=True))
                file.write("\n")
    return measure_tags(spec.metrics, gold, predicted)


def measure_tags(
    names: Sequence[str], gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return scores by name, as fractions of 1: of entities as `conlleval` counts them, and the accuracy of words."""
    same = [a == b for both in zip(gold, predicted, strict=True) for a, b in zip(*both, strict=True)]
    scores = {"accuracy": sum(same) / len(same)}
    if "f1" in names:
        entities = total(count_entities(_parsed(gold), _parsed(predicted)).values())
        scores |= {name: getattr(entities, name) / 100 for name in ("f1", "precision", "recall")}
    return {name: scores[name] for name in names}


def _parsed(sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
    tags = {text: tag for sentence in sentences for text in sentence if (tag := parse_tag(text))}
    return [[tags[text] for text in sentence] for sentence in sentences]
