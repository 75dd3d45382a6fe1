"""The command line `urbankit`. Heavy libraries are imported when a command runs, not before."""

from __future__ import annotations

from typing import Annotated

import typer

from urbankit.cli import (
    bench,
    caption,
    caption_check,
    check,
    clusters,
    compare,
    demo,
    doctor,
    embed,
    encode,
    export,
    list_components,
    neighbours,
    new_plugin,
    predict,
    prepare,
    pull,
    push,
    report,
    run,
    schema,
    show,
    tune,
    validate,
)
from urbankit.cli.errors import Group
from urbankit.utils.streams import replace_unencodable
from urbankit.utils.version import __version__

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("run")(run.run)
app.command("validate")(validate.validate)
app.command("list-components")(list_components.list_components)
app.command("show")(show.show)
app.command("embed")(embed.embed)
app.command("predict")(predict.predict)
app.command("report")(report.report)
app.command("bench")(bench.bench)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("pull")(pull.pull)
app.command("neighbours")(neighbours.neighbours)
app.command("clusters")(clusters.clusters)
app.command("prepare")(prepare.prepare)
app.command("encode")(encode.encode)
app.command("caption")(caption.caption)
app.command("caption-check")(caption_check.caption_check)
app.command("check")(check.check)
app.command("demo")(demo.demo)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("new-plugin")(new_plugin.new_plugin)


def main() -> None:
    """Run the command line; exits 0 when done, 1 when the run failed, 2 when the input is wrong."""
    replace_unencodable()
    app(prog_name="urbankit")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"urbankit {__version__}")
        raise typer.Exit


@app.callback()
def urbankit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Use only the built-in components; see also URBANKIT_PLUGINS.")
    ] = False,
) -> None:
    """Region embeddings of a city from imagery, text, points of interest and region graphs.

    [bold]urbankit run urbanmmcl[/bold] trains on a synthetic city, without any download.
    """
    if no_plugins:
        from urbankit import registry
        from urbankit.registry.discovery import load_none

        load_none()
        registry.reload()
