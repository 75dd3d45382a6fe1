"""Tables as LaTeX, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from urbankit.tables import format as wording
from urbankit.tables.comparison import Column, Entry, Line, Table

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
    """Each table as a `table*` with its notes, and one of the tests behind it; best bold, second best underlined."""
    return PREAMBLE + "\n".join(_results(table) + _tests(table) for table in tables)


def escaped(text: str) -> str:
    """Text with every character of LaTeX's own, Greek letters and signs of our own spelled out."""
    return " ".join(text.split()).translate(_ESCAPES)


def _results(table: Table) -> str:
    body = [_row(escaped(line.label), _values(line, table.columns)) for line in table.rows]
    if table.improvements:
        body.append(r"\midrule")
        body += [
            _row(escaped(label), map(_signed, map(wording.improvement, percents)))
            for label, percents in table.improvements
        ]
    if table.floors:
        body.append(r"\midrule")
        body += [_row(escaped(line.label), _values(line, table.columns)) for line in table.floors]
    explained = r"Mean $\pm$ sample standard deviation over pairs of seeds; \textbf{best}, \underline{second best}."
    return _float(table, escaped(table.title), body, [explained, *map(escaped, table.notes)])


def _tests(table: Table) -> str:
    if not table.tested:
        return ""
    body = [
        _row(escaped(line.label), map(_signed, map(wording.comparison, line.entries, table.columns)))
        for line in table.tested
    ]
    caption = escaped(f"{table.title}: {table.reference} less each row, and p after Holm's adjustment")
    return "\n" + _float(table, caption, body, [])


def _float(table: Table, caption: str, body: Sequence[str], notes: Sequence[str]) -> str:
    groups = [(task, len(list(columns))) for task, columns in groupby(table.columns, key=lambda column: column.label)]
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{escaped(task)}}}" for task, width in groups]
    rules, first = [], 2
    for _, width in groups:
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _row("", spans),
        "".join(rules),
        _row("", [escaped(column.heading) for column in table.columns]),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\footnotesize {note}" for note in notes),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _row(label: str, cells: Iterable[str]) -> str:
    return " & ".join([label, *cells]) + r" \\"


def _values(line: Line, columns: Sequence[Column]) -> list[str]:
    return [_value(entry, column) for entry, column in zip(line.entries, columns, strict=True)]


def _value(entry: Entry, column: Column) -> str:
    text = _signed(wording.value(entry, column))
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(entry.rank, text)
    return text + escaped(wording.mark(entry, column))


def _signed(numbers: str) -> str:
    """Numbers whose signs are set as signs, not as hyphens."""
    return re.sub(r"(?<!\S)([+-])(?=\d)", r"$\1$", escaped(numbers))
