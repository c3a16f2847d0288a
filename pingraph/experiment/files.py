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
from pingraph.latex import latex
from pingraph.results import Sheet

RESULTS_FILE, COMPARISONS_FILE = "results.parquet", "comparisons.parquet"
COMPARISONS = pa.schema(  # of the rows, which may be none
    {
        **dict.fromkeys(("data", "condition", "part", "task"), pa.string()),
        **dict.fromkeys(("fewest_saves", "most_saves"), pa.int64()),
        **dict.fromkeys(("metric", "method", "reference"), pa.string()),
        **dict.fromkeys(("difference", "difference_low", "difference_high"), pa.float64()),
        **dict.fromkeys(("lift", "lift_low", "lift_high", "p", "p_holm"), pa.float64()),
        **dict.fromkeys(("queries", "seeds"), pa.int64()),
    }
)
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
    _write_rows(out / RESULTS_FILE, figures.rows())
    compared = comparison_rows(comparisons, figures.experiment)
    _write_rows(out / COMPARISONS_FILE, compared, COMPARISONS)
    files = [RESULTS_FILE, COMPARISONS_FILE, *texts, *(path.name for path in plots)]
    return tables, [out / name for name in files]


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


def _write_rows(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> None:
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
