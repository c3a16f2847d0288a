"""Tables as LaTeX."""

from __future__ import annotations

from pingraph.results import Sheet

_SIGNS = {
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
    "≥": r"$\geq$",
    "λ": r"$\lambda$",
    "²": "$^2$",
    "\N{EN DASH}": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(sheet: Sheet) -> str:
    """Return a table as a LaTeX tabular that needs no package."""

    def row(cells: list[str]) -> str:
        text = " & ".join(map(_escaped, cells)) + r" \\"
        # The end of the row before would take it for its own argument.
        return "{}" + text if text[0] in "[*" else text

    columns = len(sheet.columns)
    lines = [f"% {_escaped(sheet.title)}", rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}"]
    lines += [r"\hline", row(sheet.columns), r"\hline"]
    for heading, rows in sheet.sections.items():
        if heading:
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\textbf{{{_escaped(heading)}}}}} \\")
        lines += [row([cell.text for cell in cells]) for cells in rows]
        lines.append(r"\hline")
    lines.append(r"\end{tabular}")
    return "\n".join([*lines, *(f"% {_escaped(note)}" for note in sheet.notes)]) + "\n"


def _escaped(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in " ".join(text.split()))
