"""Google's TensorFlow checkpoints of BERT and ELECTRA → our weights.

Their variables are named as Hugging Face's tensors with a few letters changed, so `Family.names` serves here too.

Source: google-research/bert and google-research/electra, model/modeling.py and run_pretraining.py; for what else is in
their releases transformers, models/electra/convert_electra_original_tf_checkpoint_to_pytorch.py.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bertsmith.config.loading import check
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.hub.bundle import Bundle, Entry
from bertsmith.hub.configuration import check_sizes, refuse_other_networks
from bertsmith.hub.family import Family
from bertsmith.hub.finite import to_float32
from bertsmith.hub.folder_checks import first_of
from bertsmith.hub.huggingface import MAX_CONFIG_BYTES
from bertsmith.hub.network import Network
from bertsmith.hub.registry import FAMILIES
from bertsmith.storage.json_files import member, read_json

_SLOTS = "optimizer slots"
_DROPPED = {
    "moving averages": r".*/ExponentialMovingAverage",
    _SLOTS: r".*/(adam_[mv]|AdamWeightDecayOptimizer(_1)?)|beta[12]_power",
    "next-sentence head": r"cls/seq_relationship/[^/]+",
    "global_step": r"global_step",
    "loss scale": r"(current_|dynamic_)?loss_scale|good_steps",
    "generator_predictions/temperature": r"generator_predictions/temperature",  # of ELECTRA's releases; used by nothing
}
"""Variables that are not read: a title, and their names. For the slots of other optimizers see `_slots`."""

_RENAMED = {
    "cls.predictions.bias": "cls/predictions/output_bias",
    "generator_lm_head.bias": "generator_predictions/output_bias",
    "discriminator_predictions.dense_prediction.weight": "discriminator_predictions/dense_1/kernel",
    "discriminator_predictions.dense_prediction.bias": "discriminator_predictions/dense_1/bias",
}


@dataclass(frozen=True)
class _Part:
    """One network of a checkpoint."""

    name: str
    """"discriminator", "generator", or empty for the only one."""
    family: str
    head: HeadName | None
    scope: str
    """The beginning of the names of its layers."""
    embeddings: str
    """The same for its embeddings, which a generator may borrow."""

    def variable(self, tensor: str) -> str:
        """Return Google's name for a tensor of Hugging Face's."""
        if tensor in _RENAMED:
            return _RENAMED[tensor]
        *path, kind = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", tensor).split(".")
        if path[0] == self.family:
            path[0] = self.embeddings if path[1] == "embeddings" else self.scope
        if path[-1] == "LayerNorm":
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        elif path[-1].endswith("_embeddings"):
            return "/".join(path)
        return "/".join([*path, "kernel" if kind == "weight" else kind])


def find_checkpoint(path: Path) -> Path | None:
    """Return the prefix of the checkpoint that `path` names: a prefix, its `.index`, or a folder with one; None for no
    such. Raises UserError where there are several, or it is of TensorFlow's first format."""
    path = path.resolve()  # "." has no name
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if prefix.with_name(f"{prefix.name}.index").is_file():
        return prefix
    if path.is_file():
        raise UserError(
            f"{path}: one file without {path.name}.index beside it is a checkpoint of TensorFlow's first format (V1), "
            f"or none; save it again with tf.compat.v1.train.Saver()"
        )
    if not path.is_dir():
        return None
    indexes = sorted(path.glob("*.index"))
    newest = path / "checkpoint"
    if len(indexes) > 1 and newest.is_file():  # TensorFlow's note of the last one that it wrote
        given = re.search(
            r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', newest.read_text(errors="replace"), re.MULTILINE
        )
        indexes = [file for file in indexes if given and file.name == f"{given[1]}.index"] or indexes
    if len(indexes) > 1:
        raise UserError(f"{path}: holds {len(indexes)} checkpoints; name one, as {indexes[-1].with_suffix('')}")
    return indexes[0].with_suffix("") if indexes else None


