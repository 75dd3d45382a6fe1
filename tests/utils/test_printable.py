"""Text from data reaches no terminal, page or spreadsheet as a command."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pandas as pd
import polars as pl
import pytest
import shapely
import typer
from rich.table import Table
from rich.text import Text

from urbankit.cli.errors import Group
from urbankit.export.csv_table import SpreadsheetCSV
from urbankit.export.tables import ExportTable
from urbankit.tables.latex import escape_latex
from urbankit.tables.markdown import escape_markdown
from urbankit.utils.console import SafeConsole
from urbankit.utils.html import escape
from urbankit.utils.text import printable

EVIL = "\x1b]0;title\x07\x1b[2Ja\u202eb\x9b\ud800\r"
SHOWN = r"\x1b]0;title\x07\x1b[2Ja\u202eb\x9b\ud800\r"


def test_control_characters_are_shown_escaped() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("é 中 😀 a\n", keep="\n") == "é 中 😀 a\n"
    assert printable("a\nb") == r"a\nb"


@pytest.mark.parametrize("width", [20, 240])
def test_a_console_prints_no_control_character_of_a_text(width: int) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=width)
    table = Table(title=EVIL)
    table.add_column("x")
    table.add_row(Text(EVIL))
    for renderable in (table, Text(EVIL), EVIL):
        console.print(renderable, markup=False)
    assert all(character.isprintable() or character == "\n" for character in stream.getvalue())


def test_texts_are_escaped_in_html_latex_and_markdown() -> None:
    for function in (escape, escape_latex, escape_markdown):
        assert printable(function(EVIL)) == function(EVIL)
    assert escape("<a>") == "&lt;a&gt;"


def test_a_spreadsheet_runs_no_text_as_a_formula(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"region_id": ["=1+1", "@x", "r2"], "label": ["-a", "b", None], "value": [-1.5, 2, 3]},
        geometry=[shapely.box(0, 0, 1, 1)] * 3,
        crs=4326,
    )
    table = ExportTable("predictions", frame)
    SpreadsheetCSV(SpreadsheetCSV.Params()).write(table, [tmp_path / "t.csv"])
    written = pd.read_csv(tmp_path / "t.csv")
    assert written.region_id.tolist() == ["'=1+1", "'@x", "r2"] and written.label[0] == "'-a"
    assert written.value.tolist() == [-1.5, 2, 3]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_of_another_encoding_prints_with_replacements(encoding: str) -> None:
    code = (
        "from urbankit.utils.streams import replace_unencodable; from urbankit.utils.console import SafeConsole\n"
        "from rich.table import Table\nreplace_unencodable(); t = Table(title='Łódź …'); t.add_column('中'); "
        "SafeConsole().print(t)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": encoding, "PYTHONPATH": sys.path[0]}
    )
    assert result.returncode == 0, result.stderr


def test_a_native_panic_becomes_one_message(capsys: pytest.CaptureFixture) -> None:
    app = typer.Typer(cls=Group)

    @app.command()
    def panics() -> None:
        raise pl.exceptions.PanicException("index out of bounds\x1b[2J")

    @app.command()
    def other() -> None: ...

    with pytest.raises(SystemExit) as exit_status:
        app(["panics"])
    assert exit_status.value.code == 1
    assert "error: PanicException: index out of bounds\\x1b[2J" in capsys.readouterr().err
