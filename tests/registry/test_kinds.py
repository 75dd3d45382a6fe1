"""A kind is one row: what is made from it."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from pydantic import Field

import urbankit
from urbankit import Use, hookimpl, registry
from urbankit.registry.kinds import Kind


class Ranker(urbankit.Component):
    """Puts the regions into an order."""

    def rank(self, values: list[float]) -> list[int]:
        raise NotImplementedError


class Largest(Ranker):
    """The regions of the largest values."""

    class Params(urbankit.Params):
        top: int = Field(2, ge=1, description="Regions to return.")

    def __init__(self, params: Params) -> None:
        self.params = params

    def rank(self, values: list[float]) -> list[int]:
        return sorted(range(len(values)), key=values.__getitem__, reverse=True)[: self.params.top]


@pytest.fixture
def ranker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind that urbankit does not have, and a plugin with a component of it."""
    kind = Kind("ranker", f"{__name__}.Ranker", ("rank",), "put the regions into an order")
    monkeypatch.setitem(registry.KINDS, "ranker", kind)
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Ranker=Ranker, Largest=Largest))
    register = hookimpl(lambda register: register("largest", f"{__name__}:Largest", "the largest values"))
    registry.add_plugin(SimpleNamespace(register_rankers=register), "ranking")
    yield
    registry.reload()


def test_a_component_of_a_new_kind_is_created(ranker):
    assert registry.names("ranker") == ["largest"]
    assert registry.create("ranker", Use(name="largest", top=1)).rank([1.0, 3.0, 2.0]) == [1]
    with pytest.raises(urbankit.UserError, match=r"unknown ranker 'larges'. Did you mean 'largest'\?"):
        registry.get("ranker", "larges")


def test_a_class_without_the_methods_of_its_kind_is_refused(ranker, monkeypatch):
    monkeypatch.setattr(Largest, "rank", None)
    with pytest.raises(urbankit.UserError, match=r"lacks what every ranker has: rank; write it as .*Ranker"):
        registry.get("ranker", "largest")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["list-components", "--kind", "ranker"], "the largest values"),
        (["show", "ranker", "largest"], "Regions to return."),
    ],
)
def test_the_command_line_shows_a_new_kind(ranker, cli, arguments, line):
    assert line in cli(*arguments).stdout


def test_installed_known_packages_register_their_known_components():
    entries = [entry for entry in registry.entries() if entry.distribution.startswith("urbankit-")]
    for entry in entries:
        assert registry.known_package(entry.kind, entry.name) == entry.distribution
