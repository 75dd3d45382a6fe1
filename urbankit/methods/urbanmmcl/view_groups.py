"""Groups of views that are joined into one view before views are contrasted; beyond the UrbanMMCL paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field
from torch import Tensor, nn

from urbankit import registry
from urbankit.fusion.base import Fusion
from urbankit.methods.urbanmmcl.joining import any_present, join_vectors
from urbankit.registry.component import Name, Params, Use, uses
from urbankit.utils.errors import suggest
from urbankit.utils.torch_modules import NamedModules


class ViewGroup(Params):
    """Views that are joined into one."""

    views: list[Name] = Field(min_length=1, description="The views of the recipe that are joined.")
    fusion: Use = uses("fusion", "attention", "What joins the embeddings of the views into that of the group.")


class ViewGroups(nn.Module):
    """Joins the embeddings of the views of each group into one; a view in no group stays as it is.

    Args:
        groups: the groups by name. Views that the city lacks are left out of their group, and empty groups are dropped.
        dims: widths of the views' embeddings, in order.
        dim: requested width of the fusions.

    Attributes:
        members: the views of each joined view; a group has the position of its first view.
        dims: widths of the joined views.
    """

    def __init__(self, groups: Mapping[str, ViewGroup], dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        group_of = {view: name for name, group in groups.items() for view in group.views}
        self.members: dict[str, list[str]] = {}
        for view in dims:
            self.members.setdefault(group_of.get(view, view), []).append(view)
        self.fusions: NamedModules[Fusion] = NamedModules()
        self.dims = {name: dims[views[0]] for name, views in self.members.items()}
        for name in groups:
            if name in self.members:
                widths = [dims[view] for view in self.members[name]]
                fusion: Fusion = registry.create("fusion", groups[name].fusion, widths, dim)
                self.fusions[name], self.dims[name] = fusion, fusion.out_dim

    def forward(self, embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the embeddings of the joined views.

        Args:
            embeddings: by view, [B, d].
            present: by view, which regions it has, bool [B].
        """
        return {
            name: join_vectors(self.fusions[name], views, embeddings, present)
            if name in self.fusions
            else embeddings[name]
            for name, views in self.members.items()
        }

    def present(self, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return which regions (bool [B]) each joined view has: those that any of its views has."""
        return {name: any_present(views, present) for name, views in self.members.items()}


def group_mistakes(groups: Mapping[str, ViewGroup], views: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes of `groups` in a recipe with these views, as (key, message)."""
    group_of: dict[str, str] = {}
    for name, group in groups.items():
        if name in views:
            yield name, f"a view is called '{name}' already; give the group another name"
        for index, view in enumerate(group.views):
            key = f"{name}.views.{index}"
            if view not in views:
                yield key, f"the recipe has no view '{view}'.{suggest(view, views)}"
            elif view in group_of:
                where = "twice in the group" if group_of[view] == name else f"in the group '{group_of[view]}' already"
                yield key, f"'{view}' is {where}; a view is in one group, once"
            group_of.setdefault(view, name)


def joined_names(groups: Mapping[str, ViewGroup], views: Iterable[str]) -> set[str]:
    """Return the names of the joined views: the groups, and the views in no group."""
    return set(groups) | set(views) - {view for group in groups.values() for view in group.views}
