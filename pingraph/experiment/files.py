"""Writes what an experiment found: Parquet, Markdown, LaTeX, HTML and plots."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.experiment.curve import curve_sheet, fitted
from pingraph.experiment.figures import Figures, comparison_rows
from pingraph.experiment.plot import write_plots
from pingraph.experiment.table import sheets
from pingraph.files import atomic_file
from pingraph.results import Sheet

RESULTS_FILE, COMPARISONS_FILE = "results.parquet", "comparisons.parquet"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "→": r"$\to$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "↔": r"$\leftrightarrow$",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "²": "$^2$",
    "\N{EN DASH}": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
td, th { padding: .2rem .7rem; text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left }
thead { border-block: 1px solid }
tbody { border-bottom: 1px solid }
.wide { overflow-x: auto }
img { max-width: 100%; background: white }
p { max-width: 60rem; margin: .2rem 0 }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } }
"""


def write_all(figures: Figures, out: Path) -> tuple[list[Sheet], list[Path]]:
    """Write all files of an experiment, and return its tables and the paths."""
    comparisons = figures.comparisons(figures.columns())
    curves = fitted(figures)
    tables = sheets(figures, comparisons)
    if curves:
        tables.append(curve_sheet(curves, figures.experiment.title))
    plots = write_plots(figures, curves, out)
    texts = {
        "table.md": "\n".join(sheet.markdown() for sheet in tables),
        "table.tex": "\n".join(latex(sheet) for sheet in tables),
        "table.html": html(tables, [one.read_bytes() for one in plots if one.suffix == ".svg"]),
    }
    for name, text in texts.items():
        with atomic_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name, rows in (
        (RESULTS_FILE, figures.rows()),
        (COMPARISONS_FILE, comparison_rows(comparisons, figures.experiment)),
    ):
        _write_rows(out / name, rows)
    files = [RESULTS_FILE, COMPARISONS_FILE, *texts, *(path.name for path in plots)]
    return tables, [out / name for name in files]


def latex(sheet: Sheet) -> str:
    """Return a table as a LaTeX tabular that needs no package."""

    def row(cells: list[str]) -> str:
        text = " & ".join(map(_latex, cells)) + r" \\"
        # The end of the row before would take it for its own argument.
        return "{}" + text if text[0] in "[*" else text

    columns = len(sheet.columns)
    lines = [f"% {_latex(sheet.title)}", rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}", r"\hline"]
    lines += [row(sheet.columns), r"\hline"]
    for heading, rows in sheet.sections.items():
        lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\textbf{{{_latex(heading)}}}}} \\")
        lines += [row([cell.text for cell in cells]) for cells in rows]
        lines.append(r"\hline")
    lines.append(r"\end{tabular}")
    return "\n".join([*lines, *(f"% {_latex(note)}" for note in sheet.notes)]) + "\n"


def html(tables: list[Sheet], plots: list[bytes]) -> str:
    """Return one page with all tables and the plots (SVG), which needs no network."""
    # As images they cannot run a script, whatever the names in them are.
    images = [base64.b64encode(plot).decode() for plot in plots]
    parts = [_html(sheet) for sheet in tables]
    parts += [f'<img alt="plot" src="data:image/svg+xml;base64,{image}">' for image in images]
    head = f"<title>{escape(tables[0].title)}</title><style>{_STYLE}</style>"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8">{head}<body>'
    return page + "\n".join(parts) + "</body></html>\n"


def _html(sheet: Sheet) -> str:
    def row(cells: list[str], kind: str) -> str:
        return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"

    bodies = []
    for heading, rows in sheet.sections.items():
        first = f'<tr><th colspan="{len(sheet.columns)}">{escape(heading)}</th></tr>'
        lines = [row([cell.text for cell in cells], "td") for cells in rows]
        bodies.append(f"<tbody>{first}{''.join(lines)}</tbody>")
    notes = "".join(f"<p>{escape(note)}</p>" for note in sheet.notes)
    head = f"<thead>{row(sheet.columns, 'th')}</thead>"
    table = f'<div class="wide"><table>{head}{"".join(bodies)}</table></div>'
    return f"<h2>{escape(sheet.title)}</h2>{table}{notes}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
