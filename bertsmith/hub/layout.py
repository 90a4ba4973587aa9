"""Names of tensors in a file → those of Hugging Face's classes, without wrappers' parts."""

from collections.abc import Iterable, Mapping

from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family
from bertsmith.hub.registry import FAMILIES

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that DataParallel, torch.compile, FSDP and activation checkpointing put in, wherever they wrap."""

_ANCHORS = {
    anchor: tuple(family.root for family in FAMILIES.values() if anchor in family.anchors)
    for owner in FAMILIES.values()
    for anchor in owner.anchors
}
"""Ends of the names of tensors that each encoder has one of → the roots of the families that have it."""

_OTHERS = {
    "roberta": "RoBERTa", "distilbert": "DistilBERT", "deberta": "DeBERTa", "albert": "ALBERT", "mpnet": "MPNet",
    "transformer": "GPT-2 or XLM", "longformer": "Longformer", "luke": "LUKE", "funnel": "Funnel", "xlnet": "XLNet",
    "shared": "T5", "h": "GPT-2", "wte": "GPT-2",
}  # fmt: skip
"""First parts of the names of other families' tensors."""

_ANYBODYS = ("transformer", "shared", "h", "wte")
"""Of these, names that somebody's own module around a BERT may have too."""


def unwrapped(names: Iterable[str], where: str) -> tuple[dict[str, str], list[str]]:
    """Return each name without the parts that wrappers put in, and lines about these. Raises
    UserError where two names become one; there are two encoders; one name has the prefix and another does not."""
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    parts = [part for part in _WRAPPERS if any(part in name.split(".") for name in plain)]
    notes = [f"{' and '.join(f'{part}.' for part in parts)} taken out of the tensors' names"] if parts else []
    _check_one_each(plain, where)
    if prefix := _prefix(plain.values(), where):
        if others := sorted(name for name in plain.values() if not name.startswith(prefix)):
            raise UserError(
                f"{where}: the encoder's tensors begin with {quoted(prefix, 80)}, and {quoted(others[0], 80)} does "
                f"not; save the model with its own class"
            )
        plain = {name: short.removeprefix(prefix) for name, short in plain.items()}
        notes.append(f"the prefix {quoted(prefix, 80)} taken off all tensors' names")
    return plain, notes


def named(plain: Mapping[str, str], family: Family, where: str) -> dict[str, str]:
    """Return, for each name that `unwrapped` gave, the family's own name → the name in the file. Raises UserError where
    two tensors have one name, as LayerNorm.gamma and LayerNorm.weight."""
    canonical = {stored: family.canonical(short) for stored, short in plain.items()}
    _check_one_each(canonical, where)
    return {name: stored for stored, name in canonical.items()}


def with_tied(names: dict[str, str], family: Family) -> tuple[dict[str, str], list[str]]:
    """Return `names` with the copy of a tied tensor for an original that was not kept, and lines that say so."""
    names, notes = dict(names), []
    for copy, original in family.copies.items():
        if copy in names and original not in names:
            names[original] = names.pop(copy)
            notes.append(f"no {original}: {copy}, which is the same tensor in such a model, stands for it")
    return names, notes


def other_family(names: Iterable[str]) -> str | None:
    """Return the name of a family that is not read here, by the beginning of a tensor's name; None for others."""
    return next((_OTHERS[name.partition(".")[0]] for name in sorted(names) if name.partition(".")[0] in _OTHERS), None)


def _prefix(names: Iterable[str], where: str) -> str:
    """Return the prefix before the family's own names, with the dot at its end; empty without one."""
    names = list(names)
    for anchor, owns in _ANCHORS.items():
        anchored = sorted(name for name in names if f".{name}".endswith(anchor))
        if len(anchored) > 1:
            raise UserError(
                f"{where}: {quoted(anchored[0], 80)} and {quoted(anchored[1], 80)}: two encoders in one file; save "
                f"each as a folder of its own"
            )
        if not anchored:
            continue
        before = f".{anchored[0]}".removesuffix(anchor)  # "" or ".module.bert"
        head, _, last = before.rpartition(".")
        if last in _OTHERS and last not in _ANYBODYS:
            return ""  # it is refused by its family's name
        before = head if last in owns else before
        return f"{before[1:]}." if before else ""
    return ""


def _check_one_each(names: Mapping[str, str], where: str) -> None:
    first: dict[str, str] = {}
    for stored, name in names.items():
        if name in first:
            raise UserError(
                f"{where}: {quoted(first[name], 80)} and {quoted(stored, 80)} are one tensor of the model by their "
                f"names; keep one of them"
            )
        first[name] = stored
