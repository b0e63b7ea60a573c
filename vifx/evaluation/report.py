"""A run's report: one self-contained HTML file that opens anywhere, offline, on a phone or on paper."""

from __future__ import annotations

__all__ = ["report_html", "write_report"]

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vifx.evaluation.captions import caption
from vifx.evaluation.style import STYLE
from vifx.evaluation.table import Metric
from vifx.files import write_whole

_PNG = b"\x89PNG\r\n\x1a\n"
_LEAST = 11
"""Pixels of the smallest letters of a figure."""
_CSS = """
:root {
  color-scheme: light dark;
  --text: #1a1a1a; --muted: #5f6368; --line: #dfe1e5; --paper: #fff; --code: #f5f6f7;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root { --text: #e8eaed; --muted: #9aa0a6; --line: #3c4043; --paper: #17181a; --code: #222427; }
  img.chart { filter: invert(.91) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem;
  background: var(--paper); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; }
h2 { border-bottom: 1px solid var(--line); }
.lead { color: var(--muted); margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td {
  text-align: left; padding: .32rem 1.4rem .32rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th { font-weight: 600; white-space: nowrap; }
thead th { color: var(--muted); font-weight: 500; font-size: .82rem; }
.better { white-space: nowrap; }
.number, .error { white-space: nowrap; font-variant-numeric: tabular-nums; }
th.number, td.number { text-align: right; padding-right: .4rem; }
.error { color: var(--muted); }
.note { color: var(--muted); font-size: .82rem; margin: .5rem 0 0; }
.value { overflow-wrap: anywhere; font-family: var(--mono); font-size: .86rem; }
.alarms { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
pre {
  background: var(--code); border-radius: 6px; padding: .9rem 1rem; overflow-x: auto;
  font: .84rem/1.5 var(--mono);
}
figure { margin: 0 0 1.75rem; }
figure > div { overflow-x: auto; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .4rem; }
@media (max-width: 40rem) {
  /* One metric takes two lines: name and figures above, meaning and direction below. */
  .metrics, .metrics tbody { display: block; width: 100%; }
  .metrics thead { display: none; }
  .metrics tr {
    display: grid; grid-template-columns: minmax(0, 1fr) auto auto auto;
    padding: .3rem 0; border-bottom: 1px solid var(--line);
  }
  .metrics th, .metrics td { border: 0; padding: 0 0 0 .5rem; }
  .metrics th { padding: 0; white-space: normal; overflow-wrap: anywhere; }
  .metrics .meaning, .metrics .better { grid-row: 2; color: var(--muted); font-size: .85rem; }
  .metrics .meaning { grid-column: 1 / 3; padding: 0; }
  .metrics .better { grid-column: 3 / 5; text-align: right; }
}
@media print {
  :root { --text: #000; --muted: #444; --line: #ccc; --paper: #fff; --code: #f5f6f7; }
  img.chart { filter: none; }
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  figure, tr { break-inside: avoid; }
  figure img { max-height: 11cm; }
  h2 { break-after: avoid; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
""".strip()

_LIVE = """
let seen = "";
async function look() {
  const ended = document.getElementById("ended");
  try {
    const answer = await fetch(location.href, {cache: "no-store", headers: {"If-None-Match": seen}});
    if (answer.status === 200) {
      seen = answer.headers.get("ETag");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.title = page.title;
    }
    ended.textContent = "";
  } catch { ended.textContent = "The command that shows this page has ended."; }
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
"""


