"""Groups of modalities that are joined into one before they are aligned with others; beyond the UrbanMMCL paper."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit import registry
from urbankit.fusion.base import Fusion
from urbankit.registry.component import Name, Params, Use, uses
from urbankit.utils.errors import Problems, suggest
from urbankit.utils.torch_modules import NamedModules


class ModalityGroup(Params):
    """Modalities that are joined into one."""

    modalities: list[Name] = Field(min_length=1, description="The modalities of the recipe that are joined.")
    fusion: Use = uses("fusion", "add", "What joins the vectors of the modalities into that of the group.")


class ModalityGroups(nn.Module):
    """Joins the vectors of the modalities of each group into one, for the alignments that name the group.

    Args:
        groups: the groups by name.
        available: the modalities that the method has. Others are left out of their group, and empty groups are dropped.
        dim: width of the vectors.

    Attributes:
        members: the modalities of each group.

    Raises:
        UserError: a fusion does not give vectors of `dim` numbers.
    """

    def __init__(self, groups: Mapping[str, ModalityGroup], available: Container[str], dim: int) -> None:
        super().__init__()
        self.members = {
            name: names
            for name, group in groups.items()
            if (names := [modality for modality in group.modalities if modality in available])
        }
        self.fusions: NamedModules[Fusion] = NamedModules(
            {
                name: registry.create("fusion", groups[name].fusion, [dim] * len(names), dim)
                for name, names in self.members.items()
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
            name: self.fusions[name]([vectors[m] for m in names], [present[m] for m in names])
            for name, names in self.members.items()
        }
        return joined, {
            name: torch.stack([present[m] for m in names]).any(dim=0) for name, names in self.members.items()
        }


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
