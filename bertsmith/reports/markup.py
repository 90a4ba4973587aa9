"""Escaped text and tables; the page's frame, style and script: everything in one file, nothing fetched.

Whatever comes from a run folder passes through `escape` on its way into the page.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from bertsmith.storage.file_types import PAGE_POLICY

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


STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f8f8f9; --text: #1b1e23; --soft: #626974; --line: #e3e5e9; --mark: #fdf3d8;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #14161a; --panel: #1a1d22; --text: #e6e8eb; --soft: #9ba2ad; --line: #2d3138; --mark: #37301d; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2.5rem); }
h1, h2, h3 { line-height: 1.2; letter-spacing: -0.015em; font-weight: 650; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.7rem, 5vw, 2.6rem); margin: 0.2rem 0 1.5rem; }
h2 { font-size: 1.5rem; margin: 4rem 0 1.25rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2.25rem 0 0.75rem; }
.maker, .note, .card p, figcaption, dt { color: var(--soft); }
.maker { margin: 0; font-size: 0.875rem; letter-spacing: 0.02em; }
.note { font-size: 0.875rem; max-width: 44rem; }
.caution { color: var(--text); background: var(--mark); padding: 0.5rem 0.9rem; border-radius: 8px; }
.swatch { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; margin-right: 0.5em; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.card { border: 1px solid var(--line); border-radius: 12px; background: var(--panel); padding: 1.25rem 1.4rem; }
.card h3 { margin: 0; }
.card p { margin: 0 0 1rem; font-size: 0.875rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.9rem 2rem; margin: 0; }
dl div { display: flex; flex-direction: column-reverse; }
dt { font-size: 0.8rem; }
dd { margin: 0; font-size: 1.35rem; font-weight: 600; letter-spacing: -0.01em; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.55rem 1rem; text-align: left; vertical-align: top; }
td { min-width: 10rem; overflow-wrap: anywhere; }
tbody th { min-width: 9rem; }
.scores td { min-width: 7rem; }
.scores td:nth-child(n + 4) { min-width: 13rem; }
.averages .scroll { margin-top: 1rem; }
.averages td { min-width: 9rem; }
.averages tbody th { min-width: 12rem; }
.averages td:last-child { min-width: 17rem; }
.tasks td, .tasks tbody th { min-width: 5.5rem; }
.tasks td:nth-child(2), .tasks td small { white-space: nowrap; }
.tasks thead th { vertical-align: bottom; }
.tasks th, .tasks td { padding-left: 0.75rem; padding-right: 0.75rem; }
.tasks thead th:nth-child(n + 3) { min-width: 9rem; }
.name { white-space: nowrap; }
td small, th small { display: block; font-size: 0.8rem; font-weight: 400; color: var(--soft); }
.soft { color: var(--soft); }
.mark { display: inline-block; padding: 0 0.5em; border-radius: 0.5em; background: var(--mark); font-size: 0.8rem; }
strong + .mark { margin-left: 0.6em; }
.line { padding-left: 1em; text-indent: -1em; }
ul { margin: 0.3rem 0 0; padding-left: 1.1rem; }
tr + tr > *, thead + tbody > tr > * { border-top: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); }
thead th { font-weight: 600; color: var(--text); }
tr.own { background: var(--panel); }
tr.own th { color: var(--text); font-weight: 600; }
tr.differs > * { background: var(--mark); }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 12px; padding: 1rem 0.5rem 0.25rem; min-width: 0; }
figcaption { padding: 0 0.8rem 0.25rem; font-size: 0.9rem; font-weight: 600; }
.scores figure { margin-bottom: 1rem; }
.axis, .legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 0 0 0.75rem; font-size: 0.875rem; }
.axis span, .legend { color: var(--soft); }
label { cursor: pointer; }
input { accent-color: var(--text); margin: 0 0.35em 0 0; vertical-align: -0.1em; }
details { margin-top: 1.25rem; }
summary { cursor: pointer; font-weight: 600; padding: 0.4rem 0; }
details .scroll { margin-top: 0.5rem; }
code { font: 0.85em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.plot text { fill: var(--soft) !important; }
.plot .gridlayer path { stroke: var(--line) !important; }
.plot .hoverlayer .bg, .plot .hovertext rect, .plot .hovertext path {
  fill: var(--panel) !important; fill-opacity: 1 !important; stroke: var(--line) !important;
}
.plot .hoverlayer text { fill: var(--text) !important; }
.plot .spikeline { stroke: var(--soft) !important; stroke-width: 1px !important; }
@media (pointer: coarse) { .plot .drag { touch-action: pan-y !important; } }
@page { margin: 14mm; }
@media print {
  :root {
    color-scheme: light;
    --page: #ffffff; --panel: #f8f8f9; --text: #1b1e23; --soft: #626974; --line: #d5d8dd; --mark: #fdf3d8;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 12px; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 1.8rem; }
  h2 { margin-top: 2rem; padding-top: 1rem; }
  h2, h3, summary, .legend, figcaption, thead { break-after: avoid; }
  .axis, noscript { display: none; }
  figure, .card, tr, li { break-inside: avoid; }
  .scroll { overflow: visible; border-radius: 0; border-width: 1px 0; }
  table { font-size: 0.75rem; }
  th, td { padding: 0.25rem 0.5rem; }
  :is(table, .scores, .averages, .tasks) :is(td, th):is(td, th) { min-width: 0; white-space: normal; }
  .charts { grid-template-columns: 1fr 1fr; }
  .plot { position: relative; height: auto !important; }
  .plot .plot-container { position: absolute; inset: 0; }
  .plot :is(.svg-container, .main-svg) { width: 100% !important; height: 100% !important; }
}
"""

