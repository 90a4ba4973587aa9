"""Lists as text in a cell: as Python, pandas, NumPy and JSON write them."""

import ast
import json
import re
from typing import Any

_STRING = r"""[bBuUrR]{0,2}(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NAMES = {
    "None": None, "null": None, "nan": float("nan"), "NaN": float("nan"), "True": True, "true": True, "False": False,
    "false": False,
}  # fmt: skip
_ITEM = re.compile(
    rf"(?:np\.\w+\()?(?:(?P<string>{_STRING})|(?P<number>{_NUMBER})|(?P<name>{'|'.join(_NAMES)})\b)\)?", re.DOTALL
)
_BETWEEN = re.compile(r"\s*,\s*|\s+")
_ARRAY = re.compile(r"(?:(?:np|numpy)\.)?array\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
_CUT = re.compile(r"(?<=[\s,'\"])\.\.\.(?=[\s,'\"])")
_SET_OR_MAPPING = re.compile(r"\{\s*(?:['\"].*|[+-]?\d[^{}]*[,:].*|)\}", re.DOTALL)
_HOLDER_OF_LIST = re.compile(r"(?!(?:(?:np|numpy)\.)?array\()[A-Za-z_][\w.]*\(\s*[\[{].*\)", re.DOTALL)
"""As in frozenset({'a'}), dict_keys(['a']), Index(['a'], dtype='object')."""
_OBJECT = re.compile(
    r"(?:(?:np|numpy|torch|tf|pd|jnp|datetime|decimal|uuid)\.\w+|tensor|Tensor|array|Decimal|Timestamp|UUID)\(.*\)"
    r"|(?:set|frozenset|dict|deque|list|tuple)\(\)|<[\w.]+(?: object)? at 0x[0-9a-fA-F]+>",
    re.DOTALL,
)
_UNQUOTED = re.compile(r"\[[^\[\]]*,[^\[\]]*\]|\{[^{}]*,[^{}]*\}", re.DOTALL)
"""A list without quotes around its items, as YAML, Java and databases write it."""
_PYTHON_BYTES = re.compile(r"[bB](?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", re.DOTALL)


def listed(text: str) -> list[Any] | None:
    """Return the items of a list that `text` is: Python's or JSON's `['a', 'b']`, a tuple, NumPy's `['a' 'b']` and
    `[0. 1.]`; None where it is none of these, as "[UNK]" or "(or so)". Raises ValueError where it is a list of lists,
    or cut short as NumPy prints a long one."""
    text = text.strip()
    if found := _ARRAY.fullmatch(text):
        text = found[1].strip()
    if len(text) < 2 or (text[0], text[-1]) not in (("[", "]"), ("(", ")")):
        return None
    if text[0] == "[":
        items = _of_json(text)
        if items is not None:
            return items
    items = _scanned(text[1:-1])
    if items is None and re.match(r"[\[(]\s*(?:[\[(]\s*['\"\d]|(?:np\.|numpy\.)?array\(|list\()", text):
        raise ValueError("is a list of lists")
    if items is not None and text[0] == "(" and "," not in text:
        return None  # a tuple has a comma
    return items


def is_python_set(text: str) -> bool:
    """Return whether `text` is a set, a mapping, or what holds a list, as Python writes them."""
    return any(pattern.fullmatch(text.strip()) for pattern in (_SET_OR_MAPPING, _HOLDER_OF_LIST))


def is_python_object(text: str) -> bool:
    """Return whether `text` is an object as Python writes it: `tensor(1)`, `np.int64(1)`, `<A object at 0x7f>`."""
    return _OBJECT.fullmatch(text) is not None


def is_unquoted_list(text: str) -> bool:
    """Return whether `text` is a list whose items have no quotes: `[a, b]`, `{a,b}`."""
    return _UNQUOTED.fullmatch(text.strip()) is not None


def is_python_bytes(text: str) -> bool:
    """Return whether `text` is bytes as Python writes them, `b'…'`."""
    return text[:2] in ("b'", 'b"', "B'", 'B"') and _PYTHON_BYTES.fullmatch(text) is not None


def _of_json(text: str) -> list[Any] | None:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _scanned(inside: str) -> list[Any] | None:
    """Return the items between the brackets, which are separated by commas or by white space, all in one way."""
    padded, inside = inside[-1:] == " ", inside.strip()
    items: list[Any] = []
    separators = set()
    place = 0
    while place < len(inside):
        if inside.startswith("...", place) and _CUT.search(f" {inside} "):
            raise ValueError("is a list that is cut short with '...', as NumPy prints long ones")
        item = _ITEM.match(inside, place)
        if item is None:
            return None
        items.append(_value(item))
        place = item.end()
        between = _BETWEEN.match(inside, place)
        if between is not None:
            separators.add("," in between[0])
            place = between.end()
        elif place < len(inside):
            return None
    if len(separators) > 1 and not inside.endswith(","):
        return None
    # "[ 1 2 ]" are four words and no list of NumPy's, which pads its first number alone.
    if padded and True not in separators and not any(isinstance(item, str) for item in items):
        return None
    return items


def _value(item: re.Match[str]) -> Any:
    if item["string"] is not None:
        try:
            return ast.literal_eval(item["string"])
        except (ValueError, SyntaxError):
            raise ValueError("is a list with a text in it that cannot be read") from None
    if item["number"] is not None:
        text = item["number"]
        return int(text) if re.fullmatch(r"[+-]?\d{1,4000}", text) else float(text)
    return _NAMES[item["name"]]
