"""Split protocols with a validation part: `random`, `spatial` (whole blocks of a grid), and those of plugins.

Two kinds have no validation part: a `ProbeProtocol` (`urbankit.evaluation.folds`), and `FewLabels`
(`urbankit.evaluation.few_labels`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from urbankit import registry
from urbankit.registry.component import Component, P, Use
from urbankit.utils.errors import UserError

if TYPE_CHECKING:
    from urbankit.city.raw_features import RawFeatures
    from urbankit.evaluation.tasks import Scored, TaskData
    from urbankit.recipe.schema import Evaluation

ALL = "all"
"""Every labelled region as one test part, of a city whose labels were not seen; see `urbankit.pipeline.transfer`."""

PARTS = ("train", "validation", "test")
FRACTIONS = (0.6, 0.2, 0.2)
BLOCKS = 10


@dataclass(frozen=True)
class Split:
    """Region indices of the three parts, int64, sorted and disjoint.

    A split is of the regions, not of one task's labels, so that tasks trained together share their test regions;
    `of` narrows it to the regions a task has labels for.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def of(self, labelled: NDArray[np.bool_], task: str = "the task", required: Sequence[str] = PARTS) -> Split:
        """The split among the labelled regions (bool [N]). Raises `UserError` if a required part is left empty."""
        parts = {part: getattr(self, part)[labelled[getattr(self, part)]] for part in PARTS}
        empty = [part for part in required if len(parts[part]) == 0]
        if empty:
            raise UserError(
                f"{task}: no labelled region falls into the {' or '.join(empty)} part of a split of "
                f"{len(labelled)} regions, of which {int(labelled.sum())} are labelled; "
                "more labelled regions, or another split protocol or seed, are needed"
            )
        return Split(**parts)

    def fold(self, n: int) -> NDArray[np.object_]:
        """The name of the part each of `n` regions is in, object [n]; None for a region in none."""
        names = np.full(n, None, dtype=object)
        for part in PARTS:
            names[getattr(self, part)] = part
        return names


def protocol_label(protocol: str) -> str:
    """Return the name of a protocol in tables and figures."""
    if protocol == ALL:
        return "all regions"
    return protocol if is_probe(protocol) or is_few(protocol) else f"{protocol} split"


class SplitProtocol(Component[P], ABC):
    """Divides the regions of a city into a training, a validation and a test part (`evaluation.splits`).

    Attributes:
        sampled: whether a seed draws the parts, so that results over seeds are a sample of splits; False for a probe.
        strictness: reports show predictions of the strictest protocol of a run; how far its test regions are from those
            that a model was trained on. `random` has 0, `spatial` 1.
        division: how it divides the regions, for the model card. `{evaluation.blocks}` puts in a value of the recipe's
            section `evaluation`; `{shares}` the fractions in percent.
        reading: a sentence for the report on how to read its results, with the same values.
        tested_on: the regions that it tests on in a few plain words, for the first screen of the report.
        needs_location: whether it reads the centres of the regions; without geometry they are NaN.
    """

    needs_location: ClassVar[bool] = True
    sampled: ClassVar[bool] = True
    strictness: ClassVar[int] = 0
    division: ClassVar[str] = ""
    reading: ClassVar[str] = ""
    tested_on: ClassVar[str] = ""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def split(self, xy: NDArray[np.float64], seed: int, fractions: Sequence[float], blocks: int) -> Split:
        """Return the split of one seed.

        Args:
            xy: centres of the regions in the city's projected CRS, in metres, [N, 2].
            seed: decides every random choice.
            fractions: shares of the regions in the three parts, which sum to 1 (`evaluation.fractions`).
            blocks: blocks along each side of a grid over the city (`evaluation.blocks`).

        Raises:
            UserError: the city cannot be divided so.
        """

    def groups(self, xy: NDArray[np.float64], blocks: int) -> NDArray[np.int64] | None:
        """Return the group of each region, int64 [N], if whole groups go to one part; None for single regions.

        A model that divides its training part into folds keeps these groups together, too.

        Args:
            xy: centres of the regions in metres, [N, 2].
            blocks: blocks along each side of a grid over the city (`evaluation.blocks`).
        """
        return None


