"""What the optimizer's step costs beside forward and backward: 12 × 256, 16,384 tokens a step.

    python -m benchmarks.optimizer_step [--device cuda] [--tokens 16384] --out optimizer-step.json

One process; in turns the same gradients, and the step of each optimizer on a copy of the network. The share is of the
whole step, medians over the turns.
"""

import copy
import time
from collections.abc import Callable

import torch

from benchmarks.footprint import random_batch
from benchmarks.trials import Trials, parser_of
from bertsmith.config.loading import load
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.training.machine import choose_machine
from bertsmith.training.optimizers.optimizer import build_optimizer, clip_gradients
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

LENGTH = 128
OPTIMIZERS = {
    "AdamW": ("optimizer.kind=adamw",),
    "Muon": ("optimizer.kind=muon",),
    "Muon, 3 iterations": ("optimizer.kind=muon", "optimizer.iterations=3"),
}


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=16_384)
    given = parser.parse_args()
    trials = Trials(given.out)
    what = f"12 × 256, {given.tokens:,} tokens, {given.device}"
    contestants = steps(given.device, given.tokens)
    for measure in contestants.values():
        measure()  # what comes first loads and compiles
    trials.alternate(what, contestants, given.repeats)
    gradients = sorted(trials.figures(what, "gradients", "seconds"))[given.repeats // 2]
    for who in OPTIMIZERS:
        seconds = sorted(trials.figures(what, who, "seconds"))[given.repeats // 2]
        share = seconds / (seconds + gradients)
        trials.note("results", f"{what}, {who}", {"seconds": seconds, "gradients": gradients, "share": share})
        print(f"{who}: {seconds:.4f} s beside {gradients:.3f} s, {share:.1%} of a step")


def steps(device: str, tokens: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Return what is timed: forward and backward, and each optimizer's step after them."""
    said = ["data=none", f"machine.device={device}", f"batch_size={tokens // LENGTH}", f"rows.length={LENGTH}"]
    recipe = load(PretrainRecipe, "pretrain", "fast-small", said).settings
    machine, vocabulary = choose_machine(recipe.machine), MaskingVocabulary(16_000, 4, (0, 2, 3, 4))
    torch.manual_seed(0)
    objective = recipe.objective.build(recipe.model, vocabulary).train()
    copies = {who: copy.deepcopy(objective).to(machine.device) for who in OPTIMIZERS}
    runner, batch = Runner(objective, machine), random_batch(recipe, vocabulary)

    def pass_and_clip() -> None:
        runner.gradients(runner.prepare(batch, LENGTH))
        clip_gradients(objective, 1.0)

    def gradients() -> dict[str, float]:
        return timed(pass_and_clip, device)

    def step_of(who: str) -> Callable[[], dict[str, float]]:
        settings = load(PretrainRecipe, "pretrain", "fast-small", [*said, *OPTIMIZERS[who]]).settings.optimizer
        optimizer = build_optimizer(copies[who], settings)

        def step() -> dict[str, float]:
            for own, other in zip(copies[who].parameters(), objective.parameters(), strict=True):
                own.grad = other.grad
            return timed(optimizer.step, device)

        return step

    return {"gradients": gradients} | {who: step_of(who) for who in OPTIMIZERS}


def timed(act: Callable[[], object], device: str) -> dict[str, float]:
    started_at = time.perf_counter()
    act()
    if device != "cpu":
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - started_at}


if __name__ == "__main__":
    main()
