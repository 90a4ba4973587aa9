"""What people call the measures of pre-training."""

from collections.abc import Collection, Iterable

_TITLES = {
    "mlm_loss": "Masked-token loss, nats",
    "mlm_accuracy": "Masked-token accuracy",
    "mlm_perplexity": "Masked-token perplexity",
    "cloze_loss": "Loss of the two towers, nats a token",
    "cloze_perplexity": "Perplexity of the two towers",
    "cloze_accuracy": "Accuracy of the two towers",
    "sampled_accuracy": "Share of drawn tokens that are the original",
    "rtd_loss": "Discriminator's loss, nats a token",
    "rtd_accuracy": "Discriminator's accuracy",
    "rtd_precision": "Discriminator's precision",
    "rtd_recall": "Discriminator's recall",
    "rtd_auc": "Discriminator's AUC",
    "replaced_share": "Share of replaced tokens",
}


def has_generator(names: Iterable[str]) -> bool:
    """Return whether a generator fills masked tokens, beside the network that a run with these measures is for."""
    return any(name.startswith("rtd_") for name in names)


def objective_title(name: str, of_generator: Collection[bool] = ()) -> str | None:
    """Return what people call an objective's measure; None of others.

    Args:
        of_generator: of the runs that have it, whether they have a generator (`has_generator`).
    """
    title = _TITLES.get(name)
    if title is None or not name.startswith("mlm_") or True not in of_generator:
        return title
    return f"Generator's {title[0].lower()}{title[1:]}" if all(of_generator) else f"{title} (ELECTRA: its generator's)"


def perplexity_title(names: Collection[str]) -> str:
    """Return what the perplexity of a run with these measures is of."""
    if "cloze_perplexity" in names:
        return "held-out perplexity of the two towers"
    return f"held-out perplexity of {'the generator' if has_generator(names) else 'masked tokens'}"
