"""Checks of sentence-transformers' configuration files, a function each."""

import re
from collections.abc import Mapping
from typing import Any

from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.replaceable import ENCODER
from bertsmith.storage.json_files import check_shape, member

_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Ways of pooling, in the order in which their vectors are put beside each other."""

POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Their names before version 6, each of a boolean."""

_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
_VECTOR_NAMES = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_TEXT_ONLY = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""Written by version 6 for every encoder of text."""


class NotCarried(Exception):
    """The reason why modules that the library may read are not carried over."""


def check_encoder(content: Mapping[str, Any], settings: EncoderConfig, where: str) -> dict[str, Any]:
    """Return the content of sentence_bert_config.json, with at most the encoder's length. Raises UserError where a
    value is of another type; NotCarried where it has a key that is not known here."""
    length = member(content, "max_seq_length", int, where)
    lowercase = member(content, "do_lower_case", bool, where, False)
    if length < 1:
        raise UserError(f"{where}: max_seq_length = {length}; it must be a whole number above 0")
    _refuse_others(content, ("max_seq_length", "do_lower_case"), _TEXT_ONLY, ENCODER)
    others = {key: value for key, value in content.items() if value and key in _TEXT_ONLY}
    longest = min(length, settings.max_position_embeddings)
    return {"max_seq_length": longest, "do_lower_case": lowercase, **others}


def pooling_modes(content: Mapping[str, Any], width: int, where: str) -> tuple[str, ...]:
    """Return the ways of pooling in the order of their vectors.

    Args:
        width: of the encoder's vectors.
        where: what a message calls the file.

    Raises:
        UserError: a value is of another type, or the width is another one.
        NotCarried: there is a key or a way that is not known here.
    """
    sizes = [key for key in ("embedding_dimension", "word_embedding_dimension") if key in content]
    if not sizes:
        raise UserError(f"{where}: has no word_embedding_dimension; fetch it again")
    for key in sizes:
        _check_width(content, key, width, where)
    member(content, "include_prompt", bool, where, True)
    flags = [mode for key, mode in POOLING_FLAGS.items() if member(content, key, bool, where, False)]
    given = member(content, "pooling_mode", (str, list, type(None)), where, None)
    modes = [given] if isinstance(given, str) else given or flags or ["mean"]
    if unknown := [mode for mode in modes if mode not in _MODES] or sorted(
        content.keys() - POOLING_FLAGS.keys() - {*sizes, "include_prompt", "pooling_mode"}
    ):
        raise NotCarried(f"{where} says {quoted(unknown[0], 60)}, a way of pooling that is not known here")
    return tuple(modes)


def check_dense(content: Mapping[str, Any], width: int, where: str) -> int:
    """Return the output width of a Dense module, which takes vectors of `width`. Raises UserError where a value is of
    another type, or the width is another one; NotCarried where it is more than a layer with an activation."""
    _check_width(content, "in_features", width, where)
    out = member(content, "out_features", int, where)
    member(content, "bias", bool, where, True)
    if out < 1:
        raise UserError(f"{where}: out_features = {out}; it must be a whole number above 0")
    activation = member(content, "activation_function", (str, type(None)), where, None)
    if activation is not None and not re.fullmatch(r"torch\.nn\.modules\.(activation|linear)\.[A-Z]\w*", activation):
        raise NotCarried(f"{where} says activation_function = {quoted(activation, 60)}, code that is not torch's")
    _refuse_others(content, ("in_features", "out_features", "bias", "activation_function"), _VECTOR_NAMES, where)
    return out


def check_normalize(content: Mapping[str, Any], where: str) -> None:
    """Raise NotCarried where a Normalize module does more than make the text's vector of length 1."""
    _refuse_others(content, (), _VECTOR_NAMES, where)


def check_library(content: Mapping[str, Any], where: str) -> None:
    """Check config_sentence_transformers.json. Raises UserError where a value is of another type; NotCarried where it
    is of another kind of model, or has a key that is not known here."""
    prompts = member(content, "prompts", (dict, type(None)), where, None) or {}
    check_shape(prompts, {str: (str, type(None))}, where, "prompts")
    check_shape(member(content, "__version__", (dict, type(None)), where, None) or {}, {str: str}, where, "__version__")
    chosen = member(content, "default_prompt_name", (str, type(None)), where, None)
    if chosen is not None and chosen not in prompts:
        raise UserError(f"{where}: default_prompt_name = {quoted(chosen, 60)}, and prompts has none of that name")
    similarity = member(content, "similarity_fn_name", (str, type(None)), where, None)
    if similarity not in (None, *_SIMILARITIES):
        raise NotCarried(f"{where} says similarity_fn_name = {quoted(similarity, 60)}")
    known = ("prompts", "__version__", "default_prompt_name", "similarity_fn_name")
    _refuse_others(content, known, {"model_type": "SentenceTransformer"}, where)


def _check_width(content: Mapping[str, Any], key: str, width: int, where: str) -> None:
    given = member(content, key, int, where)
    if given != width:
        raise UserError(
            f"{where}: {key} = {quoted(given, 40)} where the vectors before it have {width}; put the file that belongs "
            f"to this model there"
        )


def _refuse_others(content: Mapping[str, Any], known: tuple[str, ...], usual: Mapping[str, Any], where: str) -> None:
    """Raise NotCarried for a value of a key that is not known, unless it is empty or the usual one."""
    for key, value in content.items():
        if key not in known and value and value != usual.get(key):
            raise NotCarried(f"{where} says {quoted(key, 40)} = {quoted(value, 60)}")
