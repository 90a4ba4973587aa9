"""Tags of words, as a task with its objective: chunks, names, parts of speech."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import quoted
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.scoring.entities import Tag, count_entities, parse_tag, total
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.cautions import spread_of
from bertsmith.tasks.dataset import Dataset, Outcome, outcome_of
from bertsmith.tasks.metrics import is_constant
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.rows import Rows, scored
from bertsmith.tasks.task import SupervisedObjective, Task, class_weights
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.words.sentences import IGNORED, Sentences, WordRows, encode_words
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine


class Tagging(SupervisedObjective):
    """An encoder with a head on each token: cross-entropy over tags, at each word's first piece."""

    def scores(self, tokens: Tokens) -> Tensor:
        """Return [T, C]: a logit a tag."""
        return self.head(self.encoder(tokens))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": batch.targets.get("weights", batch.targets["answers"] != IGNORED).sum()}

    def losses(self, batch: Batch) -> Losses:
        """Return `loss` in nats; the targets are "answers" [N, L], `IGNORED` where there is none, and where some tags
        count for more than others "weights" [N, L], 0 where there is none."""
        scores = self.scores(batch.tokens).float()
        answers = _flat(batch, "answers", IGNORED).long()
        if "weights" in batch.targets:
            weights = _flat(batch, "weights", 0)
            loss = F.cross_entropy(scores, answers, ignore_index=IGNORED, reduction="none") @ weights
            return Losses({"loss": loss}, self.counts(batch))
        loss = F.cross_entropy(scores, answers, ignore_index=IGNORED, reduction="sum")
        return Losses({"loss": loss}, self.counts(batch))


def build_tagging(encoder: Encoder, family: str, num_tags: int, compat: bool = False) -> Tagging:
    """Return the objective with a head of random weights. The reference's has no dropout."""
    if compat:
        return Tagging(encoder, PlainClassificationHead(encoder.settings, num_tags, 0.0), compat=True)
    return Tagging(encoder, encoder.settings.tagging_head(num_tags))


def _flat(batch: Batch, name: str, fill: int) -> Tensor:
    """Return a target [N, L] as [T], one a token."""
    target = batch.targets[name]
    spare = batch.tokens.max_seqlen - target.shape[1]  # below 0 where the longest rows are in another batch
    return batch.tokens.to_flat(F.pad(target, (0, spare), value=fill))


MAX_COMMONEST_TAGS = 5


