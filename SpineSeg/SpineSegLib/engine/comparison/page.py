"""A self-contained HTML page: no script, no request, readable in light and in dark."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f6f8fa; --ink: #1c2430; --soft: #57626f; --line: #d4dbe2;
        --band: #8aa4b8; --accent: #2f7ebc; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #11161d; --card: #1a212b; --ink: #e4eaf1; --soft: #9aa7b5; --line: #37424f; --band: #6c8aa3;
          --accent: #6fb3e6; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
       font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; }
h2 { font-size: 18px; margin: 40px 0 8px; padding-bottom: 5px; border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 6px; }
p, li { max-width: 82ch; }
.soft { color: var(--soft); font-size: 13.5px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px;
        min-width: 120px; }
.tile b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 12.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 4px 0; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; min-width: 15em; }
td.good { color: var(--accent); font-weight: 600; }
figure { margin: 12px 0; }
figure > svg { width: 100%; height: auto; max-width: var(--wide, 100%); color: var(--ink); }
figure img { max-width: 100%; border-radius: 6px; display: block; }
figcaption { color: var(--soft); font-size: 13.5px; margin-top: 4px; max-width: 92ch; }
.problem { border-left: 3px solid #d9534f; padding: 4px 12px; background: var(--card); margin: 6px 0; }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0 0 0 1.2em; max-width: 82ch; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""


def page(title: str, body: Sequence[str]) -> str:
    """The whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    text: Sequence[int] = (),
    best: dict | None = None,
) -> str:
    """A table; `text`: columns of sentences; `best`: row numbers to their column that stands out."""
    best = best or {}
    lines = ['<div class="scroll"><table>']
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    marks = [' class="text"' if n in text else "" for n in range(len(head))]
    lines.append("<tr>" + "".join(f"<th{m}>{escape(c)}</th>" for c, m in zip(head, marks, strict=True)) + "</tr>")
    for number, row in enumerate(rows):
        cells = [
            f"<td{' class=' + chr(34) + 'good' + chr(34) if best.get(number) == n else m}>{escape(cell)}</td>"
            for n, (cell, m) in enumerate(zip(row, marks, strict=True))
        ]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join(lines) + "\n</table></div>"


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """Single numbers that stand out: what they are and their value."""
    parts = [f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in values]
    return f'<div class="tiles">{"".join(parts)}</div>'


def figure(content: str, caption: str) -> str:
    """A figure with a caption; an SVG gets 100 pixels an inch where the page is wide enough."""
    size = re.search(r'viewBox="0 0 ([\d.]+) ', content)
    wide = f' style="--wide: {float(size[1]) / 72 * 100:.0f}px"' if size else ""
    return f"<figure{wide}>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def picture(jpeg: bytes, what: str) -> str:
    """An image that lies in the page itself."""
    return f'<img alt="{escape(what)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