class RandomSplit(SplitProtocol):
    """Regions drawn at random, the protocol of the UrbanMMCL paper."""

    needs_location = False

    division = (
        "regions in training, validation and test parts ({shares} %), so that a test region mostly has training "
        "regions beside it"
    )
    reading = "The random split lets a model interpolate between neighbours."
    tested_on = "regions drawn at random"

    def split(self, xy: NDArray[np.float64], seed: int, fractions: Sequence[float], blocks: int) -> Split:
        return random_split(len(xy), seed, fractions)


class SpatialSplit(SplitProtocol):
    """Whole blocks of a grid over the city, so that most neighbours of a test region are test regions too."""

    strictness = 1
    division = (
        "blocks of a {evaluation.blocks} × {evaluation.blocks} grid over the city, each wholly in one part "
        "({shares} %); what to expect of a part of the city without labels"
    )
    reading = "The spatial split tests on entire blocks of the city and is the most relevant one."
    tested_on = "entire parts of the city"

    def split(self, xy: NDArray[np.float64], seed: int, fractions: Sequence[float], blocks: int) -> Split:
        return spatial_split(xy, seed, blocks, fractions)

    def groups(self, xy: NDArray[np.float64], blocks: int) -> NDArray[np.int64]:
        return grid_blocks(xy, blocks)


class ProbeProtocol(SplitProtocol[P]):
    """Fits a model of its own to the frozen embedding instead of a head, so that it has no validation part."""

    sampled = False

    def split(self, xy: NDArray[np.float64], seed: int, fractions: Sequence[float], blocks: int) -> Split:
        raise UserError("this protocol has no validation part, which training needs: use random or spatial")

    @abstractmethod
    def check(self, tasks: Mapping[str, TaskData], evaluation: Evaluation) -> None:
        """Raise `UserError` for tasks that cannot be scored, before anything is trained."""

    @abstractmethod
    def score(
        self, model: str, embeddings: NDArray[np.float64], tasks: Mapping[str, TaskData], evaluation: Evaluation
    ) -> Scored:
        """Return the scores of frozen embeddings [N, d] on every task, under the name `model`."""

    @abstractmethod
    def score_floors(
        self, tasks: Mapping[str, TaskData], raw: RawFeatures, xy: NDArray[np.float64] | None, evaluation: Evaluation
    ) -> Scored:
        """Return the scores of the floors; `xy` are the centres of the regions [N, 2], None without geometry."""

    @abstractmethod
    def summary(self, evaluation: Evaluation) -> str:
        """Return what is fitted, for `urbankit run --dry-run`."""


