"""The vectors of regions: the mean over the observations of a region (eq. 15), and a mask of regions with any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from urbankit.modalities.base import Batch, ModalityEncoder, hash_arrays, move, part
from urbankit.modalities.cache.store import FeatureStore
from urbankit.utils import processes
from urbankit.utils.device import autocast
from urbankit.utils.files import hash_json
from urbankit.utils.prefetch import in_background, prefetch
from urbankit.utils.progress import Progress, Stage


class RegionEncoder:
    """One modality's vectors by region.

    It holds no weights of its own: several region encoders may share one encoder, such as the captions of images from
    above and of street views.

    Args:
        encoder: the modality's encoder.
        of: the modality that the observations describe, passed on to `encoder.observations`.
        chunk: observations that go through the backbone at once where no gradient is needed.
        checkpoint_above: a training step with more observations than this uses gradient checkpointing: the backbone
            computes them in chunks, and again for the gradient. Memory then does not grow with their number.

    Attributes:
        present: bool Tensor[N], whether the region has an observation.
    """

    def __init__(
        self, encoder: ModalityEncoder, of: str | None = None, *, chunk: int = 128, checkpoint_above: int = 2048
    ) -> None:
        self.encoder, self.of, self.chunk, self.checkpoint_above = encoder, of, chunk, checkpoint_above
        self.region = np.asarray(encoder.observations(of), dtype=np.int64)
        if len(self.region) and (np.diff(self.region) < 0).any():
            raise ValueError(f"{type(encoder).__name__}.observations({of!r}) is not sorted by region")
        # Region i owns the rows start[i] to start[i + 1].
        self.start = torch.from_numpy(np.searchsorted(self.region, np.arange(encoder.n_regions + 1)))
        self.present = self.start[1:] > self.start[:-1]
        self._cached: tuple[Tensor, Tensor] | None = None
        self._prefetched: tuple[tuple, Future[_Read]] | None = None

    def encode(
        self,
        regions: Tensor,
        max_observations: int | None = None,
        generator: torch.Generator | None = None,
        augment: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The mean backbone vector over the observations of every region (eq. 15).

        Args:
            regions: int64 Tensor[B], indices of regions.
            max_observations: draw at most so many observations a region, without replacement; None takes all.
            generator: one number is drawn from it where anything is random (None: torch's own), which alone decides
                the observations and their augmentation.
            augment: whether the encoder augments the observations.

        Returns:
            Tensor[B, width] in float32 on the encoder's device, zero for a region without observations, and the mask
            bool Tensor[B], true where the region has any. If `keep` computed the vectors and the encoder is still
            frozen, these are returned and nothing is drawn.
        """
        if self._cached is not None and self.encoder.frozen:
            features, mask = self._cached
            regions = regions.to(features.device)
            return features[regions], mask[regions]
        read = self._take_prefetched(regions, max_observations, augment)
        if read is None:
            read = self._read(self._choose(regions, max_observations, generator, augment))
        with torch.no_grad() if self.encoder.frozen else nullcontext():
            return self._mean(read)

    def prefetch(
        self,
        regions: Tensor,
        max_observations: int | None = None,
        generator: torch.Generator | None = None,
        augment: bool = False,
    ) -> None:
        """Start reading for the next `encode` with these arguments in a thread; the generator is drawn from here.

        What `encode` then returns is the same as without this call, provided that both draw from the generator in the
        same order.
        """
        if self._cached is None or not self.encoder.frozen:
            choice = self._choose(regions, max_observations, generator, augment)
            self._prefetched = (_key(regions, max_observations, augment), in_background(self._read, choice))

    def keep(
        self,
        *,
        precision: torch.dtype | None = None,
        store: FeatureStore | None = None,
        progress: Progress | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The pooled backbone vectors of all regions, computed once: Tensor[N, width] float32 and mask bool Tensor[N].

        If the encoder is frozen, they are read from the feature store or written to it, and `encode` returns them from
        now on. Memory does not grow with the number of observations.

        Args:
            precision: the type that autocast computes in, such as `torch.bfloat16`; None computes in the weights' own.
            store: the default is the user's.
            progress: shows the observations read.
        """
        encoder, device = self.encoder, self.encoder.device
        store = FeatureStore() if store is None else store
        key = self.content(precision) if encoder.frozen else None
        tensors = None if key is None else processes.shared(lambda: store.get(key))
        if tensors is None:
            tensors = {"features": self._all(precision, progress), "mask": self.present}
            if key is not None and processes.is_first():
                store.put(key, tensors)
        result = tensors["features"].to(device), tensors["mask"].to(device)
        if encoder.frozen:
            self._cached = result
        return result

    def content(self, precision: torch.dtype | None) -> str:
        """The key of the pooled vectors in the feature store: a hash of everything that they are computed from."""
        encoder = self.encoder
        return hash_json(
            {
                "encoder": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
                "weights": encoder.weights_hash(),
                "observations": encoder.fingerprint(self.of),
                "computed_by": encoder.computed_by(),
                "regions": hash_arrays(self.start.numpy()),
                "precision": str(precision),
                "device": encoder.device.type,
            }
        )

    def chunks(self, begin: int = 0, end: int | None = None) -> list[np.ndarray]:
        """The observations `begin` to `end` in the pieces int64[n] that go through the backbone at once."""
        n = len(self.region) if end is None else end
        return [np.arange(first, min(first + self.chunk, n)) for first in range(begin, n, self.chunk)]

    @torch.no_grad()
    def vectors(
        self, precision: torch.dtype | None = None, chunks: list[np.ndarray] | None = None
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """The backbone's vectors of the `chunks` (by default, of all observations), without augmentation, one by one.

        Yields a chunk's rows int64[n] and Tensor[n, width] on the encoder's device. The next chunk is read meanwhile.
        """
        encoder, device = self.encoder, self.encoder.device
        chunks = self.chunks() if chunks is None else chunks
        training = encoder.training
        encoder.eval()
        try:
            for rows, batch in zip(chunks, prefetch(self._pinned, chunks), strict=True):
                with autocast(device, precision):
                    x = encoder(move(batch, device))
                yield rows, x
        finally:
            encoder.train(training)

    def mean_of(self, vectors: Iterable[tuple[np.ndarray, Tensor]]) -> Tensor:
        """The mean vector of every region, Tensor[N, width] float32, of rows and vectors of all observations."""
        device = self.encoder.device
        total = torch.zeros(self.encoder.n_regions, self.encoder.width, device=device)
        for rows, x in vectors:
            total.index_add_(0, torch.from_numpy(self.region[rows]).to(device), x.to(device).float())
        counts = (self.start[1:] - self.start[:-1]).to(device)
        return total / counts.clamp(min=1).unsqueeze(1)

    @property
    def name(self) -> str:
        """The modality, and what its observations describe."""
        return self.encoder.modality if self.of is None else f"{self.encoder.modality} of {self.of}"

    def release(self) -> None:
        """Drop what `keep` computed."""
        self._cached = None

    # Drawing and reading a batch

    def _choose(self, regions: Tensor, limit: int | None, generator: torch.Generator | None, augment: bool) -> _Choice:
        seed = None
        if limit is not None or augment:
            device = "cpu" if generator is None else generator.device
            seed = int(torch.randint(2**62, (), generator=generator, device=device))
        rows, owner, counts = self._rows(regions.cpu(), limit, seed)
        divided = self.encoder.independent and not processes.draws_in_forward(self.encoder)
        return _Choice(rows, owner, counts, seed if augment else None, processes.count() if divided else 1)

    def _rows(self, regions: Tensor, limit: int | None, seed: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of `regions`, at most `limit` each, the position in `regions` each belongs to, and their counts."""
        first, counts = self.start[regions], self.start[regions + 1] - self.start[regions]
        owner = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        rank = torch.arange(len(owner)) - before[owner]
        rows = first[owner] + rank
        if limit is None or not bool((counts > limit).any()):
            return rows, owner, counts
        # A random order within every region: sorting by owner + U[0, 1) shuffles the rows within each region.
        draw = torch.rand(len(owner), generator=torch.Generator().manual_seed(seed or 0), dtype=torch.float64)
        selected = torch.sort((owner + draw).argsort()[rank < limit]).values
        return rows[selected], owner[selected], counts.clamp(max=limit)

    def _read(self, choice: _Choice) -> _Read:
        """Return the choice with its observations if they fit in one step."""
        n = len(choice.rows)
        return _Read(choice, self._load(choice, 0, n) if 0 < n <= self._step() else None)

    def _take_prefetched(self, regions: Tensor, limit: int | None, augment: bool) -> _Read | None:
        if self._prefetched is None:
            return None
        key, future = self._prefetched
        if key != _key(regions, limit, augment):
            return None
        self._prefetched = None
        return future.result()

    def _load(self, choice: _Choice, begin: int, end: int) -> Batch:
        """The observations `begin` to `end` of the choice, or of several processes this one's share of them."""
        first, last = choice.own(begin, end)
        batch = self.encoder.load(choice.rows[first:last].numpy(), self.of)
        if choice.seed is None:
            return batch
        generator = torch.Generator().manual_seed((choice.seed + begin) % 2**63)
        if choice.whole(begin, end):
            return self.encoder.augment(batch, generator)
        # An observation is drawn the same variant as in a single process, where the others are in the batch, too.
        at = (torch.arange(end - begin) - (first - begin)).clamp(0, last - first - 1)
        among_others = {key: value[at] for key, value in batch.items()} if isinstance(batch, dict) else batch[at]
        return part(self.encoder.augment(among_others, generator), first - begin, last - begin)

    def _step(self) -> int:
        return self.chunk if self.encoder.frozen else max(self.chunk, self.checkpoint_above)

    # Computing vectors with the backbone

    def _mean(self, read: _Read) -> tuple[Tensor, Tensor]:
        choice, device = read.choice, self.encoder.device
        total = torch.zeros(len(choice.counts), self.encoder.width, device=device)
        owner = choice.owner.to(device)
        for begin, end, x in self._vectors(read):
            total = total.index_add(0, owner[begin:end], x.float())
        if choice.processes > 1:
            total = processes.total(total)
        counts = choice.counts.to(device)
        return total / counts.clamp(min=1).unsqueeze(1), counts > 0

    def _vectors(self, read: _Read) -> Iterator[tuple[int, int, Tensor]]:
        """The backbone's vectors in pieces: begin, end, Tensor[end - begin, width]."""
        choice, n = read.choice, len(read.choice.rows)
        differentiable = torch.is_grad_enabled() and not self.encoder.frozen
        if read.batch is not None:
            first, last = choice.own(0, n)
            step = last - first if differentiable else self.chunk
            for begin in range(first, last, step):
                end = min(begin + step, last)
                yield begin, end, self._forward(choice, (0, n), part(read.batch, begin - first, end - first))
            return
        pieces = [(begin, min(begin + self.chunk, n)) for begin in range(0, n, self.chunk)]
        if differentiable:
            for piece in pieces:
                yield *choice.own(*piece), checkpoint(self._load_and_forward, choice, piece, use_reentrant=False)
        else:
            batches = prefetch(lambda piece: self._load(choice, *piece), pieces)
            for piece, batch in zip(pieces, batches, strict=True):
                yield *choice.own(*piece), self._forward(choice, piece, batch)

    def _load_and_forward(self, choice: _Choice, piece: tuple[int, int]) -> Tensor:
        return self._forward(choice, piece, self._load(choice, *piece))

    def _forward(self, choice: _Choice, piece: tuple[int, int], batch: Batch) -> Tensor:
        """The backbone's vectors of what `_load` returned for the piece, or of a part of that."""
        batch = move(batch, self.encoder.device)
        if choice.processes == 1:
            return self.encoder(batch)
        if choice.whole(*piece):  # all processes encode it, and their vectors are summed
            return self.encoder(batch) / choice.processes
        with processes.norms_over_all(self.encoder):
            return self.encoder(batch)

    def _all(self, precision: torch.dtype | None, progress: Progress | None) -> Tensor:
        progress = Progress(quiet=True) if progress is None else progress
        with progress.stage(f"encode {self.name}", len(self.region)) as stage:
            vectors = self.vectors(precision, list(processes.share(self.chunks())))
            return processes.total(self.mean_of(with_progress(vectors, stage)))

    def _pinned(self, rows: np.ndarray) -> Batch:
        """Return the observations in pinned memory, from which a GPU copies while it computes."""
        batch = self.encoder.load(rows, self.of)
        if self.encoder.device.type != "cuda":
            return batch
        return {k: v.pin_memory() for k, v in batch.items()} if isinstance(batch, dict) else batch.pin_memory()


@dataclass(frozen=True)
class _Choice:
    """The rows of a batch, the position in the batch each belongs to, their counts, and the seed of augmentation.

    `processes` is the number of processes that divide the rows.
    """

    rows: Tensor
    owner: Tensor
    counts: Tensor
    seed: int | None
    processes: int = 1

    def whole(self, begin: int, end: int) -> bool:
        """Whether each process takes all rows `begin` to `end`: batch normalisation needs two in every process."""
        return end - begin < 2 * self.processes or self.processes == 1

    def own(self, begin: int, end: int) -> tuple[int, int]:
        """Where this process's share of the rows `begin` to `end` begins and ends."""
        if self.whole(begin, end):
            return begin, end
        first, last = processes.bounds(end - begin, self.processes)
        return begin + first, begin + last


@dataclass(frozen=True)
class _Read:
    """A choice, and its observations if they fit in one step."""

    choice: _Choice
    batch: Batch | None


def with_progress(vectors: Iterable[tuple[np.ndarray, Tensor]], stage: Stage) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield `vectors` and advance `stage` after each."""
    for rows, x in vectors:
        yield rows, x
        stage.advance(len(rows))


def _key(regions: Tensor, limit: int | None, augment: bool) -> tuple:
    return regions.cpu().numpy().tobytes(), limit, augment
