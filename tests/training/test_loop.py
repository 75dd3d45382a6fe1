"""The training loop: what it keeps, when it stops, and that a resumed training ends in the same bits."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from urbankit.training import checkpoint
from urbankit.training.checkpoint import load_trained_state
from urbankit.training.loop import Loop
from urbankit.training.optimizer import build_optimizer
from urbankit.utils.errors import RunError, UserError


class Setting:
    """A small noisy regression with dropout, so that every source of randomness is in play."""

    def __init__(self, last: Path | None = None, epochs: int = 12, patience: int = 0, validation=None) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.x, self.y = torch.randn(32, 4), torch.randn(32, 1)
        self.optimizer = build_optimizer(
            {"all": list(self.model.parameters())},
            optimizer="adamw", learning_rate=1e-2, learning_rates={}, weight_decay=1e-4, key="pretrain",
        )  # fmt: skip
        self.validation = validation
        self.loop = Loop("test", self.model, self.optimizer, epochs, patience, 0, last=last, save_every=0.0)
        self.seen = 0

    def train_epoch(self):
        self.seen += 1
        noise = torch.randn_like(self.x)
        loss = nn.functional.mse_loss(self.model(self.x + 0.1 * noise), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"total": float(loss.detach())}

    def validate(self):
        if self.validation is not None:
            return {"total": self.validation[self.seen - 1]}
        return {"total": float(nn.functional.mse_loss(self.model(self.x), self.y))}

    def run(self):
        return self.loop.run(self.train_epoch, self.validate)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_interrupted_anywhere_resumes_to_the_same_bits(tmp_path):
    uninterrupted = Setting()
    uninterrupted.run()
    for cut in (1, 5, 11):
        last = tmp_path / f"{cut}.safetensors"
        Setting(last, epochs=cut).run()
        resumed = Setting(last)
        torch.manual_seed(99)  # whatever the new process has drawn before
        training = resumed.run()
        assert torch.equal(weights(resumed.model), weights(uninterrupted.model))
        assert len({row["epoch"] for row in training.history}) == 12


def test_training_killed_within_an_epoch_resumes_from_the_last_complete_epoch(tmp_path):
    last = tmp_path / "last.safetensors"
    cut = Setting(last)
    train_epoch, count = cut.train_epoch, iter(range(100))

    def dies():
        if next(count) == 6:
            raise SystemExit
        return train_epoch()

    cut.train_epoch = dies
    with pytest.raises(SystemExit):
        cut.run()
    resumed, uninterrupted = Setting(last), Setting()
    resumed.run(), uninterrupted.run()
    assert torch.equal(weights(resumed.model), weights(uninterrupted.model))


def test_best_state_is_kept_and_patience_stops_training():
    setting = Setting(epochs=50, patience=3, validation=[5.0, 4.0, 3.0, *[9.0] * 50])
    training = setting.run()
    assert training.epoch == 6 and training.best["total"].epoch == 2
    expected = Setting(epochs=3)
    expected.run()
    load_trained_state(setting.model, training.best["total"].state)
    assert torch.equal(weights(setting.model), weights(expected.model))


def test_each_validation_loss_keeps_its_best_state_or_the_last_if_never_finite():
    setting = Setting(epochs=4, patience=9)
    setting.loop.judged = ("a", "b")
    scores = iter([{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 2.0}, {"a": 3.0, "b": 1.0}, {"a": 4.0, "b": 4.0}])
    training = setting.loop.run(setting.train_epoch, lambda: next(scores))
    assert (training.best["a"].epoch, training.best["b"].epoch) == (0, 2)
    setting = Setting(epochs=3, patience=9)
    setting.loop.judged = ("a", "b")
    scores = iter([{"a": 1.0, "b": math.nan}, {"a": 2.0, "b": math.nan}, {"a": 3.0, "b": math.nan}])
    training = setting.loop.run(setting.train_epoch, lambda: next(scores))
    assert (training.best["a"].epoch, training.best["b"].epoch) == (0, 2)
    last = setting.model.state_dict()
    assert all(torch.equal(value, last[name]) for name, value in training.best["b"].state.items())


def test_record_counts_every_epoch_once_after_any_interruptions(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 5))  # read twice an epoch: five seconds each
    monkeypatch.setattr("urbankit.training.loop.time.perf_counter", lambda: next(clock))
    validation = [3.0, 1.0, 2.0, 2.0]
    for epochs in (1, 2, 4, 4):
        setting = Setting(tmp_path / "last.safetensors", epochs=epochs, patience=9, validation=validation)
        setting.seen = {1: 0, 2: 1, 4: 2}[epochs]
        record = setting.run().record()
        assert record["epochs"] == epochs and record["seconds_per_epoch"] == 5.0
    assert record["best_epoch"] == {"total": 1}


def test_loss_that_is_not_finite_stops_the_run_with_a_message():
    setting = Setting()
    with pytest.raises(RunError, match="learning rate"):
        setting.loop.run(lambda: {"total": float("nan")}, setting.validate)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"not at all")
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_damaged_or_incomplete_checkpoint_is_replaced_by_the_previous_one(tmp_path):
    undisturbed, last = Setting(), tmp_path / "last.safetensors"
    undisturbed.run()
    Setting(last, epochs=2).run()
    tensors, facts = checkpoint.load(last)
    for content in (None, b"not at all"):
        if content is None:
            checkpoint.save(last, {name: t for name, t in tensors.items() if name != "model/2.bias"}, facts)
        else:
            last.write_bytes(content)
        resumed = Setting(last)
        resumed.run()
        assert torch.equal(weights(resumed.model), weights(undisturbed.model))


def test_modules_have_separate_learning_rates_and_unknown_modules_are_named():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    parts = {"encoders": list(a.parameters()), "heads": list(b.parameters())}
    arguments = {"optimizer": "adam", "learning_rate": 0.1, "weight_decay": 0.0, "key": "finetune"}
    built = build_optimizer(parts, learning_rates={"heads": 0.5}, **arguments)
    assert {group["name"]: group["lr"] for group in built.param_groups} == {"encoders": 0.1, "heads": 0.5}
    with pytest.raises(UserError, match=r"finetune.learning_rates.encoder: .* 'encoders'"):
        build_optimizer(parts, learning_rates={"encoder": 0.5}, **arguments)