class FewLabels(SplitProtocol[P]):
    """Trains on a few labelled regions, drawn many times, and tests on the other labelled regions.

    Everything is chosen by the drawn labels, so that there is no validation part (`evaluation.few`).
    """

    sampled = False

    def split(self, xy: NDArray[np.float64], seed: int, fractions: Sequence[float], blocks: int) -> Split:
        raise UserError("this protocol has no validation part, which training needs: use random or spatial")

    @abstractmethod
    def order(self, xy: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
        """Return all regions in the order in which one draw takes them, int64 [n]; the first k are its training part.

        Args:
            xy: centres of the labelled regions in metres, [n, 2], in the order of their ids.
            seed: decides every random choice.
        """


def probes(protocols: Iterable[str]) -> list[ProbeProtocol]:
    """The protocols that fit a model of their own."""
    return [registry.create("split", Use(name=protocol)) for protocol in protocols if is_probe(protocol)]


def needs_location(protocol: str) -> bool:
    """Whether a protocol reads the centres of the regions."""
    return bool(registry.get("split", protocol).needs_location)


def is_probe(protocol: str) -> bool:
    """Whether a protocol fits a model of its own to the frozen embedding."""
    return protocol in registry.names("split") and issubclass(registry.get("split", protocol), ProbeProtocol)


def is_few(protocol: str) -> bool:
    """Whether a protocol trains on a few labels, drawn many times."""
    return protocol in registry.names("split") and issubclass(registry.get("split", protocol), FewLabels)


def describe_protocol(protocol: str, evaluation: Evaluation) -> str:
    """How a protocol divides the regions, with the values of a recipe; empty for one that is not installed."""
    if protocol == ALL:
        return "no label of this city was seen; what predicts was fitted to another city's"
    if protocol not in registry.names("split"):
        return ""
    shares = "/".join(f"{100 * share:g}" for share in evaluation.fractions)
    return registry.get("split", protocol).division.format(shares=shares, evaluation=evaluation)


def how_to_read(protocol: str, evaluation: Evaluation) -> str:
    """How to read the results of a protocol, with the values of a recipe; empty where there is nothing to say."""
    if protocol not in registry.names("split"):
        return ""
    return registry.get("split", protocol).reading.format(evaluation=evaluation)


def tested_on(protocol: str) -> str:
    """Return the regions that a protocol tests on in plain words, or its name where it has none."""
    if protocol == ALL:
        return "all regions, by a model of another city"
    text = registry.get("split", protocol).tested_on if protocol in registry.names("split") else ""
    return text or f"regions held out ({protocol_label(protocol)})"


def is_sampled(protocol: str) -> bool:
    """Whether seeds draw the test regions of a protocol: not of a probe, of `all`, or of one that is not installed."""
    return protocol in registry.names("split") and registry.get("split", protocol).sampled


def strictest(protocols: Sequence[str]) -> str:
    """The strictest of some protocols; `all`, which is of another city, comes after those that are sampled."""
    sampled = [protocol for protocol in protocols if is_sampled(protocol)]
    if sampled:
        return max(sampled, key=lambda protocol: registry.get("split", protocol).strictness)
    return ALL if ALL in protocols else protocols[0]


def make_split(
    protocol: str,
    xy: NDArray[np.float64],
    seed: int,
    *,
    fractions: Sequence[float] = FRACTIONS,
    blocks: int = BLOCKS,
) -> Split:
    """The split by `protocol`, such as `random`, of the regions centred at `xy` (metres, [N, 2])."""
    return registry.create("split", Use(name=protocol)).split(xy, seed, fractions, blocks)


def split_groups(protocol: str, xy: NDArray[np.float64], blocks: int = BLOCKS) -> NDArray[np.int64] | None:
    """The group of each region that `protocol` keeps together, int64 [N]; None if it draws single regions."""
    return registry.create("split", Use(name=protocol)).groups(xy, blocks)


def sampled_protocols(*names: str | Sequence[str]) -> list[str]:
    """Return the protocols in `names`, texts or lists of them, that draw folds by a seed, the strictest last."""
    flat = dict.fromkeys(name for one in names for name in ([one] if isinstance(one, str) else one))
    return sorted(filter(is_sampled, flat), key=lambda name: registry.get("split", name).strictness)


def make_folds(
    protocol: str, xy: NDArray[np.float64], n_folds: int, seed: int, blocks: int = BLOCKS
) -> NDArray[np.int64]:
    """The fold of each region, int64 [n] from 0 to `n_folds` - 1: single regions, or the groups of the protocol.

    Args:
        protocol: The split protocol.
        xy: Centres of the regions in metres, [n, 2].
        n_folds: Number of folds.
        seed: Decides which regions or groups are in a fold.
        blocks: As in `SplitProtocol.split`.

    Raises:
        UserError: If there are fewer regions or groups than folds.
    """
    groups, generator = split_groups(protocol, xy, blocks), np.random.default_rng([seed, 2])
    occupied, group = np.unique(np.arange(len(xy)) if groups is None else groups, return_inverse=True)
    if len(occupied) < n_folds:
        of = f"the {len(xy)} labelled regions are in" if groups is not None else "there are"
        raise UserError(
            f"{of} {len(occupied)} {'groups' if groups is not None else 'labelled regions'}; {n_folds} folds of the "
            f"protocol {protocol} need as many: use fewer folds (predict.folds) or another protocol"
        )
    order, fold_of_group = generator.permutation(len(occupied)), np.empty(len(occupied), dtype=np.int64)
    if groups is None:
        fold_of_group[order] = np.arange(len(occupied)) % n_folds
    else:
        fold_of_group[order] = _assign(np.bincount(group)[order], np.full(n_folds, len(xy) / n_folds))
    return fold_of_group[group]


def random_split(n: int, seed: int, fractions: Sequence[float] = FRACTIONS) -> Split:
    """`n` regions shuffled by `seed` and cut at `fractions`; no part is empty."""
    _check(fractions, n, "regions")
    shuffled = np.random.default_rng([seed, 0]).permutation(n)
    train = int(np.clip(round(fractions[0] * n), 1, n - 2))
    validation = int(np.clip(round(fractions[1] * n), 1, n - train - 1))
    return Split(*(np.sort(part) for part in np.split(shuffled, [train, train + validation])))


def spatial_split(
    xy: NDArray[np.float64], seed: int, blocks: int = BLOCKS, fractions: Sequence[float] = FRACTIONS
) -> Split:
    """Blocks of a `blocks` x `blocks` grid over the bounding box of `xy` (metres, [N, 2]), each wholly in one part.

    The occupied blocks are taken in an order shuffled by `seed`; each goes to the part that then lacks most regions
    of its share. Then blocks move to another part, one at a time in that order, while that brings the numbers of
    regions nearer to `fractions`.
    """
    block = grid_blocks(xy, blocks)
    occupied, block = np.unique(block, return_inverse=True)
    _check(fractions, len(occupied), f"occupied blocks of a {blocks} x {blocks} grid")
    order = np.random.default_rng([seed, 1]).permutation(len(occupied))
    part_of_block = np.empty(len(occupied), dtype=np.int64)
    part_of_block[order] = _assign(np.bincount(block)[order], np.asarray(fractions, dtype=float) * len(xy))
    part_of_region = part_of_block[block]
    return Split(*(np.flatnonzero(part_of_region == part) for part in range(len(PARTS))))


def _assign(sizes: NDArray[np.int64], goals: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the part of each block: parts hold about `goals` regions, and at least one block each."""
    lacking = goals.copy()
    part_of = np.empty(len(sizes), dtype=np.int64)
    blocks = np.zeros(len(goals), dtype=np.int64)
    for i, size in enumerate(sizes):
        must_fill = len(sizes) - i == (blocks == 0).sum()
        part = int(np.argmax(np.where((blocks > 0) & must_fill, -np.inf, lacking)))
        part_of[i] = part
        lacking[part] -= size
        blocks[part] += 1
    moved = True
    while moved:
        moved = False
        for i, size in enumerate(sizes):
            source, target = part_of[i], int(np.argmax(lacking))
            # On this condition the move lowers the sum of squares of what the parts lack.
            if blocks[source] > 1 and lacking[target] - lacking[source] > size:
                part_of[i] = target
                lacking[source] += size
                lacking[target] -= size
                blocks[[source, target]] += (-1, 1)
                moved = True
    return part_of


def grid_blocks(xy: NDArray[np.float64], blocks: int = BLOCKS) -> NDArray[np.int64]:
    """The block (row * blocks + column) of a grid over the bounding box of `xy` that each point falls into, [N]."""
    low = xy.min(axis=0)
    extent = xy.max(axis=0) - low
    cell = (xy - low) / np.where(extent > 0, extent, 1) * blocks
    column, row = np.minimum(cell.astype(np.int64), blocks - 1).T
    return row * blocks + column


def _check(fractions: Sequence[float], n: int, what: str) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or not np.isclose(sum(fractions), 1):
        raise UserError(f"fractions of a split are three positive numbers that sum to 1, not {list(fractions)}")
    if n < len(PARTS):
        raise UserError(
            f"the city has {n} {what}; a split into {', '.join(PARTS)} needs at least {len(PARTS)}: "
            "use a city of more regions" + (" or the random protocol" if "blocks" in what else "")
        )
