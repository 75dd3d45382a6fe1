"""The section of a recipe that says what a run on another city hands on: `transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model, model_validator

from urbankit.registry.component import Params

# `from` is a word of Python, so that no class body can declare it.
_FROM: dict[str, Any] = {
    "from": (
        Path,
        Field(description="The folder of a finished run on the source city: --set transfer.from=runs/NAME, or here."),
    )
}
_From = create_model("_From", __base__=Params, **_FROM)


class Transfer(_From):  # type: ignore[valid-type,misc]
    """What a finished run on another city, the source, hands on to this one."""

    graph: Literal["new", "keep"] = Field(
        "new",
        description="`new` takes the encoders with their projections over and begins everything else anew: the run then"
        " pre-trains and fine-tunes as its recipe says. `keep` takes every weight over and trains nothing on this city,"
        " whose labels only score: heads are fitted to embeddings and labels of the source city.",
        json_schema_extra={"source": "new: section 4.3.3; keep: not in the paper, whose section 5.4 asks for it"},
    )
    modalities: list[str] | None = Field(
        None,
        description="Modalities whose encoders are taken over, the others beginning anew; default all that the run has."
        " `graph: keep` takes them all.",
    )
    statistics: Literal["source", "own"] = Field(
        "source",
        description="Whose means and spreads standardise the inputs (pixels, features) and, with `graph: keep`, the"
        " embeddings that heads see. `source`: a value means in this city what it meant there. `own`: each city is"
        " measured against itself, which makes up for a shift of the whole and loses it.",
    )

    @property
    def source(self) -> Path:
        """The folder that `from` names."""
        return Path(getattr(self, "from"))

    @model_validator(mode="after")
    def _keeps_all(self) -> Transfer:
        if self.graph == "keep" and self.modalities is not None:
            raise ValueError("`graph: keep` takes all modalities over: remove `modalities`")
        return self
