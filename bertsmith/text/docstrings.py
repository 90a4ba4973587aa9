"""English text that is on every machine: the docstrings of the installed scientific packages and of Python itself.

The corpus of `bertsmith quickstart`, which has no network and no files of its own. Sources are read as text; nothing is
imported. One regular expression finds the docstrings: 3.5 s of one core for the 5,413 files, which `ast.parse` takes
25 s for. Against `ast.get_docstring` it misses 2 of 44,995, both built in parentheses from several strings, and finds
none that is not one; `tests/text/test_docstrings.py` repeats the comparison.
"""

import ast
import inspect
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import decode_source, find_spec
from pathlib import Path

TEXT_PACKAGES = ("torch", "scipy", "sklearn", "numpy", "sympy", "networkx", "python")
"""Packages with texts; "python" is the standard library."""

MIN_CHARACTERS = 100  # shorter docstrings are labels rather than text

SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "__pycache__"}
"""Not part of the package they lie in, or hardly documented: tests are a third of the files and 3 % of the text."""

_STRING = r"""
    (?: \"\"\" [^\\"]*+ (?: (?: \\. | "(?!"") ) [^\\"]*+ )*+ \"\"\"
      | ''' [^\\']*+ (?: (?: \\. | '(?!'') ) [^\\']*+ )*+ '''
      | " [^\\"\n]*+ (?: \\. [^\\"\n]*+ )*+ "
      | ' [^\\'\n]*+ (?: \\. [^\\'\n]*+ )*+ ' )"""
_COMMENT = r"\#[^\n]*+"
_SPACE = rf"(?: \s | {_COMMENT} )*+"
_DOCSTRING = rf"{_SPACE} (?P<{{name}}> [rRuU]? {_STRING} ) (?= [ \t]* (?: [;\#\n] | \Z ) )"


def _bracketed(depth: int) -> str:
    """Match a bracket with all that it holds: regular expressions do not count, so the nesting has a limit."""
    inner = f"| {_bracketed(depth - 1)}" if depth else ""
    return rf"""[(\[{{] (?: [^()\[\]{{}}"'\#]++ | {_STRING} | {_COMMENT} {inner} )*+ [)\]}}]"""


# Strings and comments are matched so that what looks like code inside them is passed over. `def` and `class` are
# keywords: outside of those they begin a definition, whose header ends at the first colon that no bracket holds.
_TOKEN = re.compile(
    rf"""{_COMMENT}
    | def[ \t] [^()\[\]{{}}"'\#:]*+ {_bracketed(6)} (?: [^()\[\]{{}}"'\#:]++ | {_STRING} | {_bracketed(6)} )*+ :
        {_DOCSTRING.format(name="function")}
    | class[ \t] (?: [^()\[\]{{}}"'\#:]++ | {_bracketed(6)} )*+ : {_DOCSTRING.format(name="class")}
    | {_STRING}""",
    re.VERBOSE | re.DOTALL,
)
_MODULE = re.compile(_DOCSTRING.format(name="module"), re.VERBOSE | re.DOTALL)


def documents(packages: Sequence[str] = TEXT_PACKAGES) -> Iterator[tuple[str, str]]:
    """Yield pairs (package, text): every docstring of `MIN_CHARACTERS` or more, once, ordered by package, path and
    line.

    27,843 texts and 23 MB with the versions in `constraints.txt`. A package that is not installed gives none.
    """
    seen = set()
    for package in packages:
        for path in source_files(package):
            for text in docstrings(path.read_bytes()):
                if len(text) >= MIN_CHARACTERS and text not in seen:
                    seen.add(text)
                    yield package, text


def source_files(package: str) -> Iterator[Path]:
    """Yield the package's Python files in a fixed order, tests and other packages left out."""
    for folder, folders, files in os.walk(_folder(package)):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def docstrings(source: bytes) -> list[str]:
    """Return the docstrings of the module, classes and functions of a Python file, in the order of lines, indentation
    taken off.

    Those between single quotation marks count too, but only in a file that has a tripled one somewhere. A file that
    cannot be decoded has none.
    """
    if b'"""' not in source and b"'''" not in source:
        return []
    try:
        text = decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, which are the package's affair
        if sys.version_info < (3, 11, 5):
            # Groups after possessive quantifiers are lost there (python/cpython#101955): the expression finds nothing.
            return _parsed_docstrings(text)
        literals = [module["module"]] if (module := _MODULE.match(text)) else []
        literals += [token[token.lastgroup] for token in _TOKEN.finditer(text) if token.lastgroup]
        return [inspect.cleandoc(ast.literal_eval(literal)) for literal in literals]


def _parsed_docstrings(text: str) -> list[str]:
    """Find the same by parsing the whole file, several times as slowly."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, types)]
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))  # the module has none
    return [found for node in nodes if (found := ast.get_docstring(node)) is not None]


def _folder(package: str) -> str:
    if package == "python":
        return sysconfig.get_path("stdlib")
    spec = find_spec(package)  # of a top-level name: looks for the folder, imports nothing
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else os.devnull
