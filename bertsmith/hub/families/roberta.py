"""RoBERTa's, XLM-RoBERTa's and CamemBERT's classes, of one encoder and with the same names of tensors.

Their table of positions begins with rows that no token reads, one for each id up to padding's: zeros as we write them.

Source: transformers, models/roberta/modeling_roberta.py, models/xlm_roberta and models/camembert.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.roberta import RobertaConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.post_norm import TOKEN_HEADS, PostNormFamily
from bertsmith.storage.json_files import read_json

if TYPE_CHECKING:  # the room of training imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer

_PAD_ID = 1
"""transformers' default of pad_token_id in these families."""

_BOS_EOS = (0, 2)
"""The ids of <s> and </s> in RoBERTa's vocabularies; BERT's configurations name none."""


def _classes(prefix: str) -> dict[str, HeadName | None]:
    """Return the names of a family's classes → their heads."""
    return {
        f"{prefix}ForMaskedLM": "masked_tokens",
        f"{prefix}ForSequenceClassification": "classification",
        f"{prefix}ForTokenClassification": "tagging",
        f"{prefix}ForQuestionAnswering": "answering",
    }


def _class_by_prefix(prefix: str) -> dict[str, str]:
    return {
        "qa_outputs.": f"{prefix}ForQuestionAnswering",
        "lm_head.": f"{prefix}ForMaskedLM",
        "classifier.out_proj.": f"{prefix}ForSequenceClassification",
        "classifier.": f"{prefix}ForTokenClassification",
    }


class Roberta(PostNormFamily):
    """RoBERTa's classes. Their tokenizers give no segments, so all tokens have the first one's vector."""

    name, title, base_model_prefix = "roberta", "RoBERTa", "roberta"
    config = RobertaConfig
    is_unprojected = True
    tags_replaced = True
    classes: ClassVar = _classes("Roberta")
    other_classes: ClassVar = {"RobertaModel": None}
    class_by_prefix: ClassVar = _class_by_prefix("Roberta")
    names_pattern = r"roberta\.|lm_head\.(dense|layer_norm)\."
    inputs = ("input_ids", "attention_mask")
    defaults = (*PostNormFamily.defaults, "model_type")
    heads: ClassVar = {
        "masked_tokens": {"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"},
        "replaced_tokens": TOKEN_HEADS["tagging"],
        "classification": {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"},
        **TOKEN_HEADS,
    }
    output_bias = "lm_head.bias"
    tied_copies: ClassVar = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    position_table = "roberta.embeddings.position_embeddings.weight"

    def recognises(self, config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> bool:
        """See `Family`; a bare encoder has BERT's names, and is told from one by its tokens' ids or its tables: BERT
        has two segments, and 2, 4, … 512 positions without two more before them."""
        positions, segments = (
            names.get(f"embeddings.{table}_embeddings.weight") for table in ("position", "token_type")
        )
        if not (positions and segments) or "embedding_size" in config:
            return super().recognises(config, names)
        ids = config.get("bos_token_id"), config.get("eos_token_id")
        is_behind_padding = (positions[0] - _PAD_ID - 1).bit_count() == 1 or segments[0] == 1
        return (
            config.get("pad_token_id") == _PAD_ID
            or ids == _BOS_EOS
            or (is_behind_padding and positions[0].bit_count() > 1)
            or super().recognises(config, names)
        )

    def check_network(self, config: Mapping[str, Any], where: str) -> None:
        pad_id, rows = config.get("pad_token_id", _PAD_ID), config.get("max_position_embeddings")
        if type(pad_id) is not int or pad_id < 0 or (type(rows) is int and pad_id + 1 >= rows):
            raise UserError(
                f"{where}: pad_token_id = {quoted(pad_id, 60)}; positions begin behind it, so it must be a whole "
                f"number from 0 that leaves some of max_position_embeddings"
            )

    def unread_positions(self, config: Mapping[str, Any]) -> int:
        pad_id: int = config.get("pad_token_id", _PAD_ID)
        return pad_id + 1

    def padding_warning(self, folder: Path, tokenizer: "Tokenizer") -> str | None:
        path = folder / "config.json"
        pad_id = read_json(path, dict).get("pad_token_id", _PAD_ID)
        if pad_id == tokenizer.pad_id or pad_id >= tokenizer.vocab_size:
            return None
        token, padding = (quoted(tokenizer.token(id), 60) for id in (pad_id, tokenizer.pad_id))
        said = f"{path}: pad_token_id = {pad_id} is {token} in its tokenizer, whose padding is {padding}"
        if pad_id in (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id):
            raise UserError(
                f"{said}: by transformers {token} has padding's position in each row, which bertsmith cannot give it; "
                f"put the config.json or the tokenizer's files there that belong to the model, or train it anew with "
                f"pad_token_id = {tokenizer.pad_id}"
            )
        return f"warning: {said}: a text with {token} has other positions here than by transformers"

    def token_ids(self, tokenizer: "Tokenizer") -> dict[str, int]:
        """Return the same as `Family.token_ids`; the defaults of these families are of another vocabulary."""
        return super().token_ids(tokenizer) | {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}


class XlmRoberta(Roberta):
    """XLM-RoBERTa's classes."""

    name, title = "xlm-roberta", "XLM-RoBERTa"
    classes: ClassVar = _classes("XLMRoberta")
    other_classes: ClassVar = {"XLMRobertaModel": None}
    class_by_prefix: ClassVar = _class_by_prefix("XLMRoberta")

    def recognises(self, config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> bool:
        """Return False: by its tensors it is a RoBERTa, and that is what is concluded."""
        return False


class Camembert(XlmRoberta):
    """CamemBERT's classes."""

    name, title = "camembert", "CamemBERT"
    classes: ClassVar = _classes("Camembert")
    other_classes: ClassVar = {"CamembertModel": None}
    class_by_prefix: ClassVar = _class_by_prefix("Camembert")
