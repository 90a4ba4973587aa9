"""Escaped text and tables.

Whatever comes from a run folder passes through `escape` on its way into the page.
"""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

ABSENT = "–"


def escape(value: Any) -> str:
    """Return `value` as text, escaped for HTML; characters that UTF-8 cannot hold are replaced."""
    return html.escape(str(value).encode(errors="replace").decode())


def text_lines(text: str) -> str:
    """Return `text` escaped, an element for each of its lines where it has several."""
    lines = text.split("\n")
    return "".join(f'<div class="line">{escape(line)}</div>' for line in lines) if lines[1:] else escape(text)


def embedded_json(value: Any) -> str:
    """Return JSON that may stand inside a script element: no `<` that could end it or open a comment.

    Raises:
        ValueError: a number is not finite, which JSON has no word for.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Iterable[str] = ()) -> str:
    """Return a table in a box, inside which it scrolls where the screen is narrow.

    Args:
        head: one cell a column, already HTML; empty for a table without a head.
        rows: likewise; the first cell heads its row.
        classes: of the rows, in their order; left out, none has one.
    """
    names = iter(classes)
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    top = f"<thead><tr>{cells}</tr></thead>" if head else ""
    lines = []
    for first, *others in rows:
        name = next(names, "")
        opening = f'<tr class="{name}">' if name else "<tr>"
        lines.append(f'{opening}<th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>')
    return f'<div class="scroll"><table>{top}<tbody>{"".join(lines)}</tbody></table></div>'


def html_list(items: Iterable[str]) -> str:
    """Return a list of pieces of HTML."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def swatch(color: str) -> str:
    """Return a spot in the colour of a run's curves."""
    return f'<span class="swatch" style="background:{color}"></span>'


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 seed", "3 seeds"."""
    return f"{number:,} {noun}" + "s" * (number != 1)
