"""The quickstart's corpus: what the scan finds is what Python's own parser calls a docstring."""

import ast
import json
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import networkx
import pytest

from bertsmith.text.docstrings import (
    MIN_CHARACTERS,
    SKIPPED_FOLDERS,
    _parsed_docstrings,
    docstrings,
    documents,
    source_files,
)

TRICKY = b'''#!/usr/bin/env python
# -*- coding: utf-8 -*-
# """ a comment that opens nothing
r"""Module: its \\d stays."""

def plain():
    """Plain,
        indented

    text."""

def commented():  # why: "x"
    # another comment

    'Single quotes'

async def waits(a, *, b: dict[str, "int"] = {"x:y": (1, [2, {3: ":"}])}, c="""default""") -> "Callable[[int], str]":
    """After a header full of colons."""; return 1

class Empty:
    pass
    """Not first, so not one."""

class Kept(dict[str, int], metaclass=type):
    """Class, with a
    def inside(self):
        \'\'\'that is only text\'\'\'
    """
    name: str = "x"
    """Of an attribute: not one."""

    def method(self, text="def f(): 'no'"):
        """Method \\u00e9, \\"quoted\\"."""
        def inner(x=lambda y: """no"""): u"""Inner, on one line."""
        return f"""def g():
            'inside an f-string'
        """

def formatted():
    """Not %s one.""" % "really"

def method():
    """Not one either.""".strip()

def interpolated():
    f"""Nor {1} this."""

def bytes_():
    b"""Nor these bytes."""

def generic(x): return """Nor what is returned."""
define = 1
if define:
    def last():
        """No newline at the end."""'''


def by_the_parser(source: bytes) -> list[str]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the standard library's invalid escapes
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    found = [(node.body[0].lineno, text) for node in nodes if (text := ast.get_docstring(node)) is not None]
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def test_what_looks_like_a_docstring_and_what_is_one():
    assert docstrings(TRICKY) == by_the_parser(TRICKY)
    assert len(docstrings(TRICKY)) == 8


@pytest.mark.parametrize("package", ["python", "networkx"])
def test_real_sources_give_what_the_parser_finds(package):
    paths = list(source_files(package))[::4]
    sources = [source for path in paths if b'"""' in (source := path.read_bytes())]
    assert len(sources) > 40
    for source in sources:
        assert docstrings(source) == by_the_parser(source)


def test_other_line_ends_and_encodings():
    source = b'# coding: latin-1\r\ndef f():\r\n    """Caf\xe9\r\n\r\n    au lait"""\r\n'
    assert docstrings(source) == ["Café\n\nau lait"]
    assert docstrings(b'"""Caf\xe9"""') == []  # not UTF-8, and does not say what it is


@pytest.mark.parametrize(
    "source", [b"", b'"""', b'"""open', b'def f(:\n"""x', b"class '''", b'def f(((((((((((1)))))))))):\n "x"']
)
def test_broken_sources_do_no_harm(source):
    assert docstrings(source) == []


@pytest.mark.slow
def test_documents_are_many_clean_and_in_one_order():
    pairs = list(documents())
    texts = [text for _, text in pairs]
    counts = Counter(package for package, _ in pairs)
    kept = set(pairs)  # a text that another package has too is that one's
    alone = [pair for pair in documents(["networkx"]) if pair in kept]
    assert [pair for pair in pairs if pair[0] == "networkx"] == alone
    assert len(set(texts)) == len(texts) > 20_000
    assert sum(map(len, texts)) > 15_000_000
    assert min(map(len, texts)) >= MIN_CHARACTERS
    assert set(counts) == {"torch", "scipy", "sklearn", "numpy", "sympy", "networkx", "python"}
    assert min(counts.values()) > 1000


def test_only_the_package_itself_is_read():
    for package, root in (("python", Path(json.__file__).parents[1]), ("networkx", Path(networkx.__file__).parent)):
        paths = [path.relative_to(root) for path in source_files(package)]
        assert len(paths) > 200
        assert not any(SKIPPED_FOLDERS & set(path.parts) for path in paths)
    assert list(source_files("no_such_package")) == []


def test_nothing_is_imported():
    code = (
        "import sys; from bertsmith.text.docstrings import documents, TEXT_PACKAGES; next(documents(['torch']));"
        "list(documents(['networkx'])); print(sorted(set(TEXT_PACKAGES) & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_older_pythons_get_the_same_by_parsing():
    assert _parsed_docstrings(TRICKY.decode()) == docstrings(TRICKY)
