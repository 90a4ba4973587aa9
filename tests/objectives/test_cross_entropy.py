"""Against the plain way, torch's own linear layer and cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from bertsmith.objectives import cross_entropy
from bertsmith.objectives.cross_entropy import TokenTargets, VocabularyCrossEntropy


def summed_cross_entropy(vectors, table, bias, labels, weights):
    return VocabularyCrossEntropy().predict(vectors, table, bias, TokenTargets(labels, weights)).loss


def draw(num_rows: int, vocab_size: int = 50, size: int = 8):
    generator = torch.Generator().manual_seed(0)
    vectors, table, bias = (
        torch.randn(*shape, generator=generator, requires_grad=True)
        for shape in ((num_rows, size), (vocab_size, size), (vocab_size,))
    )
    labels = torch.randint(vocab_size, (num_rows,), generator=generator)
    return vectors, table, bias, labels, torch.rand(num_rows, generator=generator)


def plainly(vectors, table, bias, labels, weights):
    return (F.cross_entropy(F.linear(vectors, table, bias).float(), labels, reduction="none") * weights).sum()


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 1024])
def test_loss_and_gradients(monkeypatch, chunk_rows):
    monkeypatch.setattr(cross_entropy, "CHUNK_ROWS", chunk_rows)
    arguments = draw(7)
    found, expected = summed_cross_entropy(*arguments), plainly(*arguments)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found * 3, arguments[:3])
    torch.testing.assert_close(gradients, torch.autograd.grad(expected * 3, arguments[:3]))


def test_half_precision_is_as_near_as_torchs_own():
    arguments = draw(64)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = summed_cross_entropy(*arguments), plainly(*arguments)
    assert found.dtype == torch.float32
    exact = plainly(*arguments)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0.0)
    for gradient, theirs, ours in zip(
        torch.autograd.grad(exact, arguments[:3]),
        *(torch.autograd.grad(loss, arguments[:3]) for loss in (expected, found)),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - gradient).norm() <= 1.5 * (theirs - gradient).norm()


def test_scores_that_would_overflow():
    vectors, table, bias, labels, weights = draw(5)
    arguments = (vectors.detach() * 1e4, table, bias, labels, weights)
    assert summed_cross_entropy(*arguments).isfinite()
    torch.testing.assert_close(summed_cross_entropy(*arguments), plainly(*arguments))


def test_what_is_not_a_number_shows():
    vectors, table, bias, labels, weights = draw(5)
    with torch.no_grad():
        vectors[2, 0] = float("nan")
    assert summed_cross_entropy(vectors, table, bias, labels, weights).isnan()


def test_no_rows():
    vectors, table, bias, labels, weights = draw(0)
    loss = summed_cross_entropy(vectors, table, bias, labels, weights)
    assert loss == 0.0
    assert all(torch.count_nonzero(part) == 0 for part in torch.autograd.grad(loss, (vectors, table, bias)))


@pytest.mark.parametrize("rule", [{}, {"temperature": 0.5}, {"disallow_correct": True}], ids=str)
@pytest.mark.parametrize("half", [False, True])
def test_compiled_it_is_the_same(rule, half):
    """In one pass, as on a GPU, against in place."""
    arguments = draw(64, vocab_size=600)
    draws = torch.rand(64, generator=torch.Generator().manual_seed(1))
    targets = TokenTargets(*arguments[3:], draws, likeliest=True)
    ours = VocabularyCrossEntropy(**rule)
    compiled = VocabularyCrossEntropy(**rule)
    compiled.compile(backend="eager")
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        plain, fused = (each.predict(*arguments[:3], targets) for each in (ours, compiled))
    torch.testing.assert_close(fused.loss, plain.loss)
    torch.testing.assert_close(fused.normalizers, plain.normalizers)
    assert torch.equal(fused.likeliest, plain.likeliest)
    assert (fused.sampled == plain.sampled).float().mean() > 0.95  # a last bit may decide
    for theirs, own in zip(*(torch.autograd.grad(each.loss, arguments[:3]) for each in (plain, fused)), strict=True):
        assert (theirs - own).norm() <= (1e-2 if half else 1e-5) * theirs.norm()


def test_without_gradients():
    arguments = [part.detach() for part in draw(9)]
    predicted = VocabularyCrossEntropy().predict(*arguments[:3], TokenTargets(*arguments[3:], likeliest=True))
    scores = F.linear(*arguments[:3])
    torch.testing.assert_close(predicted.loss, plainly(*arguments))
    torch.testing.assert_close(predicted.normalizers, scores.logsumexp(dim=1))
    assert torch.equal(predicted.likeliest, scores.argmax(dim=1))
    assert predicted.sampled is None


def test_pieces_are_as_large_as_each_other_where_they_can_be():
    for count, most, sizes in ((19456, 2048, {1216}), (7, 3, {3, 1}), (0, 5, {0}), (6, 6, {6}), (12, 5, {4})):
        pieces = cross_entropy._cut(count, most)
        assert {len(range(count)[piece]) for piece in pieces} == sizes
        assert [place for piece in pieces for place in range(count)[piece]] == list(range(count))
