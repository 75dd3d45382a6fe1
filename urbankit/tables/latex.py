"""Tables as LaTeX, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from urbankit.tables.table import Cell, Row, Table, percentage
from urbankit.utils.text import printable

PREAMBLE = r"""% In the preamble: \usepackage{booktabs,graphicx}
"""

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "–": "--",
    "—": "---", "…": r"\ldots{}", "²": "$^2$", "³": "$^3$", "₂": "$_2$", "→": r"$\rightarrow$", "≤": r"$\leq$",
    "≥": r"$\geq$", "∞": r"$\infty$", "−": "$-$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_ESCAPES = str.maketrans(_SPECIAL | {letter: f"$\\{name}$" for letter, name in _GREEK.items()})


def latex(tables: Iterable[Table]) -> str:
    """Each table as a `table*` with its notes, and one of the tests; best bold, second best underlined."""
    return PREAMBLE + "\n".join(_results(table) + _tests(table) for table in tables)


def escape_latex(text: str) -> str:
    """The text with LaTeX's own characters escaped and Greek letters and signs as commands."""
    return printable(" ".join(text.split())).translate(_ESCAPES)


def _results(table: Table) -> str:
    body = [*map(_row, table.rows)]
    if table.improvements:
        body.append(r"\midrule")
        body += [_line(escape_latex(text), map(_signed, map(percentage, ps))) for text, ps in table.improvements]
    if table.floors:
        body += [r"\midrule", *map(_row, table.floors)]
    explanation = rf"{escape_latex(table.explanation)} \textbf{{Best}}, \underline{{second best}}."
    return _float(table, escape_latex(table.title), body, [explanation, *map(escape_latex, table.notes)])


def _tests(table: Table) -> str:
    if not table.compared:
        return ""
    body = [_line(escape_latex(row.label), (_signed(cell.comparison) for cell in row.cells)) for row in table.compared]
    caption = escape_latex(f"{table.title}: {table.reference} less each row, and p after Holm's adjustment")
    return "\n" + _float(table, caption, body, [])


def _float(table: Table, caption: str, body: Sequence[str], notes: Sequence[str]) -> str:
    spans = [rf"\multicolumn{{{len(of)}}}{{c}}{{{escape_latex(group)}}}" for group, of in table.groups.items()]
    rules = [rf"\cmidrule(lr){{{of[0] + 2}-{of[-1] + 2}}}" for of in table.groups.values()]
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _line("", spans),
        "".join(rules),
        _line(escape_latex(table.corner), [escape_latex(column.heading) for column in table.columns]),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\footnotesize {note}" for note in notes),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _line(label: str, cells: Iterable[str]) -> str:
    return " & ".join([label, *cells]) + r" \\"


def _row(row: Row) -> str:
    return _line(escape_latex(row.label), map(_cell, row.cells))


def _cell(cell: Cell) -> str:
    text = _signed(str(cell))
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)
    return text + escape_latex(cell.mark)


def _signed(numbers: str) -> str:
    """Numbers with `$-$` and `$+$` for their signs, which are not hyphens."""
    return re.sub(r"(?<!\S)([+-])(?=\d)", r"$\1$", escape_latex(numbers))
