"""Whether pre-training says which blocks learned nothing for held-out regions, and changes nothing by asking."""

import numpy as np
import pytest
import torch
from torch import nn

from urbankit.methods.base import Matched, Method
from urbankit.methods.losses import two_way_info_nce
from urbankit.recipe.training_schema import Pretrain
from urbankit.runs.view_measures import Recall, learned_nothing, lines
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress

N = 400
SETTINGS = Pretrain(epochs=30, batch_size=100, patience=0, validation_share=0.25, learning_rate=0.01)


class Aligned(Method):
    """Aligns `image` with `text`, of which it is a mixture, and `noise` with `text`, of which it says nothing."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        generator = torch.Generator().manual_seed(0)
        self.text = torch.randn(N, 6, generator=generator)
        mixed = self.text @ torch.randn(6, 12, generator=generator)
        self.data = {"image": mixed.tanh(), "noise": torch.randn(N, 12, generator=generator)}
        self.encoders = nn.ModuleDict({name: nn.Linear(12, 6) for name in self.data})
        self.dim = 6

    def _vectors(self, regions):
        return {name: encoder(self.data[name][regions]) for name, encoder in self.encoders.items()}

    def loss(self, regions):
        vectors = self._vectors(regions)
        losses = {name: two_way_info_nce(v, self.text[regions], 0.1) for name, v in vectors.items()}
        return losses | {"total": sum(losses.values())}

    def matched(self, regions):
        torch.rand(3)  # as walks do
        present = torch.ones(len(regions), dtype=torch.bool)
        return [Matched(name, "text", v, self.text[regions], present) for name, v in self._vectors(regions).items()]

    def forward(self, regions):
        return self._vectors(regions)["image"]

    def parts(self):
        return {"encoders": list(self.parameters())}


class Silent(Aligned):
    def matched(self, regions):
        return []


def trained(method_class: type[Method] = Aligned, settings: Pretrain = SETTINGS, **options):
    torch.manual_seed(0)
    method = method_class()
    return method, pretrain(method, settings, N, 0, None, Progress(quiet=True), **options)


def recalls(training) -> list[Recall]:
    return [Recall.of(*pair, *values) for pair, values in training.retrieval.items()]


def test_a_block_that_cannot_learn_its_alignment_is_named_and_one_that_can_is_not():
    by_block = {recall.block: recall for recall in recalls(trained()[1])}
    assert by_block["image"].recall > 0.8 and by_block["image"].learned
    assert by_block["noise"].recall_chance == pytest.approx(0.1) and by_block["noise"].recall_k == 10
    (note,) = learned_nothing(by_block.values())
    assert note.startswith(f"noise: {by_block['noise'].verdict} (recall@10 0.") and note.endswith("chance 0.10)")
    assert by_block["image"].verdict == "learned something"
    none = by_block["noise"]._replace(recall=0.05)
    assert none.verdict == "learned nothing"
    assert none._replace(recall=max(none.recall_before, 0.1) + 1e-3).verdict == "no clear sign of learning"
    (line,) = lines([], [], by_block.values())
    assert "image (recall@10" in line and "noise" not in line


def test_recall_before_training_is_that_of_the_initial_weights():
    values = trained()[1].retrieval["image", "text"]
    untrained = trained(settings=SETTINGS.model_copy(update={"learning_rate": 1e-12}))[1].retrieval["image", "text"]
    assert untrained[0] == untrained[1] == values[1] < values[0]


def test_a_block_that_was_as_good_before_training_learned_nothing():
    settings = SETTINGS.model_copy(update={"learning_rate": 1e-12})
    assert {note.partition(":")[0] for note in learned_nothing(recalls(trained(settings=settings)[1]))} == {
        "image",
        "noise",
    }


def test_the_measure_changes_no_trained_weight():
    (measured, _), (silent, training) = trained(), trained(Silent)
    assert not training.retrieval
    assert all(torch.equal(a, b) for a, b in zip(measured.parameters(), silent.parameters(), strict=True))


def test_nothing_is_measured_without_held_out_regions():
    assert not trained(settings=SETTINGS.model_copy(update={"validation_share": 0.0}))[1].retrieval


def test_only_regions_of_the_same_city_are_compared():
    member = torch.as_tensor(np.repeat(np.arange(4), N // 4))
    assert trained(member=member)[1].retrieval["noise", "text"][2] == pytest.approx(0.08, abs=0.03)
