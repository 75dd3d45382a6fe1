"""The keys of a suite, with types, defaults and descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from urbankit.recipe.schema import Name
from urbankit.registry.component import Params, Seed
from urbankit.tables.spec import SuiteTable

# Row names are only shown in tables, so that they may hold any characters.
RowName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Changes = dict[str, Any]


class Suite(Params):
    """A suite: recipes (its rows) × cities × seeds, and the tables to make of them."""

    description: str = Field("", description="What the suite is for, in a line or two.")
    seeds: list[Seed] = Field(
        [0],
        min_length=1,
        description="Seeds of pre-training, one run each: the recipe's key `seed`. Those of the splits are"
        " `evaluation.seeds` of the recipes.",
    )
    cities: dict[Name, SuiteCity] = Field(
        default_factory=dict, description="Cities by name; without any, each recipe runs on its own city."
    )
    overrides: Changes = Field(
        default_factory=dict, description="Changes of every recipe: {pretrain.epochs: 10, views: {poi: null}}."
    )
    runs: dict[RowName, SuiteRow] = Field(
        min_length=1, description="Rows of the tables, by the name they are shown with: a recipe, or a mapping."
    )
    tables: dict[Name, SuiteTable] = Field(
        default_factory=lambda: {"results": SuiteTable()},
        description="Tables by file name; default one, `results`, of everything.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of tasks and cities in tables: {pm25: PM2.5}."
    )


class SuiteCity(Params):
    """One city of a suite, and what it changes in every recipe that runs on it."""

    recipe: str | None = Field(
        None, description="A recipe whose `city` and `tasks` replace those of every row: new-york."
    )
    data: Path | None = Field(None, description="Folder of the city's sources: `city.data`. See also `--data`.")
    set: Changes = Field(default_factory=dict, description="Changes of every recipe on this city.")


class SuiteRow(Params):
    """One row: a recipe, and what is changed in it."""

    recipe: str = Field(
        min_length=1,
        description="A recipe file, relative to the suite's, or the name of a shipped recipe; `{city}` in it is the"
        " city's name.",
    )
    set: Changes = Field(default_factory=dict, description="Changes of this row: {method.alpha: 0.2}.")
    cities: list[str] | None = Field(None, min_length=1, description="The cities it runs on; default all.")
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="Seeds of pre-training of this row; default the suite's."
    )


Suite.model_rebuild()
