"""Everything a plugin can add to urbankit: one hook a kind of component.

A plugin is a module (or object) named by an entry point of the group `urbankit`. Each hook it implements gets
`register(name, target, description)`; the `target`, `"module:Class"`, is imported only when a recipe uses it:

    from urbankit import hookimpl

    @hookimpl
    def register_views(register):
        register("metro", "my_package.metro:MetroView", "travel time by metro")

and in the plugin's pyproject.toml:

    [project.entry-points.urbankit]
    metro = "my_package.plugin"

The class derives from its kind's base and carries a `Params` (a `urbankit.Params`) that documents itself.
A notebook or test adds a plugin without installing it: `urbankit.registry.add_plugin(plugin, "mine")`.
"""

from __future__ import annotations

from typing import Protocol

import pluggy

hookspec = pluggy.HookspecMarker("urbankit")
hookimpl = pluggy.HookimplMarker("urbankit")


class Register(Protocol):
    """Name a component: `target` is `"module:Class"`, `description` is what `list-components` shows."""

    def __call__(self, name: str, target: str, description: str = "") -> None: ...


@hookspec
def register_modality_encoders(register: Register) -> None:
    """Encoders of a modality (`urbankit.modalities.base.ModalityEncoder`): observation in, vector out."""


@hookspec
def register_views(register: Register) -> None:
    """Views (`urbankit.views.base.View`): a weighted graph over the regions of a city."""


@hookspec
def register_graph_encoders(register: Register) -> None:
    """Graph encoders: a view and node features in, node embeddings out."""


@hookspec
def register_subgraphs(register: Register) -> None:
    """Ways to take the graph around each region, such as random walks."""


@hookspec
def register_fusions(register: Register) -> None:
    """Fusions: several vectors of one region in, one out."""


@hookspec
def register_pair_weights(register: Register) -> None:
    """Pair weights (`urbankit.methods.pair_weights.PairWeight`): how much each matched pair of a contrast counts."""


@hookspec
def register_captioners(register: Register) -> None:
    """Captioners (`urbankit.captioning.captioners.base.Captioner`): an image or a region in, a text about it out."""


@hookspec
def register_heads(register: Register) -> None:
    """Heads: a region embedding in, a task's prediction out."""


@hookspec
def register_methods(register: Register) -> None:
    """Methods: pre-training procedures that yield region embeddings."""