def report_html(
    *,
    title: str,
    summary: str = "",
    alarms: Sequence[str] = (),
    metrics: Iterable[Metric] = (),
    course: Sequence[Sequence[str]] = (),
    collapse: str = "",
    runs: Sequence[Sequence[str]] = (),
    figures: Mapping[str, bytes] | None = None,
    config: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    explanation: str = "",
    commands: Sequence[str] = (),
    live: bool = False,
) -> str:
    """Return a report as one HTML page that fetches nothing.

    Sections without content are left out. Every text is escaped. Letters in figures are 11 pixels high or more on
    every screen, and charts are dark on a dark page.

    Args:
      title: the heading.
      summary: one line under it.
      alarms: what went wrong while it was made, a line each.
      metrics: rows with unit and direction.
      course: a table of the best, last and worst rows of the log, such as `stage_table` makes.
      collapse: the sentence under it.
      runs: a table of several runs, row by row, of which the first one names the columns.
      figures: PNG bytes by name, in the order to show, such as `vifx.evaluation.png` makes; under one stands a sentence
        that says what figures of this name show.
      config: the resolved configuration; nested mappings become dotted names.
      versions: packages, device, revision.
      explanation: the objective's derivation, `vifx.explain`, shown as it is.
      commands: shell lines that reproduce the run.
      live: ask for the page again every two seconds, and show what has changed.

    Raises:
      ValueError: if a figure is not a PNG.
    """
    sections = [
        ("Alarms", _list(alarms)),
        ("Metrics", _metrics_table(metrics)),
        ("Best, last and worst", _table(course) + (f'<p class="note">{html.escape(collapse)}</p>' if collapse else "")),
        ("Runs", _table(runs)),
        ("Figures", "".join(_figure(name, data) for name, data in (figures or {}).items())),
        ("Objective", f"<pre>{html.escape(explanation.strip())}</pre>" if explanation.strip() else ""),
        ("Configuration", _pairs_table(_flattened(config or {}))),
        ("Versions", _pairs_table({name: str(value) for name, value in (versions or {}).items()})),
        ("How to reproduce", f"<pre>{html.escape(chr(10).join(commands))}</pre>" if commands else ""),
    ]
    body = "\n".join(f"<section>\n<h2>{name}</h2>\n{content}\n</section>" for name, content in sections if content)
    lead = f'<p class="lead">{html.escape(summary)}</p>' if summary else ""
    digest = base64.b64encode(hashlib.sha256(_LIVE.encode()).digest()).decode()
    allowed = f"; connect-src 'self'; script-src 'sha256-{digest}'" if live else ""
    script = f'<p id="ended" class="lead"></p>\n<script>{_LIVE}</script>\n' if live else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The page may load nothing but what it carries.
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'{allowed}\">\n"
        f"<title>{html.escape(title)}</title>\n<style>\n{_CSS}\n</style>\n</head>\n<body>\n{script}"
        f"<main>\n<header>\n<h1>{html.escape(title)}</h1>\n{lead}\n</header>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_report(path: str | os.PathLike[str], **content: Any) -> Path:
    """Write `report_html` of `content` to `path` by an atomic rename, and return the path."""
    path = Path(path)
    write_whole(path, report_html(**content).encode())
    return path


def _figure(name: str, data: bytes) -> str:
    if not data.startswith(_PNG):
        raise ValueError(f"figure {name!r} must be PNG bytes, got {data[:8]!r}...; render it with vifx.evaluation.png.")
    encoded, (text, chart) = base64.b64encode(data).decode("ascii"), caption(name)
    width = int.from_bytes(data[16:20])
    # Its smallest letters are those of ticks; where the screen is too narrow for them, the figure is moved along.
    least = min(width, round(width * _LEAST / (STYLE.tick_size * STYLE.dpi / 72)))
    kind = ' class="chart"' if chart else ""
    image = (
        f'<img{kind} src="data:image/png;base64,{encoded}" alt="{html.escape(name)}" '
        f'style="max-width: {width}px; min-width: {least}px">'
    )
    return f"<figure>\n<div>{image}</div>\n<figcaption>{html.escape(text)}</figcaption>\n</figure>\n"


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines)
    return f'<ul class="alarms">\n{items}</ul>' if items else ""


def _metrics_table(metrics: Iterable[Metric]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(m.name)}</th><td class="number">{html.escape(m.number)}</td>'
        f'<td class="error">{html.escape(m.error)}</td><td>{html.escape(m.unit)}</td>'
        f'<td class="better">{html.escape(m.arrow)}</td><td class="meaning">{html.escape(m.meaning)}</td></tr>\n'
        for m in metrics
    )
    if not rows:
        return ""
    head = '<tr><th>metric</th><th class="number">value</th><th>± s.e.</th><th>unit</th><th>better</th>'
    head += '<th class="meaning">meaning</th></tr>'
    note = '<p class="note">±: one standard error over examples</p>'
    table = f'<table class="metrics">\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>'
    return f'<div class="scroll">{table}</div>\n{note}'


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows[1:])
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _pairs_table(pairs: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td class="value">{html.escape(value)}</td></tr>\n'
        for name, value in pairs.items()
    )
    return f'<div class="scroll"><table>\n<tbody>\n{rows}</tbody>\n</table></div>' if rows else ""


def _flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Name nested values by dots: ``{"data": {"name": "digits"}}`` to ``{"data.name": "digits"}``."""
    pairs: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            pairs |= _flattened(value, f"{prefix}{name}.")
        else:
            pairs[f"{prefix}{name}"] = str(value)
    return pairs
