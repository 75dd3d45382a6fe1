"""Groups of views that stand as one view: joined before the views are contrasted; beyond the UrbanMMCL paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit import registry
from urbankit.registry.component import Name, Params, Use, uses
from urbankit.utils.errors import suggest
from urbankit.utils.torch_modules import NamedModules


class ViewGroup(Params):
    """Views that are joined into one."""

    views: list[Name] = Field(min_length=1, description="The views of the recipe that are joined.")
    fusion: Use = uses("fusion", "attention", "What joins the embeddings of the views into that of the group.")


class ViewGroups(nn.Module):
    """Joins the embeddings of the views of each group into one; a view in no group stands for itself.

    The argument `dims` has the widths of the views that there are, in order; `dim` is the width asked of the fusions.
    The attribute `members` has the views behind each of the joined ones, a group standing where the first of its views
    stood, and the attribute `dims` their widths. Of a group only those views count that there are; without any it is
    left out.
    """

    def __init__(self, groups: Mapping[str, ViewGroup], dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        group_of = {view: name for name, group in groups.items() for view in group.views}
        self.members: dict[str, list[str]] = {}
        for view in dims:
            self.members.setdefault(group_of.get(view, view), []).append(view)
        self.fusions = NamedModules()
        self.dims = {name: dims[views[0]] for name, views in self.members.items()}
        for name in groups:
            if name in self.members:
                widths = [dims[view] for view in self.members[name]]
                self.fusions[name] = registry.create("fusion", groups[name].fusion, widths, dim)
                self.dims[name] = self.fusions[name].out_dim

    def forward(self, embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings [B, d] of the joined views, of those of all views and where (bool [B]) each is present."""
        return {
            name: self.fusions[name]([embeddings[view] for view in views], [present[view] for view in views])
            if name in self.fusions
            else embeddings[name]
            for name, views in self.members.items()
        }

    def present(self, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Where (bool [B]) each of the joined views is present: where any of its views is."""
        return {name: torch.stack([present[view] for view in views]).any(dim=0) for name, views in self.members.items()}


def group_mistakes(groups: Mapping[str, ViewGroup], views: set[str]) -> Iterator[tuple[str, str]]:
    """Mistakes of `groups` in a recipe with these views, as (key, message)."""
    seen: dict[str, str] = {}
    for name, group in groups.items():
        if name in views:
            yield name, f"a view is called '{name}' already; give the group another name"
        for index, view in enumerate(group.views):
            key = f"{name}.views.{index}"
            if view not in views:
                yield key, f"the recipe has no view '{view}'.{suggest(view, views)}"
            elif view in seen:
                where = "twice in the group" if seen[view] == name else f"in the group '{seen[view]}' already"
                yield key, f"'{view}' is {where}; a view is in one group, once"
            seen.setdefault(view, name)


def joined_names(groups: Mapping[str, ViewGroup], views: Iterable[str]) -> set[str]:
    """What the joined views are called: the groups, and the views in none."""
    return set(groups) | set(views) - {view for group in groups.values() for view in group.views}
