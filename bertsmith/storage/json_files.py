"""The one reader of JSON: bounded in size and depth, strict about types, with errors that name file and key."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import atomic_write, read_text

MAX_JSON_BYTES = 256 << 20  # the largest tokenizer.json in use is about 35 MB
MAX_DEPTH = 100  # lists and objects inside each other

TYPE_NAMES = {
    dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip


def read_json(path: Path, expected: type | tuple[type, ...] = (dict, list), max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a JSON file whose outermost value is of type `expected`; raises UserError as `read_text`
    and `parse_json`."""
    return parse_json(read_text(path, max_bytes), str(path), expected)


def read_optional(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where there is no such file."""
    return read_json(path, dict) if path.is_file() else {}


def parse_json(
    text: str | bytes, where: str, expected: type | tuple[type, ...] = (dict, list), first_line: int = 1
) -> Any:
    """Return the value of one JSON text, of a type of `expected`.

    Args:
        where: the text's name in messages, such as its path.
        first_line: the number of the text's first line in its file, for messages.

    Raises:
        UserError: it is not JSON, is nested deeper than `MAX_DEPTH`, has a number that is not finite or has more digits
            than Python reads, has a key twice in one object (readers differ in which of the two they keep), or is of
            another type.
    """
    try:
        value = json_value(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UserError(f"{where}, line {line}: not JSON ({error.msg}); write the file again") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: not UTF-8; convert the file") from None
    except ValueError as error:
        raise UserError(f"{where}: {error}; write the file again") from None
    if not _is_of(value, expected):
        raise UserError(f"{where}: must hold {_names(expected)}, not {quoted(value, 60)}")
    return value


def json_value(text: str | bytes, non_finite: bool = False) -> Any:
    """Return the value of one JSON text within the bounds of `parse_json`; with `non_finite` also NaN and Infinity.
    Raises ValueError (a `JSONDecodeError` where it is not JSON), without a place."""
    numbers: dict[str, Any] = {} if non_finite else {"parse_float": _finite, "parse_constant": _refuse_constant}
    try:
        value = json.loads(text, object_pairs_hook=_unique, **numbers)
        deep = _has_openings(text) and _is_deep(value)
    except (json.JSONDecodeError, UnicodeDecodeError, _NotWanted):
        raise
    except RecursionError:  # before a depth of a thousand
        deep = True
    except ValueError as error:  # a number of thousands of digits, or one that is not finite
        raise ValueError(f"cannot be read as JSON ({error})") from None
    if deep:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


class _NotWanted(ValueError):
    """JSON that is refused."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
        raise _NotWanted(f"{quoted(key)} is there {times} times in one object, of which one may stay")
    return content


def member(content: Mapping[str, Any], key: str, expected: type | tuple[type, ...], where: str, *default: Any) -> Any:
    """Return `content[key]`, or the `default` where the key is absent; raises UserError where there is neither, or the
    value is not of a type of `expected`. A boolean is no number, and a whole number is a float too."""
    if key not in content:
        if default:
            return default[0]
        raise UserError(f"{where}: has no {quoted(key)}")
    if not _is_of(content[key], expected):
        raise UserError(f"{where}: {key} must be {_names(expected)}, not {quoted(content[key], 60)}")
    return content[key]


def check_shape(value: Any, shape: Any, where: str, key: str = "") -> None:
    """Hold a JSON value to a shape.

    Args:
        shape: a type or several; [shape of each]; {"key": shape}, where "key?" may be absent and other keys are let
            pass; or {str: shape of every value}.
        where, key: the file's and the value's name in messages; key is empty for the file itself.

    Raises:
        UserError: a part of it is absent or of another type; it is named.
    """
    outer = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    if not _is_of(value, outer):
        raise UserError(f"{where}: {key or 'it'} must be {_names(outer)}, not {quoted(value, 60)}")
    if isinstance(shape, list):
        for number, item in enumerate(value):
            if type(item) is not shape[0]:  # else it is right, which is soon known of a journal's millions
                check_shape(item, shape[0], where, f"{key}[{number}]")
    elif isinstance(shape, dict):
        parts = dict.fromkeys(value, shape[str]) if str in shape else shape
        for name, part in parts.items():
            plain = name if str in shape else name.removesuffix("?")
            if plain in value and type(value[plain]) is part:
                continue
            inside = f"{key}.{plain}" if key else plain
            if plain in value:
                check_shape(value[plain], part, where, inside if len(inside) < 100 else f"{inside[:100]}…")
            elif plain == name:
                raise UserError(f"{where}: has no {quoted(inside)}")


def _is_of(value: Any, expected: type | tuple[type, ...]) -> bool:
    if type(value) is expected:
        return True
    types = expected if isinstance(expected, tuple) else (expected,)
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)


def _names(expected: type | tuple[type, ...]) -> str:
    return " or ".join(TYPE_NAMES[each] for each in (expected if isinstance(expected, tuple) else (expected,)))


def _has_openings(text: str | bytes) -> bool:
    """Return whether a text has so many brackets that it may be nested too deeply."""
    brackets = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    return sum(map(text.count, brackets)) > MAX_DEPTH  # type: ignore[arg-type]


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
    return False


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {quoted(text, 40)} is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def finite(value: Any) -> Any:
    """Return `value` (mappings and lists of any depth) with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(content: Any) -> str:
    """Return the JSON text that `write_json` writes."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, completely or not at all."""
    with atomic_write(path, "w") as file:
        file.write(json_text(content))
