"""The conformance checks of a dataset."""

from __future__ import annotations

from collections.abc import Iterator

from urbankit.city.datasets.base import DatasetParams
from urbankit.city.spec import CitySpec
from urbankit.testing.candidate import Candidate, Check


def has_a_key_of_its_own(candidate: Candidate) -> Iterator[str]:
    """Its name is a key of city files that nothing else has."""
    if candidate.name in CitySpec.model_fields:
        yield f"'{candidate.name}' is a key of city files already; register it by another name"


def takes_keys_of_a_city_file(candidate: Candidate) -> Iterator[str]:
    """Its parameters are those of datasets, whose field `short` may be given alone."""
    params = candidate.component.Params
    if not issubclass(params, DatasetParams):
        yield "its Params do not derive from urbankit.city.datasets.base.DatasetParams"
    elif params.short not in params.model_fields:
        yield f"`short` of its Params is '{params.short}', which is no field; name the field of the file"


CHECKS: tuple[Check, ...] = (has_a_key_of_its_own, takes_keys_of_a_city_file)
