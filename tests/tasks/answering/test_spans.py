"""Laws of what is learnt and chosen: the loss whatever the batch's shape, and the best of all spans."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import JointAnswerHead
from bertsmith.objectives.objective import denominators_of
from bertsmith.tasks.answering.answering import Answering, JointAnswering
from bertsmith.tasks.answering.best_answers import best_answers, find_candidates, null_odds
from bertsmith.tasks.answering.files import UNANSWERABLE_METRICS
from bertsmith.tasks.answering.question_task import QuestionDataset, first_answers
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.answering.windows import cut_into_windows
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.runner import Runner
from tests.tasks.texts.test_classification import NARROW

LETTERS = "abcdefgh"
TOKENIZER = Tokenizer(build([*SPECIAL_TOKENS, *LETTERS]))
LENGTH = 14
CPU = choose_machine(MachineSettings(device="cpu"))


@pytest.fixture(scope="module")
def split() -> QuestionDataset:
    """Six questions about contexts of 2 to 20 tokens in rows of 14, two of them without an answer."""
    rng, asked = np.random.default_rng(0), Questions()
    for number, size in enumerate((2, 5, 9, 12, 20, 20)):
        letters = rng.choice(list(LETTERS), size=size)
        context, at = " ".join(letters), int(rng.integers(size - 1))
        answers = [] if number % 3 == 1 else [(2 * at, context[2 * at : 2 * at + 3])]
        asked.add(str(number), " ".join(rng.choice(list(LETTERS), size=1 + number % 2)), context, answers)
    windows = cut_into_windows(asked, TOKENIZER, LENGTH, stride=4, question_length=3)
    task = TaskSpec("toy", UNANSWERABLE_METRICS, may_have_none=True)
    return QuestionDataset(task, asked, windows, first_answers(asked, windows), AnsweringSettings())


def objective_of(joint: bool, compat: bool = False, may_have_none: bool = True, **options) -> Answering:
    torch.manual_seed(0)
    encoder, settings = Encoder(NARROW, TOKENIZER.vocab_size), AnsweringSettings(joint=joint, **options)
    if joint:
        head = JointAnswerHead(NARROW, may_have_none)
    else:
        head = NARROW.answer_head()
        head.output.weight.data *= 20  # from nearly equal scores to some that differ
    return (JointAnswering if joint else Answering)(encoder, head, settings, may_have_none, compat).eval()


def log_probabilities(objective: Answering, vectors: torch.Tensor, may: list[int]) -> tuple[torch.Tensor, dict]:
    """Of one row, straight from the definition: of starts [L], and by start of ends [L]; -inf where none `may` be."""
    closed = torch.full((len(vectors),), -torch.inf)
    closed[may] = 0
    if not isinstance(objective, JointAnswering):
        starts, ends = objective.head(vectors).unbind(dim=1)
        ends = (ends + closed).log_softmax(0)
        return (starts + closed).log_softmax(0), dict.fromkeys(may, ends)
    head, ends = objective.head, {}
    for place in may:
        pairs = torch.cat([vectors[place].expand_as(vectors), vectors], dim=1)
        ends[place] = (head.end(F.gelu(head.end_dense(pairs)))[:, 0] + closed).log_softmax(0)
    return (head.start(vectors)[:, 0] + closed).log_softmax(0), ends


def rows_by_definition(objective: Answering, split: QuestionDataset):
    """By window: its log-probabilities, the places of its context, and how unlikely an answer is."""
    for number in range(len(split.windows)):
        tokens = split.windows.take(np.array([number]))
        vectors = objective.encoder(tokens)
        first = int(split.windows.context_places[number])
        context = list(range(first, first + int(split.windows.sizes[number])))
        starts, ends = log_probabilities(objective, vectors, [0, *context])
        none = None
        if isinstance(objective, JointAnswering):
            pair = torch.cat([vectors[0], starts.exp() @ vectors])
            none = objective.head.none(F.gelu(objective.head.none_dense(pair)))[0]
        yield starts, ends, context, none


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_the_loss_is_the_definitions_packed_padded_and_in_parts(split, joint, compat):
    objective = objective_of(joint, compat, answerable_weight=0.3)
    numbers = np.arange(len(split.windows))
    batch = split.batch(numbers)
    assert (split.places > 0).all(axis=1).any() and (split.places == 0).all(axis=1).any()
    spans, unsure = [], []
    for number, (starts, ends, _, none) in zip(numbers, rows_by_definition(objective, split), strict=True):
        start, end = split.places[number].tolist()
        spans.append(-(starts[start] + ends[start][end]) / 2)
        impossible = not split.questions.answers[split.windows.question_of[number]]
        if joint:
            unsure.append(F.softplus(-none if impossible else none))
    expected = torch.stack(spans).sum() + (0.3 * torch.stack(unsure).sum() if joint else 0)
    expected = expected / (1 if compat else len(numbers))
    counts = denominators_of(objective, batch)
    for shaped in (batch, batch.padded(LENGTH, 0), batch.padded(LENGTH + 5, 0)):
        losses = objective.losses(shaped)
        assert losses.counts == counts
        torch.testing.assert_close(objective.total(losses, counts), expected)
    runner = Runner(objective, choose_machine(MachineSettings(device="cpu", micro_batch_rows=2)))
    objective.zero_grad()
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    runner.gradients(runner.prepare(batch, LENGTH))
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("answer_length", [1, 3, 30])
@pytest.mark.parametrize("joint", [False, True])
def test_the_best_spans_are_those_of_all_spans_where_the_beam_is_wide(split, joint, answer_length):
    objective = objective_of(joint, answer_length=answer_length, beam_size=100)
    found = find_candidates(objective, split.windows, CPU, top_k=4)
    own = iter(split.windows.is_max_context().tolist())
    with torch.no_grad():
        for number, (starts, ends, context, none) in enumerate(rows_by_definition(objective, split)):
            scores = {
                (start, end): float(starts[start] + ends[start][end])
                for start in context if next(own)
                for end in context if start <= end < start + answer_length
            }  # fmt: skip
            best = sorted(scores, key=scores.get, reverse=True)[:4]
            there = np.isfinite(found.scores[number])
            assert list(zip(found.starts[number, there], found.ends[number, there], strict=True)) == best
            differences = found.scores[number, there] - [scores[span] for span in best]
            # Joint scores are log-probabilities; the others are logits, so all are off by the same number.
            assert np.ptp(differences) < 1e-4 if len(best) else not there.any()
            if joint:
                assert np.abs(differences).max(initial=0) < 1e-4
                assert found.null_scores[number] == pytest.approx(float(none), abs=1e-4)


def test_a_narrow_beam_looks_at_the_likeliest_starts_alone(split):
    wide, narrow = (
        find_candidates(objective_of(True, beam_size=size), split.windows, CPU, top_k=400) for size in (100, 2)
    )
    objective, own = objective_of(True), split.windows.is_max_context()
    behind = np.cumsum(split.windows.sizes)
    with torch.no_grad():
        for number, (starts, _, context, _) in enumerate(rows_by_definition(objective, split)):
            mine = np.array(context)[own[behind[number] - len(context) : behind[number]]]
            likeliest = set(sorted(mine, key=lambda place: -float(starts[place]))[:2])
            there = np.isfinite(narrow.scores[number])
            assert set(narrow.starts[number, there]) == likeliest
            kept = np.isin(wide.starts[number], list(likeliest)) & np.isfinite(wide.scores[number])
            np.testing.assert_allclose(narrow.scores[number, there], wide.scores[number, kept], rtol=1e-4)


@pytest.mark.parametrize("joint", [False, True])
def test_of_a_questions_windows_the_best_span_wins_and_the_least_null_counts(split, joint, monkeypatch):
    monkeypatch.setattr("bertsmith.tasks.rows.PREDICTION_BATCH_TOKENS", 30)  # batches of two rows or three
    windows, objective = split.windows, objective_of(joint, answer_length=3)
    found = find_candidates(objective, windows, CPU, top_k=5)
    best = best_answers(found, windows, split.questions, top_k=7)
    odds = null_odds(found, windows, best, joint)
    assert len(windows) > len(split.questions)
    for question, answers in enumerate(best):
        mine = np.flatnonzero(windows.question_of == question)
        scores = np.sort(found.scores[mine].ravel())[::-1][:7]
        assert [answer.score for answer in answers] == scores[np.isfinite(scores)].tolist()
        window, at = np.unravel_index(found.scores[mine].argmax(), found.scores[mine].shape)
        places = (found.starts[mine[window], at], found.ends[mine[window], at])
        assert answers[0].text == split.questions.context(question)[windows.characters(mine[window], *places)]
        assert answers[0].text in split.questions.context(question) and len(answers[0].text.split()) <= 3
        expected = found.null_scores[mine].min() - (0 if joint else answers[0].score)
        assert odds[question] == pytest.approx(expected)


def test_a_context_of_nothing_has_no_answer():
    asked = Questions()
    asked.add("1", "a", "", [(0, "b")])
    windows = cut_into_windows(asked, TOKENIZER, LENGTH, question_length=3)
    for joint in (False, True):
        found = find_candidates(objective_of(joint), windows, CPU)
        best = best_answers(found, windows, asked)
        assert best == [[]] and np.isfinite(null_odds(found, windows, best, joint)).all()
