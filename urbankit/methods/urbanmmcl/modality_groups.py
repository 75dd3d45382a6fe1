"""Groups of modalities that are joined into one before they are aligned with others; beyond the UrbanMMCL paper."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pydantic import Field
from torch import Tensor, nn

from urbankit import registry
from urbankit.fusion.base import Fusion
from urbankit.methods.urbanmmcl.joining import any_present, join_vectors
from urbankit.registry.component import Name, Params, Use, uses
from urbankit.utils.errors import Problems, suggest
from urbankit.utils.torch_modules import NamedModules


class ModalityGroup(Params):
    """Modalities that are joined into one."""

    modalities: list[Name] = Field(min_length=1, description="The modalities of the recipe that are joined.")
    fusion: Use = uses("fusion", "add", "What joins the vectors of the modalities into that of the group.")


def group_members(groups: Mapping[str, ModalityGroup], modalities: Collection[str]) -> dict[str, list[str]]:
    """Return those of `modalities` that are in each group; a group without any is left out."""
    members = {name: [one for one in group.modalities if one in modalities] for name, group in groups.items()}
    return {name: names for name, names in members.items() if names}


class ModalityGroups(nn.Module):
    """Joins the vectors of the modalities of each group into one, for the alignments that name the group.

    Args:
        groups: the groups by name.
        members: the modalities of each group that is joined, at least one each.
        dim: width of the vectors.

    Raises:
        UserError: a fusion does not give vectors of `dim` numbers.
    """

    def __init__(self, groups: Mapping[str, ModalityGroup], members: Mapping[str, list[str]], dim: int) -> None:
        super().__init__()
        self.members = dict(members)
        self.fusions: NamedModules[Fusion] = NamedModules(
            {
                name: registry.create("fusion", groups[name].fusion, [dim] * len(names), dim)
                for name, names in members.items()
            }
        )
        problems = Problems()
        for name, fusion in self.fusions.items():
            if fusion.out_dim != dim:
                message = (
                    f"{groups[name].fusion.name} gives vectors of {fusion.out_dim} numbers, but alignments compare "
                    f"vectors of {dim}; use a fusion that keeps the width, such as add or mlp"
                )
                problems.add(message, key=f"method.modality_groups.{name}.fusion")
        problems.raise_if_any()

    def forward(
        self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the vectors [B, dim] of the groups, and which regions have any of the modalities, bool [B].

        Args:
            vectors: by modality, [B, dim].
            present: by modality, which regions have any observation, bool [B].
        """
        joined = {
            name: join_vectors(self.fusions[name], names, vectors, present) for name, names in self.members.items()
        }
        return joined, {name: any_present(names, present) for name, names in self.members.items()}


def modality_group_mistakes(groups: Mapping[str, ModalityGroup], modalities: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes of `groups` in a recipe with these modalities, as (key, message)."""
    for name, group in groups.items():
        if name in modalities:
            yield name, f"a modality is called '{name}' already; give the group another name"
        for index, modality in enumerate(group.modalities):
            key = f"{name}.modalities.{index}"
            if modality not in modalities:
                yield key, f"the recipe has no modality '{modality}'.{suggest(modality, modalities)}"
            elif modality in group.modalities[:index]:
                yield key, f"'{modality}' is twice in the group"
