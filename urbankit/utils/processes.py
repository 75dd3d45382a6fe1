"""Several processes that pre-train one method together, as `torchrun` and `accelerate launch` start them.

Every process has the whole method and goes through the same mini-batches with the same random numbers. They divide the
observations of a mini-batch, whose vectors take most of the time, and sum the results (`total`). Each then computes the
losses of the whole mini-batch, so a method need not know about processes.

Outside `together` the functions behave as in a single process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from urbankit.utils.errors import RunError, UserError

T = TypeVar("T")

TIMEOUT = timedelta(days=7)
"""How long a process waits for the others: the first prepares the city alone."""

SAME = 1e-3
"""The relative difference of losses above which processes do not compute the same."""

LOST = (
    "another process of this run ended without a message; the launcher says why, for example which signal killed it. "
    "Repeat the command with --resume."
)


@dataclass
class _Joined:
    """The processes of this run: which one this is, and what they say to each other through."""

    rank: int
    count: int
    store: Any
    group: Any
    together: bool = False
    failed: bool = False


_joined: _Joined | None = None


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the other processes that a launcher started with this one.

    Raises:
        UserError: They cannot be reached.
    """
    global _joined
    try:
        store, rank, count = next(dist.rendezvous("env://", timeout=TIMEOUT))
        if torch.cuda.is_available():
            torch.cuda.set_device(_local_rank() % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
        _joined = _Joined(rank, count, dist.PrefixStore("urbankit", store), dist.new_group(backend=backend))
    except (RuntimeError, ValueError, OSError) as error:
        message = f"the processes that a launcher started do not reach each other ({str(error).splitlines()[0]})"
        raise UserError(f"{message}. Start them with torchrun, or unset WORLD_SIZE.") from None
    try:
        yield
    finally:
        if _joined is not None and not _joined.failed:
            leave()


def leave() -> None:
    """Go on without the other processes."""
    global _joined
    dist.destroy_process_group()
    _joined = None


@contextmanager
def together() -> Iterator[None]:
    """Within the block the processes divide the work; all of them must do the same in it."""
    assert _joined is not None
    _joined.together = True
    try:
        yield
    finally:
        _joined.together = False


def in_several() -> bool:
    """Whether this process is one of several that are `joined`."""
    return _joined is not None


def count() -> int:
    """The number of processes that divide the work."""
    return _joined.count if _joined is not None and _joined.together else 1


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return _joined is None or _joined.rank == 0


def reports_failure() -> bool:
    """Whether this process, which ends with an error, should tell the user: the one that fails first does."""
    if _joined is None:
        return os.environ.get("RANK", "0") == "0"
    _joined.failed = True
    try:
        return int(_joined.store.add("failed", 1)) == 1
    except RuntimeError:  # the process that holds the store has ended
        return False


def of_first(value: Callable[[], T]) -> T:
    """Return in all processes the value of the first; in the others nothing is called."""
    if _joined is None:
        return value()
    held = [value() if _joined.rank == 0 else None]
    with _connection():
        dist.broadcast_object_list(held, src=0, group=_joined.group, device=torch.device("cpu"))
    return held[0]  # type: ignore[return-value]


def shared(value: Callable[[], T]) -> T:
    """As `of_first` where the processes work together, else the value itself."""
    return of_first(value) if count() > 1 else value()


def in_any(flag: bool) -> bool:
    """Whether the flag is set in any of the processes that work together."""
    return bool(_largest(torch.tensor([float(flag)]))[0]) if count() > 1 else flag


def check_same(value: float, what: str) -> None:
    """Raise `RunError` if the processes have different values, because something in them does not follow the seed."""
    if count() == 1:
        return
    largest, negative = _largest(torch.tensor([value, -value], dtype=torch.float64)).tolist()
    if largest + negative > SAME * max(abs(largest), abs(negative)):
        raise RunError(
            f"{what} is {-negative:.6g} in one process and {largest:.6g} in another, so the method draws random "
            "numbers that do not follow torch's seed. Run it in a single process."
        )


def share(items: Sequence[T]) -> Sequence[T]:
    """The consecutive items that are this process's part of the work."""
    begin, end = bounds(len(items), count())
    return items[begin:end]


def bounds(n: int, parts: int) -> tuple[int, int]:
    """Where this process's share of n items begins and ends, if so many processes divide them."""
    rank = _joined.rank if _joined is not None and parts > 1 else 0
    return n * rank // parts, n * (rank + 1) // parts


def total(x: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes; all of them then compute the same with it.

    Its gradient is the same in all processes. `data_parallel` averages gradients while the parts of a sum add up, so
    the gradient is multiplied by the number of processes.
    """
    return _Total.apply(x) if count() > 1 else x


def data_parallel(model: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return `model.loss`, whose backward pass averages the gradients of all processes.

    All processes take the weights and buffers of the first.

    Raises:
        UserError: This machine has fewer GPUs than processes.
    """
    if count() == 1:
        return model.loss  # type: ignore[return-value]
    if next(model.parameters()).is_cuda and _local_rank() >= torch.cuda.device_count():
        gpus = torch.cuda.device_count()
        raise UserError(
            f"this machine has {gpus} GPUs and more processes. Start torchrun with --nproc-per-node {gpus}."
        )
    with _connection():
        step = DistributedDataParallel(_Step(model), forward_sync_buffers=False, find_unused_parameters=True)

    def loss(regions: Tensor) -> dict[str, Tensor]:
        optimised, losses = step(regions)
        return losses | {"total": optimised}

    return loss


def backward(loss: Tensor) -> None:
    """Compute the gradients of a loss of `data_parallel`."""
    with _connection():
        loss.backward()


@contextmanager
def norms_over_all(module: nn.Module) -> Iterator[None]:
    """Within the block, batch normalisation in training uses the observations of all processes.

    `torch.nn.SyncBatchNorm` does so on GPUs only.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.training]
    for norm in norms:
        norm.forward = partial(_normalise, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def draws_in_forward(module: nn.Module) -> bool:
    """Whether a part of the module in training mode has dropout."""
    return any(
        isinstance(value, float) and value > 0
        for part in module.modules()
        if part.training
        for name, value in vars(part).items()
        if "drop" in name or (name == "p" and "drop" in type(part).__name__.lower())
    )


class _Step(nn.Module):
    """The loss as a forward pass, which `DistributedDataParallel` needs; only `total` keeps its gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, regions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self.model.loss(regions)  # type: ignore[operator]
        return losses["total"], {name: value.detach() for name, value in losses.items()}


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * count()


class _TotalOfParts(torch.autograd.Function):
    """The sum where every process goes on with its own part: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sum(grad)


def _normalise(norm: _BatchNorm, x: Tensor) -> Tensor:
    """As `norm` normalises `x` [n, channels, ...] in training, with mean and variance over all processes."""
    values = x.float()
    across = [0, *range(2, x.dim())]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    n = _sum(torch.tensor(x.numel() / x.shape[1], device=x.device))
    mean = _TotalOfParts.apply(values.sum(dim=across)) / n
    centred = values - mean.view(shape)
    variance = _TotalOfParts.apply(centred.square().sum(dim=across)) / n
    if norm.num_batches_tracked is not None and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(variance * n / (n - 1), momentum)
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    return (y * norm.weight.view(shape) + norm.bias.view(shape) if norm.affine else y).to(x.dtype)


def _sum(x: Tensor) -> Tensor:
    result = x.detach().clone(memory_format=torch.contiguous_format)
    with _connection():
        dist.all_reduce(result, group=_group())
    return result


def _largest(values: Tensor) -> Tensor:
    with _connection():
        dist.all_reduce(values, op=dist.ReduceOp.MAX, group=_group())
    return values


def _group() -> Any:
    assert _joined is not None
    return _joined.group


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def _connection() -> Iterator[None]:
    """Say which of torch's errors only mean that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if re.search(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|timed out", str(error), re.IGNORECASE):
            raise RunError(LOST) from error
        raise
