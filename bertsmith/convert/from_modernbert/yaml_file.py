"""A YAML file of settings: its values by dotted keys, which are taken one after another; what is left was not read."""

import re
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.storage.files import read_text

_MAX_YAML_BYTES = 1 << 20
_MAX_VALUES = 10_000
_MAX_DEPTH = 20
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?")


class YamlSettings:
    """The settings in a file.

    Attributes:
        values: dotted key → value that no one has taken yet; of a list the list, and of an empty table {}.
    """

    def __init__(self, path: Path):
        """Read the file. Raises UserError where there is none, it is not YAML or no table, or a ${name} in it names
        nothing."""
        self.path = path
        content = _load(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: a table of settings is needed, as `model:` with keys below it; this is none")
        self._check_size(content)
        self.values: dict[str, Any] = {}
        self._flatten(content, "")
        self.values = {key: self._resolved(value, 0) for key, value in self.values.items()}

    def take(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, which counts as read; the default where the file has none, or has it empty."""
        value = self.values.pop(key, None)
        return default if value is None else value

    def number(self, key: str, default: float | None = None) -> Any:
        """Return the value of a key as a number, whole where it is. Raises UserError where it is none."""
        value = self.take(key, default)
        if value is None:
            return None
        written = str(value).strip()
        if isinstance(value, bool) or not _NUMBER.fullmatch(written):
            raise UserError(f"{self.path}: {key} = {quoted(value, 60)}: a number is needed")
        number = float(written.replace("_", ""))
        return int(number) if number.is_integer() and abs(number) < 1e15 and not isinstance(value, float) else number

    def below(self, prefix: str) -> list[str]:
        """Return the keys that begin so, as far as they were not taken."""
        return [key for key in self.values if key == prefix or key.startswith(f"{prefix}.")]

    def _check_size(self, content: Any) -> None:
        """Raise UserError where the content is large or deep, as a few aliases that stand for each other make it."""
        level, count = [content], 0
        for _ in range(_MAX_DEPTH):
            tables = [value.values() if isinstance(value, dict) else value for value in level]
            count += sum(map(len, tables))
            if count > _MAX_VALUES:
                break
            level = [value for table in tables for value in table if isinstance(value, dict | list)]
            if not level:
                return
        raise UserError(f"{self.path}: has more than {_MAX_VALUES:,} values, or is nested too deep")

    def _flatten(self, table: dict[Any, Any], prefix: str) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and value:
                self._flatten(value, f"{key}.")
            else:
                self.values[key] = value

    def _resolved(self, value: Any, depth: int) -> Any:
        """Return a value with what ${name} in it stands for."""
        if not isinstance(value, str) or "${" not in value:
            return value
        if depth > _MAX_DEPTH:
            raise UserError(f"{self.path}: {quoted(value, 60)} stands for itself")
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return self._resolved(self._named(whole[1], value), depth + 1)
        return _REFERENCE.sub(lambda match: str(self._resolved(self._named(match[1], value), depth + 1)), value)

    def _named(self, key: str, value: str) -> Any:
        if key not in self.values:
            raise UserError(f"{self.path}: {quoted(value, 60)}: the file has no {quoted(key, 60)}")
        return self.values[key]


def _load(path: Path) -> Any:
    """Return the content of a YAML file, by the loader that makes plain values alone."""
    text = read_text(path, _MAX_YAML_BYTES)
    try:
        import yaml
    except ImportError:
        raise UserError("YAML is read by PyYAML, which is not installed: pip install 'bertsmith[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML ({one_line(error)}); fix the file") from None