def read_checkpoint(prefix: Path, heads: int | None = None) -> list[Network]:
    """Return the networks of a checkpoint: a "discriminator" and a "generator", or one without a name.

    Sizes are those of the tensors; a bert_config.json or config.json beside them must agree. Attention heads, which no
    shape shows, are `heads`, else the config's, else one for each 64 of the width; a generator's are always the last.

    Raises:
        UserError: the checkpoint is damaged; a variable is missing, of another shape than the others say, or neither
            one of the model's nor in `_DROPPED`; the config disagrees.
    """
    bundle = Bundle(prefix)
    concluded = _take_prefix_off(bundle)
    dropped = _slots(bundle) | {
        name: title for name in bundle.entries if (title := _dropped(name, bundle.entries[name].shape))
    }
    left = bundle.entries.keys() - dropped.keys()
    config_path, config = _read_config(prefix.parent)
    refuse_other_networks(config, FAMILIES["bert"], None, str(config_path))
    networks: list[Network] = []
    for part in _parts(left, bundle.index):
        family = FAMILIES[part.family]
        sizes = _sizes(bundle, part, family)
        if not networks:
            check_sizes(config, sizes, str(config_path))
        if part.scope != "generator":
            given = member(config, "num_attention_heads", (int, type(None)), str(config_path), None)
            sizes["num_attention_heads"] = heads or given
        vocab_size = sizes.pop("vocab_size")
        try:
            settings = check(family.config, sizes | {key: config[key] for key in family.defaults if key in config})
        except UserError as error:
            raise UserError(f"{prefix}: {error}; heads=N says how many there are") from None
        network = Network(
            name=part.name, family=part.family, settings=settings, vocab_size=vocab_size, head=part.head,
            folder=prefix.parent, concluded=tuple(concluded) if not networks else (),
            dropped=dict(sorted(dropped.items())),
        )  # fmt: skip
        shapes = {name: tensor.shape for name, tensor in network.outline(None).state_dict().items()}
        weights, taken = _read_all(bundle, part, family.names(settings, part.head), shapes)
        pooler: dict[str, Tensor] = {}
        if {part.variable(name) for name in family.pooler.values()} & left:
            names: dict[str, tuple[str, ...]] = {ours: (name,) for ours, name in family.pooler.items()}
            size = settings.hidden_size
            shapes = {"head.dense.weight": torch.Size([size, size]), "head.dense.bias": torch.Size([size])}
            pooler, pooler_variables = _read_all(bundle, part, names, shapes)
            taken |= pooler_variables
        left = left - taken
        networks.append(replace(network, weights=weights, pooler=pooler))
    if left:
        raise UserError(
            f"{bundle.index}: {first_of(left)}: not of BERT's or ELECTRA's encoder and pre-training heads; "
            f"name a checkpoint of pre-training, without a task's own layers"
        )
    return networks


def _dropped(variable: str, shape: tuple[int, ...]) -> str | None:
    """Return the title in `_DROPPED` of a variable. No weight is a single number without an axis."""
    title = next((title for title, pattern in _DROPPED.items() if re.fullmatch(pattern, variable)), None)
    return title or (None if shape else "scalars of training")


def _slots(bundle: Bundle) -> dict[str, str]:
    """Return the variables that an optimizer keeps beside another one: X/SLOT, of the shape of X."""
    shapes = {name: entry.shape for name, entry in bundle.entries.items()}
    return {name: _SLOTS for name, shape in shapes.items() if shapes.get(name.rpartition("/")[0]) == shape}


def _take_prefix_off(bundle: Bundle) -> list[str]:
    """Rename variables with a scope before their names, in place, and return lines that say so."""
    names = list(bundle.entries)
    scopes = {
        match[1] for name in names if (match := re.fullmatch(r"(.+/)(?:bert|electra)/embeddings/word_embeddings", name))
    }
    if len(scopes) != 1 or any(re.match("(bert|electra)/", name) for name in names):
        return []
    [prefix] = scopes
    shorter = {name.removeprefix(prefix): entry for name, entry in bundle.entries.items()}
    if len(shorter) < len(names):
        raise UserError(f"{bundle.index}: {quoted(prefix, 80)} is before some variables and not before their likes")
    bundle.entries = shorter
    return [f"the prefix {quoted(prefix, 80)} taken off the variables' names"]


