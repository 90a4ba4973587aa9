"""The loss, its mean and compat's sum, and how fast each layer learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bertsmith.encoders.bert import BertConfig, ElectraClassificationHead
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.objectives.objective import Batch
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.texts.text_task import Classification
from bertsmith.tasks.trial import layer_rates
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import build_optimizer
from bertsmith.training.runner import Runner
from tests.toys import random_tokens

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}  # fmt: skip
NARROW = BertConfig(hidden_size=16, embedding_size=8, **SIZES)


def classifier(num_labels, compat=False, answers=None):
    head = PlainClassificationHead if compat else ElectraClassificationHead
    answers = answers or (Number() if num_labels == 1 else OneLabel(("a", "b", "c")))
    return Classification(Encoder(NARROW, 50), head(NARROW, num_labels), answers, compat)


def example(num_labels):
    tokens = random_tokens([5, 9, 3, 7, 7], 50)
    answers = torch.rand(5) if num_labels == 1 else torch.from_numpy(np.array([0, 2, 1, 1, 0]))
    return Batch(tokens, {"answers": answers})


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("compat", [False, True])
def test_loss_and_gradient_of_the_mean_or_of_the_sum(num_labels, compat):
    torch.manual_seed(0)
    objective, batch = classifier(num_labels, compat), example(num_labels)
    objective.eval()  # no dropout
    scores = objective.scores(batch.tokens)
    if num_labels == 1:
        expected = ((scores[:, 0] - batch.targets["answers"]) ** 2).sum()
    else:
        expected = -F.log_softmax(scores, dim=1).gather(1, batch.targets["answers"][:, None]).sum()
    expected = expected if compat else expected / 5
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    objective.zero_grad()
    runner = Runner(objective, choose_machine(MachineSettings(device="cpu", micro_batch_rows=2)))
    losses = runner.gradients(runner.prepare(batch, 9))
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-7)
    mean = (expected / 5 if compat else expected).detach()
    assert losses.means()["loss"] == pytest.approx(float(mean), rel=1e-5)


LABEL_SETS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
CLASSES, CLASS_WEIGHTS = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([0.5, 3.0, 0.01])
POSITIVE_WEIGHTS = torch.tensor([4.0, 0.5, 2.0])

THEIRS = {
    "classes, weighted": (
        OneLabel(("a", "b", "c")), {"answers": CLASSES, "weights": CLASS_WEIGHTS[CLASSES]},
        lambda scores: F.cross_entropy(scores, CLASSES, weight=CLASS_WEIGHTS),
    ),
    "labels": (
        AnyLabels(("a", "b", "c")), {"answers": LABEL_SETS},
        lambda scores: 3 * torch.nn.BCEWithLogitsLoss()(scores, LABEL_SETS.float()),
    ),
    "labels, weighted": (
        AnyLabels(("a", "b", "c")),
        {"answers": LABEL_SETS, "weights": torch.where(LABEL_SETS, POSITIVE_WEIGHTS, torch.ones(3))},
        lambda scores: 3 * torch.nn.BCEWithLogitsLoss(pos_weight=POSITIVE_WEIGHTS)(scores, LABEL_SETS.float()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", THEIRS)
def test_in_micro_batches_loss_and_gradient_are_what_torch_gives_for_the_whole(kind):
    torch.manual_seed(0)
    answers, targets, theirs = THEIRS[kind]
    objective, batch = classifier(3, answers=answers), Batch(random_tokens([5, 9, 3, 7, 7], 50), targets)
    objective.eval()
    expected = theirs(objective.scores(batch.tokens))
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    objective.zero_grad()
    runner = Runner(objective, choose_machine(MachineSettings(device="cpu", micro_batch_rows=2)))
    losses = runner.gradients(runner.prepare(batch, 9))
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-7)
    assert losses.means()["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize(("compat", "top"), [(False, 1), (True, 2)])
def test_layer_rates(compat, top):
    """The head learns at the full rate; the top layer at decay, in compat at decay² already."""
    objective = classifier(2)
    optimizer = build_optimizer(objective, AdamWSettings(), layer_rates(2, 0.5, compat))
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            if name.startswith("head."):
                power = 0
            elif name.startswith("encoder.layers."):
                power = top + 1 - int(name.split(".")[2])
            else:
                power = top + 2
            assert group["lr_scale"] == 0.5**power, name
    assert seen == set(names.values())


def test_a_norm_of_the_top_layers_output_learns_as_that_layer():
    rate_of = layer_rates(3, 0.5)
    assert rate_of("encoder.final_norm.weight") == rate_of("encoder.layers.2.feed_forward.up.weight") == 0.5
    encoder = Encoder(ModernBertConfig(hidden_size=16, num_attention_heads=2), 50)
    assert "final_norm.weight" in dict(encoder.named_parameters())
