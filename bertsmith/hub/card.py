"""The model card: a model, its training data and its scores, for people who find its folder."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from bertsmith import __version__
from bertsmith.config.fields import setting, settings
from bertsmith.encoders.heads import HeadName
from bertsmith.hub.heads import HEADS
from bertsmith.hub.network import Network


@settings
class CardSettings:
    """A model's license, language and origins, for the card's front matter."""

    license: str | None = setting(None, "the hub's identifier of a license, as apache-2.0")
    language: str | None = setting(None, "codes of languages, separated by commas, as en,de")
    base_model: str | None = setting(None, "the hub's name of the model that it was made from")
    datasets: str | None = setting(None, "the hub's names of data sets, separated by commas")

    def front_matter(self) -> dict[str, Any]:
        """Return the settings that are given by the keys of the hub's schema."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        lists = {name: given[name].split(",") for name in ("language", "datasets") if name in given}
        return given | {name: [part.strip() for part in parts] for name, parts in lists.items()}


class CardScores(NamedTuple):
    """Scores for the card's `model-index`."""

    model: str
    dataset: str
    """Name of the data that was scored."""
    metrics: Mapping[str, float | None]

    def front_matter(self, pipeline: str) -> dict[str, Any]:
        """Return the `model-index` of the hub's schema; empty where nothing was measured."""
        metrics = [
            {"type": name, "value": value}
            for name, value in self.metrics.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        dataset = {"name": self.dataset, "type": self.dataset}
        result = {"task": {"type": pipeline}, "dataset": dataset, "metrics": metrics}
        return {"model-index": [{"name": self.model, "results": [result]}]} if metrics else {}


_SENTENCES = "sentence-transformers"

_ANSWERING = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = "path/to/this/folder"
model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("Who wrote it?", "Ann Lee wrote it in May.", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs)
first, last = logits.start_logits.argmax(), logits.end_logits.argmax()
print(tokenizer.decode(inputs["input_ids"][0, first : last + 1]))"""
"""transformers 5 has no pipeline for it."""


def model_card(
    name: str,
    network: Network,
    *,
    recipe: str,
    data: Mapping[str, Any],
    results: Mapping[str, Any],
    onnx: bool = False,
    settings: CardSettings = CardSettings(),  # noqa: B008 - frozen
    scores: CardScores | None = None,
    pooled: str | None = None,
    is_inherited: bool = True,
) -> str:
    """Return Markdown with the front matter that Hugging Face's hub reads.

    Args:
        name: the title.
        network: its head decides the hub's label and the example.
        recipe: every setting of the run, as TOML.
        data: name → value ("corpus", "documents", "tokens", …), in the order to show.
        results: metric → value; numbers are shown with four digits.
        onnx: whether a model.onnx is beside it.
        settings, scores: for the front matter.
        pooled: describes the modules of sentence-transformers beside it.
        is_inherited: whether these come from the model that it began as.
    """
    head = HEADS[network.head]
    pipeline, text = head.pipeline, head.example
    tags = ["bertsmith"] + [_SENTENCES] * bool(pooled)
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": pipeline, "tags": tags}
    front |= settings.front_matter() | (scores.front_matter(pipeline) if scores else {})
    call = f'pipeline("{pipeline}", model="path/to/this/folder")("{text}")'
    example = f"from transformers import pipeline\n\nprint({call})" if text else _ANSWERING
    parts = [
        _front(front),
        f"# {_escape(name)}",
        f"Trained with bertsmith {__version__}. Hugging Face transformers loads it without remote code:",
        _fenced(example, "python"),
    ]
    if onnx:
        out = " and ".join(f"`{name}`" for name in head.output_names)
        parts.append(f"`model.onnx` is the same for onnxruntime: what the tokenizer gives goes in, {out} come out.")
    if network.is_energy_head:
        parts.append(
            "An Electric: its logits are energies, not the log-odds of a replacement. A text's pseudo-log-likelihood "
            "is minus their sum over its tokens, [CLS] and [SEP] left out: `bertsmith score`."
        )
    if pooled is not None:
        origin = "The pooling was chosen at the export; nothing was trained for it."
        if is_inherited:
            origin = (
                "That is the pooling of the model that this one began as; since then it was trained on the text below, "
                "and on no pairs of sentences."
            )
        parts.append(f"{_SENTENCES} loads it too: {pooled}. {origin}")
    if network.trained_length is not None:
        parts.append(f"Trained on rows of up to {network.trained_length} tokens; nothing is known of longer ones.")
    parts += ["## Data", _table("", data)] if data else []
    parts += ["## Results", _table("metric", results)] if results else []
    parts += ["## Recipe", _fenced(recipe.strip("\n"), "toml")]
    return "\n\n".join(parts) + "\n"


def imported_card(
    name: str, about: str, head: HeadName | None, settings: CardSettings, pooled: str | None = None
) -> str:
    """Return Markdown for a model that was converted and not trained: `about` is a paragraph, the others are as of
    `model_card`."""
    pipeline = HEADS[head].pipeline
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": pipeline, "tags": ["bertsmith"]}
    parts = [f"# {_escape(name)}", about]
    if pooled is not None:
        front |= {"library_name": _SENTENCES, "pipeline_tag": "sentence-similarity"}
        front["tags"] = ["bertsmith", _SENTENCES, "sentence-similarity", pipeline]
        parts += [
            f"{_SENTENCES} makes one vector of a text by it: {pooled}.",
            _fenced(
                "from sentence_transformers import SentenceTransformer\n\n"
                'print(SentenceTransformer("path/to/this/folder").encode(["A text.", "Another one."]).shape)',
                "python",
            ),
        ]
    return "\n\n".join([_front(front | settings.front_matter()), *parts]) + "\n"


def _front(content: Mapping[str, Any]) -> str:
    """Return the front matter: YAML takes JSON."""
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in content.items()), "---"])


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {title} | |", "|---|---|"]
    lines += [f"| {_escape(key)} | {_escape(_show(value))} |" for key, value in rows.items()]
    return "\n".join(lines)


def _show(value: Any) -> str:
    if value is None:  # measured on nothing
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)


def _escape(text: str) -> str:
    """Return Markdown that shows the text as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", " ".join(text.split()))


def _fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than any run of back ticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
