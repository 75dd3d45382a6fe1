"""The command `urbankit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from urbankit.cli.embed import STATISTICS, AllowMissing, CityChanges, CityData

if TYPE_CHECKING:
    from urbankit.pipeline.city_predictions import CityPredictions
    from urbankit.pipeline.predict_run import Predictions


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run folder, or with --city a folder or name of a model."),
    ],
    city: Annotated[
        Path | None,
        typer.Option(metavar="CITY", help="Another city: a prepared city, or a city file; default that of the run."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(metavar="TASK", help="The task; default all. Repeatable.")] = None,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of regions that an interval should cover; default the recipe's."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Split protocol that calibrates intervals: random for gaps between labelled regions, spatial "
            "for districts without labels; default the recipe's. Without --city only.",
        ),
    ] = None,
    data: CityData = None,
    statistics: Annotated[Literal["source", "own"], typer.Option(help=f"With --city. {STATISTICS}")] = "own",
    allow_missing: AllowMissing = False,
    sets: CityChanges = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table: .parquet, .gpkg or .csv.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Predict the targets of a run for every region, labelled or not, with intervals or class probabilities.

    A region with a label is predicted by heads that did not see this label, others by heads fitted to all labels.

    With --city the regions are those of another city. Its labels are not used.

    [bold]urbankit predict runs/ny --task pm25 --interval 0.8 --out pm25.gpkg[/bold]

    [bold]urbankit predict models/singapore --city cities/mumbai --out mumbai.gpkg[/bold]

    `urbankit list-components --kind model` lists the installed models. A folder of the same name is used first.
    """
    from urbankit.cli.output import console, print_table, warn
    from urbankit.pipeline.model import Model, as_city
    from urbankit.pipeline.model_files import is_model_folder
    from urbankit.pipeline.predict_run import predict_run
    from urbankit.pipeline.prediction_options import write_predictions
    from urbankit.registry.models import is_model_name
    from urbankit.runs.folder import Run
    from urbankit.utils.errors import Problem, UserError
    from urbankit.utils.progress import Progress
    from urbankit.utils.written import check_new

    if city is None and (is_model_folder(run) or is_model_name(run)):
        raise UserError(Problem("a model has no regions; name the city to predict with --city", run))
    if city is None and (data is not None or sets or allow_missing):
        raise UserError("--data, --set and --allow-missing go with --city")
    if city is not None and split is not None:
        raise UserError("--split goes without --city: intervals for another city are calibrated in the model's city")
    if out is not None:
        check_new(out, "--out", force)
    with Progress() as progress:
        if city is None:
            predictions: Predictions | CityPredictions = predict_run(
                Run.open(run), tasks=task, interval=interval, split=split, progress=progress
            )
        else:
            predictions = Model.open(run).predictions(
                as_city(city, progress, data), interval, tasks=task, statistics=statistics,
                allow_missing=allow_missing, sets=tuple(sets or ()),
            )  # fmt: skip
    print_table(f"{run}: {predictions.title}", *predictions.summary())
    warn(predictions.notes)
    if out is not None:
        write_predictions(predictions.export(), out, force=force)
        console().print(str(out), markup=False, soft_wrap=True)
