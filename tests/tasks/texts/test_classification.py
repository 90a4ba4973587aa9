"""The loss, its mean and compat's sum, and how fast each layer learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bertsmith.model.config import ClassicSettings
from bertsmith.model.encoder import Encoder
from bertsmith.model.heads import ElectraClassificationHead, PlainClassificationHead
from bertsmith.objectives.objective import Batch
from bertsmith.tasks.layer_rates import layer_rates
from bertsmith.tasks.texts.classification import Classification
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.optimizers import OptimizerSettings, build_optimizer
from tests.toys import random_tokens

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}  # fmt: skip
NARROW = ClassicSettings(hidden_size=16, embedding_size=8, **SIZES)


def classifier(num_labels, compat=False):
    head = PlainClassificationHead if compat else ElectraClassificationHead
    return Classification(Encoder(NARROW, 50), head(NARROW, num_labels), compat)


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
    machine = choose_machine(MachineSettings(device="cpu", micro_batch_rows=2))
    losses = machine.gradients(objective, machine.prepare(objective, batch, 9))
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-7)
    mean = (expected / 5 if compat else expected).detach()
    assert losses.means()["loss"] == pytest.approx(float(mean), rel=1e-5)


@pytest.mark.parametrize(("compat", "top"), [(False, 1), (True, 2)])
def test_layer_rates(compat, top):
    """The head learns at the full rate; the top layer at decay, in compat at decay² already."""
    objective = classifier(2)
    optimizer = build_optimizer(objective, OptimizerSettings(), layer_rates(2, 0.5, compat))
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
            assert group["rate"] == 0.5**power, name
    assert seen == set(names.values())
