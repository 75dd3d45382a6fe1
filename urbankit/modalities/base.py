"""What a modality encoder is: it turns the observations of one modality into vectors of one width."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self, TypeVar

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource
from urbankit.registry.component import Component, Params
from urbankit.registry.contract import check_tensor
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json

Batch = Tensor | dict[str, Tensor]


class Tokens(NamedTuple):
    """The output of a backbone for n observations: one vector for each of them, and one for each of its tokens.

    `vector` is Tensor[n, width], `tokens` Tensor[n, L, width]. `present` bool Tensor[n, L] is false for padding.
    """

    vector: Tensor
    tokens: Tensor
    present: Tensor


class EncoderParams(Params):
    """The parameters that every modality encoder has."""

    trainable: Literal["all", "projection", "none"] = Field(
        "all",
        description="What is trained: backbone and projection, only the projection, or nothing. Outputs of a frozen "
        "backbone are computed once and stored.",
    )


E = TypeVar("E", bound=Params, default=EncoderParams)
B = TypeVar("B", bound=Batch, default=Batch)


class ModalityEncoder(nn.Module, Component[E], Generic[E, B], ABC):
    """Encodes the observations of one modality of one city (paper section 3.3.2).

    An observation is one image, caption or point; it belongs to one region, and a region may have any number of them,
    also none. Rows are numbered in the order of `observations(of)`, which is sorted by region. The *backbone*
    (`forward`) gives each observation a vector of `width` numbers, the *projection* (`project`) maps such vectors to
    the `dim` numbers of the space that all modalities share.

    Write an encoder by setting up the backbone in `__init__`, calling `self.connect(width)` last, and giving
    `observations`, `load` and `forward`. For one row of numbers per region, `urbankit.modalities.features` is shorter.
    `ModalityEncoder[MyParams, Tensor]` gives type checkers the parameters and what a batch is.

    Args:
        params: the encoder's validated `Params`.
        city: the prepared city; only its reader API is used.
        modality: the modality's name in the recipe.
        dim: width of the shared space.

    Raises:
        UserError: the city lacks what the encoder reads, or a parameter does not fit the city.
    """

    Params: ClassVar[type[Any]] = EncoderParams
    width: int
    statistics: ClassVar[tuple[str, ...]] = ()
    """Buffers that describe the city's observations as a whole, such as means of bands."""
    bound: ClassVar[tuple[str, ...]] = ()
    """Buffers that are valid only in the city that they were computed in, such as its centre."""
    training_only: ClassVar[tuple[str, ...]] = ("trainable", "augment", "dropout")
    """Parameters that do not change the outputs of a frozen backbone, or change them only through its weights."""
    describes_by: ClassVar[Literal["text", "location"] | None] = None
    """How its observations describe those of other modalities: by captions, or by where they were made. A method may
    align every other modality with such a modality (paper, eq. 14); None for observations of their own."""
    free_in_transfer: ClassVar[frozenset[str]] = frozenset({"source", "trainable", "augment", "dropout"})
    """Parameters that may differ from those of the run that weights are taken from: where the city has what the encoder
    reads, and how it is trained."""
    independent: ClassVar[bool] = False
    """Whether the vector of an observation depends on no other observation, except through batch normalisation. Several
    processes then divide the observations of a mini-batch; otherwise each of them encodes all."""
    notes: Sequence[str] = ()
    """What the run should note about the encoder's data in the city."""

    def __init__(self, params: E, city: City, modality: str, dim: int) -> None:
        super().__init__()
        self.params, self.modality, self.dim = params, modality, dim
        self.n_regions: int = city.n_regions
        self.city_hash: str = city.content_hash
        reason = self.requires(params, city, modality)
        if reason is not None:
            raise UserError(Problem(reason, key=f"modalities.{modality}"))

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        """Return why this encoder cannot be built on `city`; None if it can."""
        return None

    @classmethod
    def untransferable(cls, params: Any) -> str | None:
        """Return why weights trained on one city are of no use in another; None if they are."""
        return None

    @classmethod
    def local(cls, params: Any) -> str | None:
        """Return why its vectors mean nothing in a city that the weights were not trained on; None if they do.

        A model that is applied to another city leaves such a modality out.
        """
        return cls.untransferable(params)

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource] | None:
        """Return what the floors read of this modality: its numbers before any learning.

        `urbankit.city.raw_features` has the sources of a city (`images`, `captions`, `table` and so on), and a
        `RawSource` of one's own computes any other numbers.

        Args:
            params: the encoder's validated `Params`.
            city: a city for which `requires` returned None.
            modality: the modality's name in the recipe.

        Returns:
            The sources; an empty list if the encoder reads only locations and areas, which the floors always have.
            None if they are not declared: the run then notes that its floors lack the data of the encoder.
        """
        return None

    @classmethod
    def city_features(cls, params: Any, city: City, modality: str) -> dict[str, float]:
        """Return means over the regions of a city, in units that are the same in every city; none by default.

        A model of many cities predicts the level of a target in a new city from these numbers.

        Args:
            params: the encoder's validated `Params`.
            city: a city for which `requires` returned None.
            modality: the modality's name in the recipe.

        Returns:
            Numbers by name.
        """
        return {}

    def connect(self, width: int, projection: nn.Module | None = None) -> None:
        """Fix the backbone's width, add the projection, and freeze what `trainable` excludes, last in `__init__`.

        The projection is linear without a bias, as in CLIP, unless one is given.
        """
        self.width = width
        self.register_forward_hook(ModalityEncoder._check)
        self.projection = nn.Linear(width, self.dim, bias=False) if projection is None else projection
        trainable = getattr(self.params, "trainable", "all")
        if trainable != "all":
            self.requires_grad_(False)
            self.projection.requires_grad_(trainable != "none")
            self.unfreeze(trainable)
        self.train(self.training)

    def _check(self, arguments: tuple[Any, ...], vectors: Any) -> None:
        check_tensor(self, "forward()", vectors, None, self.width)

    def unfreeze(self, trainable: str) -> None:
        """Unfreeze what `trainable` names, except `all`, `projection` and `none`, which every encoder has."""

    @abstractmethod
    def observations(self, of: str | None = None) -> np.ndarray:
        """The region index of every observation, sorted: int64[M].

        `of` names the modality that the observations describe, where that is asked: the captions *of* `rsi`, the
        locations *of* the `svi` points. None means the modality's own observations.
        """

    def describes(self, modality: str) -> bool:
        """Return whether its observations describe those of another modality, `observations(of=modality)`."""
        return False

    @abstractmethod
    def load(self, rows: np.ndarray, of: str | None = None) -> B:
        """Return the observations `rows` (int64[n], numbered as in `observations(of)`) on the CPU, in a thread."""

    def augment(self, batch: B, generator: torch.Generator) -> B:
        """Return a random variant of what `load` returned, drawn from `generator` only; called in threads."""
        return batch

    @abstractmethod
    def forward(self, batch: B) -> Tensor:
        """Return the backbone's vectors, Tensor[n, width], of a batch that `load` returned, on the encoder's device."""

    def tokens(self, batch: B) -> Tokens:
        """Return the vectors of `forward` and those of the tokens: patches of an image, words of a caption.

        An encoder without tokens returns each observation as its only token.
        """
        vector = self(batch)
        return Tokens(vector, vector.unsqueeze(1), torch.ones(len(vector), 1, dtype=torch.bool, device=vector.device))

    def project(self, x: Tensor) -> Tensor:
        """Project backbone vectors Tensor[..., width] to the shared space, Tensor[..., dim]."""
        return self.projection(x)

    def columns_read(self) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
        """Numbers that a run compares with the targets: float64[M, F], the region of each row, the F names; or None."""
        return None

    def fingerprint(self, of: str | None = None) -> str:
        """Return a hash of everything that `load(_, of)` can return: the key of stored outputs."""
        return hash_json([self.city_hash, self.modality, of])

    def computed_by(self) -> dict[str, Any]:
        """Return what the outputs of a frozen backbone depend on beside the weights and the observations, for JSON."""
        return self.params.model_dump(mode="json", exclude=set(self.training_only))

    def loaded(self) -> dict[str, Any] | None:
        """Return which pretrained weights were loaded, for the manifest: `name`, `commit`, `weights`; None for none."""
        return None

    def carried(
        self, state: dict[str, Tensor], statistics: Literal["source", "own"]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Adapt the state of the same encoder, trained on another city, to this city.

        Args:
            state: the state of the source city's encoder, which has the same parameters.
            statistics: whether the buffers named in `self.statistics` come from the source city or from this one.

        Returns:
            The state to load, and notes for the run.

        Raises:
            ValueError: the state does not fit; the message says why.
        """
        current = self.state_dict()
        of_this_city = {*self.bound, *(self.statistics if statistics == "own" else ())}
        state = {**state, **{name: current[name] for name in of_this_city}}
        names = [name for name in {**current, **state} if not name.endswith("_extra_state")]
        shapes = {name: [list(s[name].shape) if name in s else None for s in (state, current)] for name in names}
        differing = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
        if differing:
            name, (source, target) = next(iter(differing.items()))
            more = f"; {len(differing) - 1} more differ" if len(differing) > 1 else ""
            raise ValueError(
                f"weights '{name}' have the shape {source} in the source city and {target} in this one{more}"
            )
        return state, []

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters of `backbone` and `projection`, for separate learning rates."""
        projection = {id(p) for p in self.projection.parameters()}
        trainable = [p for p in self.parameters() if p.requires_grad]
        return {
            "backbone": [p for p in trainable if id(p) not in projection],
            "projection": [p for p in trainable if id(p) in projection],
        }

    @property
    def frozen(self) -> bool:
        """Whether nothing in the backbone is trained, so that its outputs can be stored."""
        return not self.parts()["backbone"]

    @property
    def device(self) -> torch.device:
        """The device of its parameters and buffers; the CPU if it has none."""
        return next((t.device for t in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def weights_hash(self) -> str:
        """SHA-256 of the backbone's parameters and buffers: names, shapes, types and bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted((*self.named_parameters(), *self.named_buffers()), key=lambda pair: pair[0]):
            if not name.startswith("projection."):
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Set the mode as torch does, except that frozen parts stay in evaluation mode, without dropout."""
        super().train(mode)
        if mode and hasattr(self, "projection"):
            for name, child in self.named_children():
                if name != "projection":
                    _still(child, self.frozen)
        return self


def _still(module: nn.Module, frozen: bool) -> None:
    """Put those parts of `module` into evaluation mode that have weights, none of which can change."""
    weights = list(module.parameters())
    if frozen or (weights and not any(p.requires_grad for p in weights)):
        module.eval()
        return
    for child in module.children():
        _still(child, False)


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`."""
    if isinstance(batch, dict):
        return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
    return batch.to(device, non_blocking=True)


def part(batch: Batch, begin: int, end: int) -> Batch:
    """Observations `begin` to `end` of the batch."""
    return {key: value[begin:end] for key, value in batch.items()} if isinstance(batch, dict) else batch[begin:end]


def hash_arrays(*arrays: np.ndarray) -> str:
    """SHA-256 of the arrays' shapes, types and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
