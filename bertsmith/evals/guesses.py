"""What a model puts in the place of [MASK] in fixed sentences, shown while it learns."""

from collections.abc import Callable, Sequence

from bertsmith.encoders.networks import MaskedTokenModel
from bertsmith.evals.masks import guess_masks
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine

SENTENCES = (
    "returns a new [MASK] with the same shape.",
    "the number of [MASK] in the graph.",
    "if true, the result is a copy of the input [MASK].",
    "raises an [MASK] if the file does not exist.",
)
"""Of the kind that documentation is full of."""


def show_guesses(
    network: MaskedTokenModel,
    tokenizer: Tokenizer,
    machine: Machine,
    show: Callable[[str], None],
    sentences: Sequence[str] = SENTENCES,
) -> None:
    """Show a line for each sentence: the three likeliest tokens in the place of its [MASK], with their
    probabilities."""
    width = max(map(len, sentences))
    guessed = guess_masks(network, tokenizer.encode_each(sentences), tokenizer, machine, top_k=3)
    for sentence, (guesses,) in zip(sentences, guessed, strict=True):
        named = ", ".join(f"{token} {probability:.0%}" for token, probability in guesses)
        show(f"    {sentence:{width}}  {named}")
