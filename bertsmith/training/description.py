"""A description of a Hugging Face folder for people: what the model is, how large, and what it can be used for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.hub.heads import HEADS, MULTI_LABEL
from bertsmith.hub.registry import FAMILIES
from bertsmith.objectives.rtd import NETWORKS
from bertsmith.training.models import Model, open_model, sentence_modules

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.hub.network import Network


def is_model_folder(path: Path) -> bool:
    """Return whether `path` is a Hugging Face folder, or one of a discriminator and its generator."""
    return (path / "config.json").is_file() or (path / NETWORKS[0] / "config.json").is_file()


def describe_model(path: Path) -> tuple[str, dict[str, Any], list[object]]:
    """Return a title, names and values of what the model's folder holds, and the words of a command that uses it.

    Raises:
        UserError: as `open_model`.
    """
    model = open_model(path)
    facts: dict[str, Any] = {}
    for network in model.networks:
        prefix = f"{network.name} " if network.name else ""
        facts |= {f"{prefix}{name}": value for name, value in _network_facts(network).items()}
    first = model.network
    facts |= _token_facts(model)
    if described := _pooling(model):
        facts["sentence-transformers"] = described
    if first.finetuned_on:
        facts["fine-tuned on"] = ", ".join(first.finetuned_on)
    uses = HEADS[first.head].uses
    if first.head == "replaced_tokens" and len(model.networks) == 2:
        uses = f"predict (marks replaced tokens, fills [MASK]), evaluate{uses.partition('tokens)')[2]}"
    mask = model.tokenizer.mask_token
    facts["use it with"] = uses.replace("[MASK]", mask)
    command = [
        "predict",
        path,
        *(str(argument).replace("[MASK]", mask) for argument in HEADS[first.head].next_arguments),
    ]
    if first.head is None:
        command = ["finetune", "cola", f"model={path}", "data=data/glue", "--out", "runs/cola"]
    return f"{path}: a model", facts, command


def _network_facts(network: "Network") -> dict[str, Any]:
    settings = network.settings
    sizes = f"{settings.num_hidden_layers} layers of {settings.hidden_size}, {settings.heads} attention heads, " \
        f"feed-forward part of {settings.feed_forward}, embeddings of {settings.embedding}"  # fmt: skip
    count = sum(tensor.numel() for part in (network.weights, network.pooler) for tensor in part.values())
    facts = {
        "architecture": f"{FAMILIES[network.family].title} ({settings.kind} encoder)",
        "sizes": sizes,
        "parameters": f"{count:,}",
        "head": HEADS[network.head].outputs
        + (", which gives energies (an Electric)" if network.is_energy_head else ""),
    }
    if network.pooler:
        facts["head"] = f"{facts['head']}; a pooler beside it"
    if network.labels:
        facts["labels"] = _listed(network.labels) + (
            " (any number a text)" if network.problem_type == MULTI_LABEL else ""
        )
    if network.dropped:
        facts["not used"] = _listed(tuple(network.dropped))
    return facts


def _token_facts(model: Model) -> dict[str, Any]:
    from bertsmith.tokenizers.casing import in_words

    tokenizer = model.tokenizer
    words = in_words(tokenizer.fast.normalizer)
    unused = model.vocab_size - tokenizer.vocab_size
    rows = f"; {unused:,} more rows of the token table" if unused else ""
    longest, seen = model.network.settings.max_position_embeddings, model.network.trained_length
    trained = f", trained on rows of {seen}" if seen else ""
    return {
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens, {words}{rows}",
        "longest row": f"{longest:,} tokens{trained}",
    }


def _pooling(model: Model) -> str | None:
    """Describe the sentence-transformers files beside the model; None without any."""
    modules, left_out = sentence_modules(model)
    return modules.description if modules is not None else left_out and f"its files are not carried over: {left_out}"


def _listed(names: tuple[str, ...], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
