"""The control `untrained`: the method of the recipe with its initial weights, under the same splits and heads."""

from __future__ import annotations

import torch

from urbankit import registry
from urbankit.evaluation.tasks import Scored
from urbankit.pipeline.embedding import embed_regions
from urbankit.pipeline.scores import few_labels, score_splits
from urbankit.pipeline.state import RunState
from urbankit.tables.table import UNTRAINED
from urbankit.training.finetune import updated_parts


def score_untrained(state: RunState) -> Scored:
    """Score the method without any training step.

    It starts from the weights that the run started from, before a transfer; published weights of encoders stay.
    Nothing is scored without pre-training or transfer, where the method is this control itself, nor in a zero-shot
    transfer.
    """
    recipe = state.recipe
    trained = recipe.pretrain.epochs or recipe.transfer is not None
    if "untrained" not in recipe.evaluation.controls or not trained or not state.tasks or state.zero_shot is not None:
        return Scored.joined([])
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        method = registry.create("method", recipe.method, state.inputs).to(next(state.method.parameters()).device)
        method.prepare()
        method.freeze(updated_parts(method, recipe.finetune))
        embeddings = embed_regions(method, recipe, state.city.n_regions)
        training = state.head_training(embeddings, "untrained", method)
        predictions = {
            (protocol, seed): training.fit(split, protocol, seed, f"untrained {protocol} {seed}", f"{protocol}-{seed}")
            for (protocol, seed), split in state.splits.items()
        }
        scored = score_splits(UNTRAINED, state.tasks, state.splits, predictions, None)
        return Scored.joined([*scored, few_labels(state, UNTRAINED, embeddings, method)])
