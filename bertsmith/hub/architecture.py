"""Which class a folder holds: what config.json says, and where it says nothing what the tensors' names do."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.hub.layout import other_family
from bertsmith.hub.names import Family, Head
from bertsmith.storage.json_files import member

CLASSES: dict[str, tuple[Family, Head | None]] = {
    "BertForMaskedLM": ("bert", "masked_tokens"),
    "BertForSequenceClassification": ("bert", "classification"),
    "BertForTokenClassification": ("bert", "tagging"),
    "BertForQuestionAnswering": ("bert", "answering"),
    "ElectraForMaskedLM": ("electra", "masked_tokens"),
    "ElectraForPreTraining": ("electra", "replaced_tokens"),
    "ElectraForSequenceClassification": ("electra", "classification"),
    "ElectraForTokenClassification": ("electra", "tagging"),
    "ElectraForQuestionAnswering": ("electra", "answering"),
    "ModernBertForMaskedLM": ("modernbert", "masked_tokens"),
    "ModernBertForTokenClassification": ("modernbert", "tagging"),
    "ModernBertForSequenceClassification": ("modernbert", "classification"),
    "ModernBertForQuestionAnswering": ("modernbert", "answering"),
    # These are only read.
    "BertModel": ("bert", None),
    "BertForPreTraining": ("bert", "masked_tokens"),
    "ElectraModel": ("electra", None),
    "ModernBertModel": ("modernbert", None),
}

FAMILIES: tuple[Family, ...] = ("bert", "electra", "modernbert")
READ = "bertsmith reads BERT, ELECTRA and ModernBERT"

_OF_FAMILY: tuple[tuple[Family, str], ...] = (
    ("electra", r"electra\.|generator_(predictions|lm_head)\.|discriminator_predictions\.|embeddings_project\."),
    ("modernbert", r"(model\.)?(embeddings\.tok_embeddings\.|layers\.\d+\.(attn|mlp)\.|final_norm\.)"),
    ("bert", r"bert\.|cls\.|(embeddings\.word_embeddings\.)|(encoder\.layer\.\d+\.attention\.self\.)"),
)  # fmt: skip
"""The first that any name matches is the family; a bare BertModel's names are a bare ElectraModel's too."""

_ROBERTA_POSITIONS = (514, 1026, 2050, 4098)
"""Two more than BERT's, for which RoBERTa's begin at 2."""


def architecture(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> tuple[str, list[str]]:
    """Return the class of transformers, of `CLASSES`, that a folder holds, and lines that say what was concluded.

    Args:
        config: the content of config.json.
        names: the tensors' names, without wrappers' prefixes, with their shapes.
        where: the path of config.json.

    Raises:
        UserError: it is none of these, or cannot be told.
    """
    kind = member(config, "model_type", (str, type(None)), where, None)
    found = member(config, "architectures", (list, type(None)), where, None)
    if kind is not None and kind not in FAMILIES:
        raise UserError(f"{where}: model_type = {quoted(kind, 60)}, a family that is not read; {READ}")
    custom = config.get("auto_map")
    if isinstance(custom, dict) and any(str(key).startswith("AutoModel") for key in custom):
        raise UserError(f"{where}: auto_map: the network is defined by code of its own, which is not run; {READ}")
    if not found:
        family = kind or _family(config, names, where)
        name = _concluded(family, config, names.keys(), where)
        absent = " and ".join(key for key, value in (("architectures", found), ("model_type", kind)) if not value)
        return name, [f"config.json has no {absent}: read as {name}, by the tensors' names"]
    if len(found) != 1 or not isinstance(found[0], str) or found[0] not in CLASSES:
        raise UserError(f"{where}: architectures = {quoted(found)}; bertsmith reads {', '.join(CLASSES)}")
    if kind not in (None, CLASSES[found[0]][0]):
        raise UserError(
            f"{where}: model_type = {quoted(kind, 60)} and architectures = {quoted(found, 100)} are two families; "
            f"correct one"
        )
    return found[0], []


def _family(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> Family:
    if other := other_family(names):
        raise UserError(f"{where}: the tensors' names are those of {other}, a family that is not read; {READ}")
    found = next((family for family, pattern in _OF_FAMILY if any(re.match(pattern, name) for name in names)), None)
    if found is None:
        first = quoted(min(names, default="none"), 80)
        raise UserError(f"{where}: no model_type, and the tensors (as {first}) are of no family that is read; {READ}")
    positions = names.get("embeddings.position_embeddings.weight", (0,))[:1]
    if found == "bert" and positions and (positions[0] in _ROBERTA_POSITIONS or config.get("pad_token_id") == 1):
        raise UserError(
            f"{where}: no model_type, and by its {positions[0]} positions or pad_token_id it may be a RoBERTa, whose "
            f'tensors have BERT\'s names; add "model_type"'
        )
    return found


def _concluded(family: Family, config: Mapping[str, Any], names: Collection[str], where: str) -> str:
    """The class of a family that has such tensors."""

    def has(*beginnings: str) -> bool:
        return any(name.startswith(beginnings) for name in names)

    if family == "modernbert":
        if has("classifier."):
            raise UserError(_cannot_tell(where, family))
        return "ModernBertForMaskedLM" if has("decoder.", "head.") else "ModernBertModel"
    prefix = {"bert": "Bert", "electra": "Electra"}[family]
    if has("qa_outputs."):
        return f"{prefix}ForQuestionAnswering"
    if family == "bert":
        if has("cls.predictions."):
            return "BertForPreTraining" if has("cls.seq_relationship.") else "BertForMaskedLM"
        if has("classifier.") and has("bert.pooler.", "pooler."):
            if config.get("problem_type") is None:
                raise UserError(_cannot_tell(where, family))  # the oldest taggers carry a pooler too
            return "BertForSequenceClassification"
        return "BertForTokenClassification" if has("classifier.") else "BertModel"
    if has("classifier.out_proj."):
        return "ElectraForSequenceClassification"
    if has("classifier."):
        return "ElectraForTokenClassification"
    if has("discriminator_predictions."):
        return "ElectraForPreTraining"
    return "ElectraForMaskedLM" if has("generator_predictions.", "generator_lm_head.") else "ElectraModel"


def _cannot_tell(where: str, family: Family) -> str:
    classes = [name for name, (of, head) in CLASSES.items() if of == family and head in ("classification", "tagging")]
    return (
        f"{where}: no architectures, and by its tensors the classifier may be of texts or of words; add "
        f'"architectures": [one of {", ".join(classes)}]'
    )
