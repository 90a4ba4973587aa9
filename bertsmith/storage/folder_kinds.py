"""The kinds of folder that bertsmith writes: what is made in each, and what its manifest says."""

from collections.abc import Mapping
from typing import Any, NamedTuple

TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""Files of a tokenizer, in whatever folder."""

_NUMBER = (int, float, type(None))
_SCORES = {str: _NUMBER}
_TASK = {
    "task?": str, "metrics?": [str], "examples?": {str: int}, "labels?": [str], "multi_label?": bool,
    "low?": _NUMBER, "high?": _NUMBER, "scored_on?": str,
}  # fmt: skip


class Kind(NamedTuple):
    """A kind of folder."""

    name: str
    """As its manifest has it."""
    files: tuple[str, ...] = ()
    """Files that are made in it besides the manifest, some in a folder of their own ("task/dev.jsonl")."""
    described: tuple[str, ...] = ()
    """Further ones, which are written anew at each command."""
    members: Mapping[str, str] = {}
    """Folder in it → kind of the folders in that one, each with a manifest of its own."""
    parts: Mapping[str, str] = {}
    """Folder in it → the kind that this folder is of itself. An "export" has no manifest: its files are listed in the
    outer one's."""
    content: Mapping[str, Any] = {}
    """The shape of its manifest, as `bertsmith.storage.json_files.check_shape` has it; a manifest may say more."""

    @property
    def names(self) -> list[str]:
        """What is made in it; folders end with a slash."""
        return sorted([*self.files, *self.described, *(f"{name}/" for name in (*self.members, *self.parts))])


_KINDS = (
    Kind(
        "tokenizer",
        TOKENIZER,
        content={"identity": dict, "fingerprint?": str},
    ),
    Kind(
        "data",
        (*TOKENIZER, "journal.jsonl", "checked.json"),  # its shards are named one by one, under "files"
        content={
            "identity": dict,
            "files": {str: str},
            "tokenizer": {"fingerprint": str, "vocab_size": int},
            "counts?": {str: int},
            "shards": {str: [{"tokens": int, "lines": int, "documents": int}]},
        },
    ),
    Kind(
        "checkpoint",
        ("model.safetensors", "optimizer.safetensors", "state.json"),
        content={"files": {str: str}},
    ),
    Kind(
        "pretrain",
        ("metrics.jsonl", "trackers.json"),
        ("recipe.toml", *TOKENIZER),
        members={"checkpoints": "checkpoint", "tensorboard": "events"},
        content={
            "identity?": dict,
            "finished": bool,
            "vocab_size": int,
            "measures?": _SCORES,
            "environment": dict,
            "data": {"path": str, "tokens": {"train": int, "heldout": int}, "documents": int, "hash?": str},
            "tokenizer?": str,
            "threads?": [int],
            "events?": [str],
            "sentence_transformers?": dict,
        },
    ),
    Kind(
        "trial",
        (
            "results.json",
            "model.safetensors",
            "metrics.jsonl",
            "trackers.json",
            "predictions-dev.tsv",
            "predictions-dev_mismatched.tsv",
            "predictions-dev.txt",
            "eval.json",
            "preds.json",
            "null_odds.json",
        ),
        content={"files": {str: str}},
    ),
    Kind(
        "finetune",
        ("results.json",),
        ("recipe.toml", *TOKENIZER),
        members={"trials": "trial"},
        content={
            **_TASK,
            "task": str,
            "metrics": [str],
            "identity?": dict,
            "finished": bool,
            "recipe?": dict,
            "encoder?": dict,
            "family?": str,
            "vocab_size?": int,
            "trained_length?": (int, type(None)),
            "learnt_before?": [str],
            "tokenizer?": str,
            "tasks?": {str: _TASK},
        },
    ),
    Kind(
        "search",
        ("results.json",),
        members={"grid": "finetune"},
        content={"identity?": dict, "finished": bool, "recipe?": dict, "searched?": [str]},
    ),
    Kind(
        "glue",
        ("results.json",),
        members={"tasks": "finetune"},
        parts={"mnli-model": "export"},
        content={
            "identity?": dict,
            "finished": bool,
            "settings": dict,
            "model": str,
            "mnli_seed?": (int, type(None)),
        },
    ),
    Kind(
        "quickstart",
        ("corpus.jsonl", "task/train.jsonl", "task/dev.jsonl", "start.json", "report.html", "results.json"),
        parts={
            "vocab": "tokenizer",
            "data": "data",
            "bert": "pretrain",
            "pretrained": "finetune",
            "random": "finetune",
            "hf": "export",
        },
    ),
)

KINDS = {kind.name: kind for kind in _KINDS}
