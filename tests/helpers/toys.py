"""Small components that register like anybody's, so that the core is tested without the real ones."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from urbankit import Component, Params, Use, hookimpl, uses
from urbankit.views.base import View

RECIPE = """\
city: {demo: {regions: 30}}
modalities:
  rsi: {name: toy_pixels}
views:
  ring: {name: toy_ring}
method: {name: toy_contrast}
tasks:
  co: {head: {name: toy_head}}
"""


class Pixels(Component):
    """Toy modality encoder."""

    class Params(Params):
        patch_size: int = Field(16, ge=1, le=64, description="Side of a patch.")
        weights: Path | None = Field(None, description="A file of weights.")

    def observations(self): ...

    def load(self, rows): ...

    def forward(self, batch): ...

    def project(self, x): ...


class Ring(Component):
    """Toy view."""

    class Params(Params):
        neighbours: int = Field(2, ge=1, description="Neighbours on each side.", json_schema_extra={"source": "eq. 1"})

    def build(self, city): ...


class Sum(Component):
    """Toy fusion without parameters."""

    def forward(self, vectors): ...


class Gate(Component):
    class Params(Params):
        hidden: int = Field(8, gt=0, description="Width inside.")
        after: Use = uses("fusion", "toy_sum", "What joins the gated vectors.")

    def forward(self, vectors): ...


class Point(Component):
    def forward(self, x): ...


class Contrast(Component):
    class Params(Params):
        dim: int = Field(64, gt=1, description="Width of the embedding.")
        mode: Literal["mean", "root"] = Field("mean", description="How to read out.")
        rate: float = Field(0.5, ge=0, lt=1, description="A rate.")
        clip: float | None = Field(1.0, description="A clip that may be null.")
        alignments: list[tuple[str, str]] = Field(default_factory=list, description="Pairs.")
        fusion: Use = uses("fusion", "toy_sum", "How vectors are joined.")
        stages: list[Use] = Field(
            default_factory=list, description="More fusions.", json_schema_extra={"component_kind": "fusion"}
        )

    def loss(self, regions): ...

    def forward(self, regions): ...

    def parts(self): ...

    @classmethod
    def check(cls, params, modalities, views):
        return [
            (f"alignments.{i}", f"the recipe has no modality '{name}'")
            for i, pair in enumerate(params.alignments)
            for name in pair
            if name not in modalities
        ]


class NoParams:
    def build(self, city): ...


class NoBuild(Component):
    pass


class Unwritten(View):
    """Derives from its base and leaves out what the base asks for."""


class Undocumented(Ring):
    class Params(Params):
        k: int = Field(1, ge=1)
        far: float = Field(1.0, ge=0, description="A distance.")


class Loose(Ring):
    class Params(Params):
        model_config = ConfigDict(extra="allow")


class Plugin:
    @staticmethod
    @hookimpl
    def register_modality_encoders(register):
        register("toy_pixels", "helpers.toys:Pixels", "pixels")

    @staticmethod
    @hookimpl
    def register_views(register):
        register("toy_ring", "helpers.toys:Ring", "a ring")

    @staticmethod
    @hookimpl
    def register_fusions(register):
        register("toy_sum", "helpers.toys:Sum", "a sum")
        register("toy_gate", "helpers.toys:Gate", "a gate")

    @staticmethod
    @hookimpl
    def register_heads(register):
        register("toy_head", "helpers.toys:Point", "a point")

    @staticmethod
    @hookimpl
    def register_methods(register):
        register("toy_contrast", "helpers.toys:Contrast", "contrast")