@dataclass(frozen=True)
class TagDataset(Dataset):
    """Sentences with a tag for each word."""

    spec: TaskSpec
    sentences: Sentences
    encoded: WordRows
    answers: np.ndarray
    """[N, L] int16: at a word's first piece the id of its tag, `IGNORED` elsewhere."""
    fallback_id: int
    """The tag of words that are in no row."""
    weights: np.ndarray | None = None
    """[C] float32, how much each tag counts in the loss."""

    @property
    def rows(self) -> Rows:
        return self.encoded.rows

    @property
    def lengths(self) -> np.ndarray:
        return self.rows.lengths

    def batch(self, rows: np.ndarray) -> Batch:
        answers = self.answers[rows]
        targets = {"answers": torch.from_numpy(answers)}
        if self.weights is not None:
            targets["weights"] = torch.from_numpy(self.weights[np.maximum(answers, 0)] * (answers != IGNORED))
        return Batch(self.rows.take(rows), targets)

    def score(self, objective: Tagging, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """Predict and score all words; predictions-NAME.txt gets a word a line, as `grade conll2000` reads."""
        grid, _, spread = predict_tags(objective, self.rows, machine)
        ids = self.encoded.gather(grid, self.fallback_id)
        path = None if folder is None else folder / f"predictions-{name}.txt"
        metrics = score_tags(ids, self.sentences, self.encoded.ends, self.spec, path)
        return outcome_of(metrics, is_constant(ids), majority_tag_score(self.spec, self.sentences), spread)


@dataclass(frozen=True)
class TagTask(Task):
    """A task of tags of words."""

    def encode_examples(self, examples: Sentences, pretrained: PretrainedEncoder) -> TagDataset:
        encoded = self._encoded(examples, pretrained)
        self._say_what_is_lost(encoded, f", and count as predicted {quoted(self.spec.labels[encoded.fallback_id], 60)}")
        return encoded

    def encode_train(self, examples: Sentences, pretrained: PretrainedEncoder) -> TagDataset:
        encoded = replace(self._encoded(examples, pretrained), weights=self._weights())
        self._say_what_is_lost(encoded, "")
        return encoded

    def objective(self, pretrained: PretrainedEncoder, encoder: Encoder) -> Tagging:
        tagging = build_tagging(encoder, pretrained.family, len(self.spec.labels), self.recipe.compat)
        return pretrained.load_into(tagging)

    def _encoded(self, sentences: Sentences, pretrained: PretrainedEncoder) -> TagDataset:
        length, segment = self.recipe.sequence_length, self.recipe.segment_of_words(pretrained.settings.num_segments)
        fallback_id = fallback_tag(self.spec, self.data.train)
        return encode_tagged(sentences, self.spec, pretrained.tokenizer, length, fallback_id, segment)

    def _weights(self) -> np.ndarray | None:
        tags = Counter(word.columns[-1] for word in self.data.train.flat())
        counts = np.array([tags[label] for label in self.spec.labels])
        for line in self.spec.answers.counted(counts, f"{int(counts.sum()):,} words to learn from"):
            say(f"{self.spec.name}: {line}", error=True)
        return class_weights(self.recipe, self.spec, counts, int(counts.sum()))

    def _say_what_is_lost(self, split: TagDataset, outcome: str) -> None:
        path, kept, unknown = split.sentences.path, split.encoded.kept, split.encoded.unknown
        if not kept.all():
            say(
                f"{path}: {split.rows.truncated:,} of {split.sentences.num_examples:,} sentences were cut to "
                f"{self.recipe.sequence_length} tokens (sequence_length); {(~kept).sum():,} words are lost{outcome}",
                error=True,
            )
        if len(unknown):
            word = next(islice(split.sentences.flat(), int(unknown[0]), None))
            say(
                f"{path}, line {word.line}: the tokenizer makes nothing of {quoted(word.columns[0], 60)}, so it is "
                f"[UNK]; {len(unknown):,} of {len(kept):,} words are",
                error=True,
            )


def encode_tagged(
    sentences: Sentences, spec: TaskSpec, tokenizer: Tokenizer, length: int, fallback_id: int, segment: int = 0
) -> TagDataset:
    """Encode sentences as `encode_words` does, with the tags that the words have."""
    encoded = encode_words(sentences.texts(), tokenizer, length, segment)
    ids = {label: id for id, label in enumerate(spec.labels)}
    tags = np.array([ids[word.columns[-1]] for word in sentences.flat()])
    return TagDataset(spec, sentences, encoded, encoded.scatter(tags[encoded.kept], IGNORED), fallback_id)


def predict_tags(objective: Tagging, rows: Rows, machine: Machine) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the id of each token's likeliest tag, [N, L] int16, and its probability, [N, L] float32, 0 where there is
    no token; and how much the tags' probabilities differ from token to token."""
    shape = (len(rows.lengths), int(rows.lengths.max()))
    ids, likeliest = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.float32)

    def probs() -> Iterator[np.ndarray]:
        for chosen, tokens, scores in scored(objective, rows, machine):
            exact = scores.float()
            probs, real = exact.softmax(dim=1), tokens.valid_mask()
            if real is not None:
                probs = probs * real[:, None]
            ids[chosen, : tokens.max_seqlen] = tokens.to_padded(exact.argmax(dim=1)).cpu().numpy()
            likeliest[chosen, : tokens.max_seqlen] = tokens.to_padded(probs.amax(dim=1)).cpu().numpy()
            yield (probs if real is None else probs[real]).cpu().numpy()

    spread = spread_of(probs())
    return ids, likeliest, spread


def fallback_tag(spec: TaskSpec, train: Sentences) -> int:
    """Return the tag of a word that is in no row: "O", or of plain tags the most frequent one in training."""
    if "f1" in spec.metrics:
        return spec.labels.index("O")
    return spec.labels.index(Counter(word.columns[-1] for word in train.flat()).most_common(1)[0][0])


def majority_tag_score(spec: TaskSpec, sentences: Sentences) -> float | None:
    """Return the best of the headline's scores of giving every word the same tag, one of the commonest (O alone is no
    entity); None where all have the same."""
    gold = sentences.tags()
    counts = Counter(tag for tags in gold for tag in tags)
    if len(counts) == 1:
        return None
    headline = spec.metrics[:1]
    tried = ([[tag] * len(tags) for tags in gold] for tag, _ in counts.most_common(MAX_COMMONEST_TAGS))
    return max(measure_tags(headline, gold, given)[headline[0]] for given in tried)


def score_tags(
    ids: np.ndarray, sentences: Sentences, ends: np.ndarray, spec: TaskSpec, path: Path | None
) -> dict[str, float]:
    """Return metrics of tags `ids` [W] of all words of a dev set, those that are in no row included; sentence i is the
    words `ends[i - 1]` to `ends[i]`. `path` gets a line a word: the word, its gold tag, its predicted one, with a blank
    line behind each sentence."""
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
