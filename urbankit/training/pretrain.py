"""Pre-training: minimises the losses of a method over mini-batches of regions, without any label."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from urbankit.evaluation.retrieval import MOST_REGIONS, Recalled, retrieve
from urbankit.methods.base import Method
from urbankit.recipe.training_schema import Pretrain
from urbankit.training import checkpoint
from urbankit.training.loop import Loop, Training
from urbankit.training.losses import Losses, MeanLosses
from urbankit.training.optimizer import build_optimizer
from urbankit.training.seeds import epoch_seed, reseed
from urbankit.training.supervised import SupervisedMethod
from urbankit.utils import processes
from urbankit.utils.progress import Progress


@torch.no_grad()
def held_out_losses(method: Method, batches: Iterable[Tensor], seed: int) -> dict[str, tuple[float, float]]:
    """Return by name a method's loss on held-out regions, and that of a model that learned nothing.

    Args:
        method: the method, in evaluation mode.
        batches: the held-out regions, int64 [B] each.
        seed: seed of the training.
    """
    reseed(epoch_seed(seed, "held out", 1))
    losses, references = MeanLosses(), MeanLosses()
    with method.unchanged():
        for batch in batches:
            measured = method.held_out(batch)
            losses.add({name: term.loss for name, term in measured.items()}, len(batch))
            references.add({name: term.reference for name, term in measured.items()}, len(batch))
    of_references = references.values()
    return {name: (loss, of_references[name]) for name, loss in losses.values().items()}


@torch.no_grad()
def held_out_retrieval(method: Method, regions: Tensor, member: Tensor, seed: int) -> dict[tuple[str, str], Recalled]:
    """Return by (block, other block) how well the vectors of a region find each other; the method stays as it is.

    Args:
        method: the method, prepared.
        regions: the held-out regions, int64 [n]. Of more than `MOST_REGIONS`, so many are drawn.
        member: the city of each region of the method, int64 [N].
        seed: seed of the training.
    """
    drawn = torch.randperm(len(regions), generator=torch.Generator().manual_seed(epoch_seed(seed, "held out", 2)))
    regions = regions[drawn[:MOST_REGIONS].sort().values.to(regions.device)]
    training = method.training
    method.eval()
    with torch.random.fork_rng():
        reseed(epoch_seed(seed, "held out", 3))
        matched = method.matched(regions) if len(regions) else []
    method.train(training)
    results = {}
    for pair in matched:
        vectors, others = (x[pair.present].float().cpu().numpy() for x in (pair.vectors, pair.others))
        result = retrieve(vectors, others, member[regions[pair.present].cpu()].numpy())
        if result is not None:
            results[pair.block, pair.other] = result
    return results


def pretrain(
    method: Method,
    settings: Pretrain,
    n_regions: int,
    seed: int,
    folder: Path | None,
    progress: Progress,
    *,
    held_out_regions: Tensor | None = None,
    member: Tensor | None = None,
    supervised: SupervisedMethod | None = None,
    record: Callable[[list[dict[str, Any]]], None] | None = None,
) -> Training:
    """Train `method` and leave its best state in it.

    A share of the regions (`settings.validation_share`), or `held_out_regions`, is held out of the mini-batches; the
    loss over them decides when to stop and which state is best. Several processes that are `together` call this with
    the same arguments; the first writes the checkpoints.

    Args:
        method: the method, on the device that it trains on.
        settings: the recipe's section `pretrain`.
        n_regions: regions of the city.
        seed: seed of the training.
        folder: where the checkpoints `last` and `best` are written; None writes none.
        progress: shows the epochs.
        held_out_regions: the regions of the cities in `settings.hold_out`, int64; None draws the share.
        member: the city of each region, int64 [N]; None if there is only one.
        supervised: the method with heads that learn from labels; None is self-supervised.
        record: gets the rows of the history, those of each epoch after it.
    """
    device = next(method.parameters()).device
    model = method if supervised is None else supervised.to(device)
    if held_out_regions is None:
        order = torch.randperm(n_regions, generator=torch.Generator().manual_seed(epoch_seed(seed, "held out", 0)))
        n_validation = min(round(settings.validation_share * n_regions), n_regions - 1)
        held_out, trained_on = order[:n_validation].sort().values.to(device), order[n_validation:].sort().values
    else:
        n_validation = len(held_out_regions)
        others = torch.ones(n_regions, dtype=torch.bool).index_fill(0, held_out_regions, False)
        held_out, trained_on = held_out_regions.to(device), others.nonzero().squeeze(1)
    optimizer = build_optimizer(
        model.parts(),
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        learning_rates=settings.learning_rates,
        weight_decay=settings.weight_decay,
        key="pretrain",
    )

    folder = folder if processes.is_first() else None
    loss_of = processes.data_parallel(model)
    clipped = [*model.parts().values()] if settings.clip_by == "part" else [[*model.parameters()]]

    def train_epoch() -> Losses:
        mean = MeanLosses()
        method.refresh()
        shuffled = trained_on[torch.randperm(len(trained_on))]
        batches = [batch.sort().values.to(device) for batch in shuffled.split(settings.batch_size)]
        method.prefetch(batches[0])
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            losses = loss_of(batch)
            if following is not None:
                method.prefetch(following)
            optimizer.zero_grad(set_to_none=True)
            processes.backward(losses["total"])
            if settings.gradient_clip:
                for parameters in clipped:
                    torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            optimizer.step()
            mean.add(losses, len(batch))
        return mean.values()

    def validate() -> Losses:
        mean = MeanLosses()
        if n_validation:
            method.refresh()
        for batch in held_out.split(settings.batch_size) if n_validation else ():
            mean.add(model.loss(batch), len(batch))
        return mean.values()

    loop = Loop(
        "pretrain",
        model,
        optimizer,
        settings.epochs,
        settings.patience if n_validation else 0,
        seed,
        schedule=settings.schedule,
        last=folder and folder / "last.safetensors",
        record=record,
    )
    member = torch.zeros(n_regions, dtype=torch.int64) if member is None else member
    method.prepare()
    before = held_out_retrieval(method, held_out, member, seed)
    with progress.stage("pretrain", total=settings.epochs) as stage:
        training = loop.run(train_epoch, validate, stage)
    best = training.best["total"]
    checkpoint.load_trained_state(model, best.state)
    method.prepare()
    method.eval()
    training.held_out = held_out_losses(method, held_out.split(settings.batch_size) if n_validation else (), seed)
    after = held_out_retrieval(method, held_out, member, seed)
    training.retrieval = {pair: result.beside(before[pair]) for pair, result in after.items()}
    if folder is not None:
        checkpoint.save(folder / "best.safetensors", method.state_dict(), {"stage": "pretrain", "epoch": best.epoch})
    return training
