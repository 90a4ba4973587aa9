"""The check that an export may replace a folder: an earlier export's, without other files."""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bertsmith import __version__
from bertsmith.errors import UserError
from bertsmith.storage.files import others_in, reported
from bertsmith.storage.manifests import folder_type, word

WEIGHTS = "model.safetensors"

MODULES = "modules.json"
ENCODER = "sentence_bert_config.json"
LIBRARY = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
DENSE = re.compile(r"\d_Dense/config\.json")
MAX_MODULES = 9
"""Of sentence-transformers, after the encoder: the numbers that their folders' names can have."""

EXPORTED_FILES = {
    "README.md", "config.json", "model.onnx", WEIGHTS,
    "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    MODULES, ENCODER, LIBRARY, POOLING,
    *(f"{number}_{name}" for number in range(2, MAX_MODULES + 1)
      for name in ("Dense/config.json", f"Dense/{WEIGHTS}", "Normalize/config.json")),
}  # fmt: skip
"""Names of the files of an export; see `sentence` for the second half."""

SIGNED = {"format": "pt", "bertsmith": __version__}
"""Metadata of its weights. The files of a download, or of save_pretrained, have the same names, and a config.json keeps
what is in it through both; the second key is in none but ours."""


def check_replaceable(out: Path) -> None:
    """Raise UserError where `out` is a file, or a folder with anything in it that no export wrote."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: a file; name a folder to export to")
    if kind := folder_type(out):
        raise UserError(f"{out}: a {word(kind)} folder; name another folder to export to")
    with reported(out):
        names = {entry.name for entry in out.iterdir()}
        others = others_in(out, EXPORTED_FILES)
    if names and not others and not _is_signed(out / WEIGHTS):
        others = [WEIGHTS if WEIGHTS in names else min(names)]
    if others:
        first = min(others, key=lambda name: (name.startswith("."), name))
        raise UserError(f"{out}: holds {first}, and no sign that an export wrote it; name another folder")


def _is_signed(weights: Path) -> bool:
    try:
        with safe_open(weights, "pt") as file:
            return "bertsmith" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
