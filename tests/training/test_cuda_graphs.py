"""A recorded step is the step: the same losses, gradients and random numbers, whatever was recorded before."""

import numpy as np
import pytest
import torch

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.objectives.rtd import ReplacedTokensSettings
from bertsmith.training import cuda_graphs as graphs_file
from bertsmith.training.cuda_graphs import RUNS_BEFORE, CudaGraphRunner
from bertsmith.training.machine import Machine
from bertsmith.training.runner import Runner
from tests.toys import needs_cuda

LENGTH = 24
VOCABULARY = MaskingVocabulary(300, 3, (0, 1, 2, 3))


def batch(rows: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, LENGTH + 1, rows)
    rows = rng.integers(4, 300, lengths.sum()), np.zeros(lengths.sum(), np.int64), lengths
    return ReplacedTokensSettings().collator(VOCABULARY, LENGTH)(rows, rng)


class Weight(torch.nn.Module):
    """Adds up its batch's ids."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def run(self, batch: Batch, counts) -> Losses:
        loss = self.weight * batch.tokens.ids.sum() / counts["loss"]
        loss.backward()
        return Losses({"loss": loss.detach()}, {"loss": 1.0})


def rows_of(*ids: int) -> Batch:
    return Batch(Tokens.pack(np.array(ids), np.zeros(len(ids)), np.array([len(ids)])), {})


@pytest.fixture
def recorded(monkeypatch) -> list[int]:
    """Tokens of the batches that were recorded, by recordings that run what they would replay, as a graph needs a
    GPU."""
    made = []

    class Stub:
        def __init__(self, run, batch, counts, pool):
            self.run = run
            made.append(batch.tokens.num_tokens)
            if batch.tokens.num_tokens == 3:
                raise RuntimeError("no graph of three")

        def replay(self, batch, counts):
            return self.run(batch, counts)

    monkeypatch.setattr(graphs_file, "_Recording", Stub)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    return made


def step(ours: CudaGraphRunner, *ids: int) -> None:
    ours.zero_gradients()
    losses = ours.run(rows_of(*ids), {"loss": 2.0})
    assert losses.sums["loss"] == sum(ids) / 2 == ours.parameters[0].grad


def test_a_shape_that_comes_again_is_recorded_and_one_whose_recording_fails_is_run(recorded, capsys):
    model = Weight()
    ours = CudaGraphRunner(model, model.run)
    for number in range(RUNS_BEFORE + 3):
        step(ours, number, number + 1)
        assert recorded == [2] * (number >= RUNS_BEFORE)
    model.weight.grad = None  # somebody else's doing
    step(ours, 1, 2)
    for number in range(RUNS_BEFORE + 3):
        step(ours, number, 1, 1)
    assert recorded == [2, 3]
    assert "no graph of three" in capsys.readouterr().err
    step(ours, 5, 5)


def test_forgotten_shapes_hold_nothing_and_new_ones_are_recorded(recorded):
    """As where a stage of pre-training ends."""
    model = Weight()
    ours = Runner(model, Machine(torch.device("cpu"), torch.float32, False, None))
    ours.cuda_graphs = CudaGraphRunner(model, model.run)
    for _ in range(RUNS_BEFORE + 1):
        step(ours.cuda_graphs, 1, 2)
    ours.forget_shapes()
    graphs = ours.cuda_graphs
    assert not graphs.recordings and not graphs.gradients and graphs.pool is None and model.weight.grad is None
    for number in range(RUNS_BEFORE + 2):
        step(graphs, number, 1, 1, 1)
        assert recorded == [2] + [4] * (number >= RUNS_BEFORE)
    assert len(graphs.recordings) == 1


def test_tensors_of_a_batch_have_names_of_their_own():
    asked = batch(3, 0)
    names = asked.tensors()
    assert names["tokens.positions"].shape != names["targets.positions"].shape
    assert len(names) == len(asked.tokens.tensors()) + len(asked.targets) + 1


def _encoder(prob: float) -> BertConfig:
    return BertConfig(
        hidden_size=64, num_hidden_layers=2, hidden_dropout_prob=prob, attention_probs_dropout_prob=prob,
        max_position_embeddings=LENGTH,
    )  # fmt: skip


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("prob", [0.0, 0.1])
def test_a_recorded_step_is_the_step(prob):
    """Two sizes of batch in turns, in micro-batches and not; the same steps without recording beside it."""
    device = torch.device("cuda")
    runners = []
    for records in (True, False):
        torch.manual_seed(0)
        objective = ReplacedTokensSettings().build(_encoder(prob), VOCABULARY).train()
        runners.append(Runner(objective, Machine(device, torch.bfloat16, True, 6, cuda_graphs=records)))
    for number in range(RUNS_BEFORE + 4):
        for rows in (6, 4, 12):
            asked = batch(rows, number)
            results = []
            for runner in runners:
                torch.manual_seed(number)
                losses = runner.gradients(runner.prepare(asked, LENGTH))
                results.append(
                    (losses.means(), [parameter.grad.clone() for parameter in runner.objective.parameters()])
                )
            (recorded, gradients), (plain, expected) = results
            assert recorded == pytest.approx(plain, rel=1e-4, nan_ok=True)
            torch.testing.assert_close(gradients, expected, rtol=2e-2, atol=2e-3)
    assert len(runners[0].cuda_graphs.recordings) == 2
