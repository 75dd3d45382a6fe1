"""The section `transfer` of a recipe: the weights that are loaded from a run on another city."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model, model_validator

from urbankit.registry.component import Params

# `from` is a keyword of Python, so no class body can declare it.
_FROM: dict[str, Any] = {
    "from": (
        Path,
        Field(description="The folder of a finished run on the source city, as in --set transfer.from=runs/NAME."),
    )
}
_From = create_model("_From", __base__=Params, **_FROM)


class Transfer(_From):  # type: ignore[valid-type,misc]
    """The weights and statistics that this run loads from a finished run on another city, the source."""

    graph: Literal["new", "keep"] = Field(
        "new",
        description="`new` loads the encoders with their projections and initialises everything else; the run then"
        " pre-trains and fine-tunes. `keep` loads every weight and trains nothing on this city, whose labels are only"
        " used for scores: heads are fitted to embeddings and labels of the source city.",
        json_schema_extra={"source": "new: section 4.3.3; keep: not in the paper, whose section 5.4 asks for it"},
    )
    modalities: list[str] | None = Field(
        None,
        description="Modalities whose encoders are loaded; the others are initialised. Default: all of the run."
        " `graph: keep` loads all.",
    )
    statistics: Literal["source", "own"] = Field(
        "source",
        description="Whose means and standard deviations standardise the inputs (pixels, features) and, with"
        " `graph: keep`, the embeddings that heads read. `source` keeps values comparable with the source city. `own`"
        " standardises each city by itself, which removes any constant difference between the two.",
    )

    @property
    def source(self) -> Path:
        """The folder of the run on the source city (key `from`)."""
        return Path(getattr(self, "from"))

    @model_validator(mode="after")
    def _keeps_all(self) -> Transfer:
        if self.graph == "keep" and self.modalities is not None:
            raise ValueError("`graph: keep` loads all modalities: remove `modalities`")
        return self