SCRIPT = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const still = matchMedia("(pointer: coarse)").matches;  // a finger on a chart scrolls the page
for (const [id, chart] of Object.entries(charts)) {
  const { data, layout } = chart.figure;
  if (still) {
    layout.dragmode = false;
    layout.xaxis.fixedrange = layout.yaxis.fixedrange = true;
  }
  Plotly.newPlot(id, data, layout, { responsive: true, displayModeBar: false });
}
// The sheet is laid out when its width is not known yet, and shrunk where a table is wide: charts are drawn for A4 and
// Letter, and scaled as pictures are to the width that theirs turns out to have.
const plots = document.querySelectorAll(".plot");
addEventListener("beforeprint", () => {
  for (const plot of plots) {
    const [width, height] = plot.closest(".charts") ? [330, 230] : [660, parseFloat(plot.style.height)];
    Plotly.relayout(plot, { autosize: false, width, height });
    plot.style.aspectRatio = `${width} / ${height}`;
    for (const drawn of plot.querySelectorAll(".main-svg")) drawn.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }
});
addEventListener("afterprint", () => {
  for (const plot of plots) {
    plot.style.aspectRatio = "";
    for (const drawn of plot.querySelectorAll(".main-svg")) drawn.removeAttribute("viewBox");
    Plotly.relayout(plot, { width: null, height: null, autosize: true });
    Plotly.Plots.resize(plot);
  }
});
for (const choice of document.querySelectorAll(".axis")) {
  choice.addEventListener("change", (event) => {
    const axis = event.target.value;
    for (const plot of choice.parentElement.querySelectorAll(".plot")) {
      const positions = charts[plot.id].axes[axis];
      if (positions) Plotly.update(plot, { x: positions }, { "xaxis.title.text": axis, "xaxis.autorange": true });
    }
  });
}
"""


def frame(title: str, body: str, charts: str, plotly: str) -> str:
    """Return a complete HTML document.

    Its policy lets no address be fetched and no script run but the two that are here, whatever the rest contains.

    Args:
        title: HTML.
        body: HTML.
        charts: JSON for a script element: element id → figure and axes.
        plotly: the source of plotly.js.
    """
    policy = f"{PAGE_POLICY} {_hash(plotly)} {_hash(SCRIPT)}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="charts">{charts}</script>
<script>{plotly}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
