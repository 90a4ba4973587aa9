"""A Hugging Face folder with SentencePiece's model in, the fast tokenizer out that transformers converts it to."""

from pathlib import Path

import tokenizers

from bertsmith.errors import UserError, quoted
from bertsmith.tokenizers.bert_folder import Casing, Read

NAMES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
"""Of SentencePiece's model in folders of XLM-R and CamemBERT, of ALBERT, of DeBERTa, and of others."""


def has_sentencepiece_model(folder: Path) -> bool:
    """Return whether such a file is in a folder."""
    return any((folder / name).is_file() for name in NAMES)


def convert_folder(folder: Path, chosen: Casing) -> Read:
    """Return the tokenizer of a folder without a tokenizer.json, as transformers makes it of SentencePiece's model. No
    code of the folder is run.

    Raises:
        UserError: transformers or SentencePiece is not installed; it cannot convert the file; the caller chose a
            casing, which the model has of its own.
    """
    if chosen.lowercase is not None or chosen.strip_accents is not None:
        raise UserError(f"lowercase, strip_accents: {folder} has a normalizer of its own; leave them away")
    try:
        import sentencepiece  # whose absence is an error of another kind by transformers' version
        from transformers import AutoTokenizer
    except ImportError as error:
        raise UserError(
            f"{folder}: SentencePiece's model, for which {error.name} is missing; pip install "
            f"'bertsmith[sentencepiece]', or save the tokenizer with save_pretrained, as a tokenizer.json"
        ) from None
    model = next(folder / name for name in NAMES if (folder / name).is_file())
    try:
        sentencepiece.SentencePieceProcessor(model_file=str(model))
    except Exception:  # the library's own, of several kinds
        raise UserError(f"{model}: not a model of SentencePiece's, or a damaged one; fetch it again") from None
    try:
        converted = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        definition = converted.backend_tokenizer.to_str()
    except Exception as error:  # whatever a damaged file causes in three libraries
        raise UserError(
            f"{folder}: transformers cannot convert SentencePiece's model ({quoted(str(error), 200)}); save the "
            f"tokenizer as a tokenizer.json where it was made"
        ) from None
    names = {key: str(token) for key, token in converted.special_tokens_map.items() if isinstance(token, str)}
    return Read(
        tokenizers.Tokenizer.from_str(definition), "as transformers converts SentencePiece's model", names=names
    )