def _parts(variables: set[str], source: Path) -> list[_Part]:
    scopes = {name.partition("/")[0] for name in variables}
    if "bert" in scopes:
        has_head = any(name.startswith("cls/predictions/") for name in variables)
        return [_Part("", "bert", "masked_tokens" if has_head else None, "bert", "bert")]
    if "electra" not in scopes:
        first = min(variables, default="nothing")
        kind = "TensorFlow 2 keeps Keras models so: convert it with transformers, and import that folder"
        known = "bertsmith reads what Google's BERT and ELECTRA write: bert/…, electra/…"
        raise UserError(f"{source}: holds {first}; {kind if 'ATTRIBUTES' in first else known}")
    head: HeadName | None = "replaced_tokens" if "discriminator_predictions" in scopes else None
    if head is None and "generator_predictions" in scopes and "generator" not in scopes:
        return [_Part("", "electra", "masked_tokens", "electra", "electra")]  # electra_objective=false
    if not scopes & {"generator", "generator_predictions"}:
        return [_Part("", "electra", head, "electra", "electra")]
    scope = "generator" if "generator" in scopes else "electra"  # untied_generator=false
    embeddings = "generator" if any(name.startswith("generator/embeddings/") for name in variables) else "electra"
    return [
        _Part("discriminator", "electra", head, "electra", "electra"),
        _Part("generator", "electra", "masked_tokens", scope, embeddings),
    ]


def _sizes(bundle: Bundle, part: _Part, family: Family) -> dict[str, Any]:
    """Return the sizes of a network, by Hugging Face's names, out of the shapes of some of its variables."""

    def shape(tensor: str) -> tuple[int, ...]:
        name = part.variable(tensor)
        shape = _entry(bundle, name).shape
        if len(shape) != 2 or min(shape) < 1:
            raise UserError(f"{bundle.index}: {name} is {list(shape)}, which no such variable can be; fetch it again")
        return shape[::-1] if name.endswith("/kernel") else shape

    sizes, _, expand = family.sizes(shape, str(bundle.index))
    pattern = re.compile(rf"{part.scope}/encoder/layer_(\d+)/")
    layers = {match[1] for name in bundle.entries if (match := pattern.match(name))}
    return sizes | family.layer_sizes(*shape(expand)) | {"num_hidden_layers": len(layers)}


def _read_all(
    bundle: Bundle, part: _Part, names: dict[str, tuple[str, ...]], shapes: dict[str, torch.Size]
) -> tuple[dict[str, Tensor], set[str]]:
    """Return our weights for `names` (ours → Hugging Face's), and the variables that they were read from."""
    weights, taken = {}, set()
    for ours, group in names.items():
        variables = [part.variable(name) for name in group]
        rows, *columns = shapes[ours]
        weights[ours] = torch.cat([_read(bundle, name, [rows // len(group), *columns]) for name in variables])
        taken |= set(variables)
    return weights, taken


def _read(bundle: Bundle, name: str, shape: list[int]) -> Tensor:
    """Return a variable as torch has it: a kernel is [in, out] there and [out, in] here."""
    is_kernel = name.endswith("/kernel")
    expected, actual = shape[::-1] if is_kernel else shape, list(_entry(bundle, name).shape)
    if actual != expected:
        raise UserError(
            f"{bundle.index}: {name} is {actual} where the other variables ask for {expected}; they are not of one "
            f"model such as Google's BERT and ELECTRA"
        )
    tensor = to_float32(name, bundle.read(name), bundle.index)
    return tensor.T.contiguous() if is_kernel else tensor


def _entry(bundle: Bundle, name: str) -> Entry:
    if name not in bundle.entries:
        raise UserError(f"{bundle.index}: {name} is missing; name a complete checkpoint of pre-training")
    bundle.check(name)
    return bundle.entries[name]


def _read_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name in ("bert_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            return path, read_json(path, dict, MAX_CONFIG_BYTES)
    return folder, {}
