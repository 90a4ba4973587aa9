"""Laws: each word's first piece carries its tag, whatever the word's length, the rows' and the batch's shape."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives.objective import Batch, denominators_of
from bertsmith.scoring.word_lines import Word
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.words.sentences import IGNORED, Sentences, encode_words
from bertsmith.tasks.words.tag_task import Tagging, encode_tagged, predict_tags
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.runner import Runner
from tests.tasks.texts.test_classification import NARROW

LABELS = ("O", "a", "b", "c")
TASK = TaskSpec("toy", ("accuracy",), OneLabel(LABELS))
TOKENIZER = Tokenizer(build([*SPECIAL_TOKENS, "x", "y", "##x", "##y", "-"]))
WORDS = ("x", "y", "xx", "yxyx", "x-y", "q", "\u200b", "xy" * 9)
PIECES = {"x": 1, "y": 1, "xx": 2, "yxyx": 4, "x-y": 3, "q": 1, "\u200b": 1, "xy" * 9: 18}


def sentences_of(words, rng):
    tagged = [[Word(0, [word, LABELS[rng.integers(4)]]) for word in sentence] for sentence in words]
    return Sentences(None, tagged)


@given(
    words=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), min_size=1, max_size=6),
    length=st.integers(5, 40),
)
def test_each_first_piece_carries_its_words_tag(words, length):
    sentences = sentences_of(words, np.random.default_rng(0))
    split = encode_tagged(sentences, TASK, TOKENIZER, length, 0)
    rows, answers = split.rows, split.answers
    kept = iter(split.encoded.kept)
    for number, sentence in enumerate(sentences.words):
        ids = rows.ids[rows.starts[number] :][: rows.lengths[number]].tolist()
        expected_ids, expected = [TOKENIZER.cls_id], [IGNORED]
        fits = True
        for word in sentence:
            pieces = TOKENIZER.encode_each(word.columns[:1])[0] or [TOKENIZER.unk_id]
            assert len(pieces) == PIECES[word.columns[0]]
            fits = fits and len(expected_ids) + len(pieces) <= length - 1
            assert next(kept) == fits, "words are lost whole, and from the first that does not fit"
            if fits:
                expected_ids += pieces
                expected += [LABELS.index(word.columns[-1]), *[IGNORED] * (len(pieces) - 1)]
        assert ids == [*expected_ids, TOKENIZER.sep_id]
        assert answers[number].tolist() == expected + [IGNORED] * (answers.shape[1] - len(expected))
    lost = sum(not all(part) for part in np.split(split.encoded.kept, split.encoded.ends[:-1]))
    assert rows.truncated == lost
    flat = [LABELS.index(word.columns[-1]) for word in sentences.flat()]
    back = split.encoded.gather(answers, 7)
    assert back.tolist() == [tag if kept else 7 for tag, kept in zip(flat, split.encoded.kept, strict=True)]
    unknown = [number for number, word in enumerate(sentences.flat()) if word.columns[0] == "\u200b"]
    assert split.encoded.unknown.tolist() == unknown


def test_segments():
    assert set(encode_words([["x"], []], TOKENIZER, 8).rows.segment_ids) == {0}
    assert set(encode_words([["x"], []], TOKENIZER, 8, segment=1).rows.segment_ids) == {1}
    assert encode_words([["x"], []], TOKENIZER, 8).rows.lengths.tolist() == [3, 2]


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(1)
    words = [[WORDS[rng.integers(len(WORDS))] for _ in range(size)] for size in (9, 1, 4, 7, 2)]
    return encode_tagged(sentences_of(words, rng), TASK, TOKENIZER, 30, 0)


def objective_of(compat=False):
    torch.manual_seed(0)
    head = NARROW.tagging_head(len(LABELS))
    return Tagging(Encoder(NARROW, 50), head, compat).eval()


@pytest.mark.parametrize("compat", [False, True])
def test_the_loss_is_the_words_mean_or_their_sum_packed_padded_and_in_parts(split, compat):
    objective = objective_of(compat)
    batch = Batch(split.rows.take(np.arange(5)), {"answers": torch.from_numpy(split.answers)})
    logs = []
    for number in range(5):
        logits = objective.scores(split.rows.take(np.array([number])))
        places = np.flatnonzero(split.answers[number] != IGNORED)
        chosen = torch.log_softmax(logits[places], dim=1)
        logs += [row[tag] for row, tag in zip(chosen, split.answers[number, places], strict=True)]
    expected = -torch.stack(logs).sum() / (1 if compat else len(logs))
    counts = denominators_of(objective, batch)
    assert counts == {"loss": len(logs)} and len(logs) == split.encoded.kept.sum()
    for shaped in (batch, batch.padded(30, 0), batch.padded(32, 0)):
        losses = objective.losses(shaped)
        torch.testing.assert_close(objective.total(losses, counts), expected)
        assert losses.means()["loss"] == pytest.approx(float(-torch.stack(logs).detach().mean()), rel=1e-5)
    runner = Runner(objective, choose_machine(MachineSettings(device="cpu", micro_batch_rows=2)))
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    runner.gradients(runner.prepare(batch, 30))
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)


def test_a_batch_that_lost_all_its_words_has_no_loss():
    split = encode_tagged(sentences_of([["xy" * 9]], np.random.default_rng(0)), TASK, TOKENIZER, 8, 0)
    objective = objective_of()
    batch = Batch(split.rows.take(np.array([0])), {"answers": torch.from_numpy(split.answers)})
    assert objective.total(objective.losses(batch), denominators_of(objective, batch)).item() == 0.0


def test_tags_do_not_depend_on_company(split, monkeypatch):
    monkeypatch.setattr("bertsmith.tasks.rows.PREDICTION_BATCH_TOKENS", 40)
    objective = objective_of()
    found, _, spread = predict_tags(objective, split.rows, choose_machine(MachineSettings(device="cpu")))
    for number, length in enumerate(split.rows.lengths):
        alone = objective.eval().scores(split.rows.take(np.array([number]))).argmax(dim=1)
        assert found[number, :length].tolist() == alone.tolist()
        assert not found[number, length:].any()
    every = [objective.eval().scores(split.rows.take(np.array([number]))) for number in range(len(split.lengths))]
    probs = torch.cat(every).softmax(dim=1).double().detach().numpy()
    assert spread == pytest.approx(np.sqrt(probs.var(axis=0).sum()), rel=1e-5)
