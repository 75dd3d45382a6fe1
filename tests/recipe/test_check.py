"""Every mistake of a recipe is in one message, with its file, line and key."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.toys import RECIPE

from urbankit import Recipe, UserError
from urbankit.recipe.components import components


def mistakes(path: Path, sets: list[str] | None = None) -> list[str]:
    """The lines of the error, with the folder left out."""
    with pytest.raises(UserError) as caught:
        Recipe.load(path, sets or [])
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_all_mistakes_are_reported_at_once(tmp_path: Path, toy: None) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        """\
city: {demo: {regions: none}}
modalities:
  rsi: {name: toy_pixel}
  svi:
    name: toy_pixels
    patch_size: 100
    patch: 3
views:
  ring: toy_ring
  ring: {name: toy_ring}
  two words: {name: toy_ring}
method:
  name: toy_contrast
  mode: rooot
  fusion:
    name: toy_gate
    hidden: 0
    after: {name: toy_sun}
  stages: [{name: toy_sum, x: 1}]
tasks:
  co: {transform: logarithm, head: {name: toy_heed}}
pretrain: {lr: 1}
evaluation: {seeds: [0, 0]}
veiws: {}
"""
    )
    messages = mistakes(path, ["device=gpu", "nonsense"])
    assert messages == [
        "bad.yaml:1: city.demo.regions: should be a valid integer, not 'none'",
        "bad.yaml:3: modalities.rsi.name: unknown modality_encoder 'toy_pixel'. Did you mean 'toy_pixels'?",
        "bad.yaml:6: modalities.svi.patch_size: should be less than or equal to 64, not 100",
        "bad.yaml:7: modalities.svi.patch: unknown key. Did you mean 'patch_size'?",
        "bad.yaml:9: views.ring: should name a component and its parameters, such as {name: toy_ring}",
        "bad.yaml:10: views.ring: duplicate key, first in line 9; keep one of them",
        "bad.yaml:11: views.two words: a name is made of letters, digits, _ and -, and begins with a letter",
        "bad.yaml:14: method.mode: should be 'mean' or 'root', not 'rooot'. Did you mean 'root'?",
        "bad.yaml:17: method.fusion.hidden: should be greater than 0, not 0",
        "bad.yaml:18: method.fusion.after.name: unknown fusion 'toy_sun'. Did you mean 'toy_sum'?",
        "bad.yaml:19: method.stages[0].x: unknown key. It takes no parameters.",
        "bad.yaml:21: tasks.co.transform: should be 'none', 'standard', 'log' or 'soft-log', not 'logarithm'",
        "bad.yaml:21: tasks.co.head.name: unknown head 'toy_heed'. Did you mean 'toy_head'?",
        "bad.yaml:22: pretrain.lr: unknown key. Known: batch_size, clip_by, epochs, gradient_clip, hold_out,"
        " learning_rate, learning_rates, optimizer, patience, schedule, supervised, validation_share, weight_decay.",
        "bad.yaml:23: evaluation: `seeds` has a value twice: [0, 0]",
        "bad.yaml:24: veiws: unknown key. Did you mean 'views'?",
        "--set nonsense: write it as key=value, such as --set method.dim=32",
        "--set device=gpu: device: should be 'auto', 'cpu' or 'cuda', not 'gpu'. Did you mean 'cpu'?",
    ]


def test_mistakes_name_the_file_that_made_them(recipe_file) -> None:
    recipe_file("pretrain:\n  epochs: many\n  batch_size: few\n")
    over = recipe_file("pretrain: {batch_size: 1}\nmethod: {dim: 0}\n", "over.yaml", "extends: toy.yaml\n")
    assert mistakes(over) == [
        "toy.yaml:10: pretrain.epochs: should be a valid integer, not 'many'",
        "over.yaml:2: pretrain.batch_size: should be greater than or equal to 2, not 1",
        "over.yaml:3: method.dim: should be greater than 1, not 0",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("city: {demo: {regions: 30}}\n", "", "toy.yaml:1: give one of `city` and `cities`"),
        ("{demo: {regions: 30}}", "{}", "toy.yaml:1: city: give exactly one of demo, prepared and spec, not none"),
        (
            "{demo: {regions: 30}}",
            "{demo: {}, prepared: x}",
            "toy.yaml:1: city: give exactly one of demo, prepared and spec, not demo and prepared",
        ),
        ("{demo: {regions: 30}}", "{demo: {}, data: x}", "toy.yaml:1: city: `data` needs `spec`"),
        ("{demo: {regions: 30}}", "{prepared: gone}", "toy.yaml:1: city.prepared: there is no folder '"),
        ("{demo: {regions: 30}}", "{spec: gone.yaml}", "toy.yaml:1: city.spec: there is no file '"),
        ("{name: toy_ring}", "toy_ring", "toy.yaml:5: views.ring: should name a component and its parameters,"),
        ("{name: toy_ring}", "{neighbours: 3}", "toy.yaml:5: views.ring.name: is missing."),
        ("{name: toy_ring}", "[1]", "toy.yaml:5: views.ring: should name a component"),
        ("{name: toy_ring}", "{name: 3}", "toy.yaml:5: views.ring.name: should be a valid string, not 3"),
        ("views:", "views: 3\ntasks:", "toy.yaml:4: views: should be a mapping of keys to values, not 3"),
        ("{name: toy_contrast}", "{name: toy_contrast, alignments: [[rsi, text]]}",
         "toy.yaml:6: method.alignments[0]: the recipe has no modality 'text'"),
        ("{name: toy_contrast}", "{name: toy_contrast, fusion: toy_sum}",
         "toy.yaml:6: method.fusion: should name a component and its parameters, such as {name: toy_sum}"),
        ("{name: toy_contrast}", "{name: mvure}", "toy.yaml:6: method.name: unknown method 'mvure'"),
        ("views:", "finetune: {loss_weights: {c: 2}}\nviews:",
         "toy.yaml:4: finetune.loss_weights.c: the recipe has no task 'c'. Did you mean 'co'?"),
        ("views:", "finetune: {joint: false, loss_weights: {co: 2}}\nviews:",
         "toy.yaml:4: finetune.loss_weights: with `joint: false` each task has a training of its own"),
        ("rsi:", "3:", "toy.yaml:3: modalities[3]: should be a valid string"),
    ],
)  # fmt: skip
def test_mistake_is_reported_with_its_message(recipe_file, old: str, new: str, message: str) -> None:
    base = RECIPE.replace(old, new, 1)
    if new.startswith("views: 3"):
        base = base.replace("  ring: {name: toy_ring}\n", "").replace("tasks:\nmethod", "method")
    (line,) = mistakes(recipe_file(base=base))
    assert line.startswith(message)


def test_a_default_component_that_is_wrong_is_named(recipe_file, monkeypatch: pytest.MonkeyPatch) -> None:
    from urbankit import registry

    broken = replace(registry.KINDS["fusion"], methods=("forward", "no_such_thing"))
    monkeypatch.setitem(registry.KINDS, "fusion", broken)
    (line,) = mistakes(recipe_file())
    assert line.startswith("method.fusion: fusion 'toy_sum' of plugin 'toys'")
    assert "lacks what every fusion has: no_such_thing" in line


def test_components_are_listed_at_every_depth(recipe_file) -> None:
    recipe = Recipe.load(recipe_file(), ["method.stages=[{name: toy_gate}]"])
    assert [(used.key, used.kind, used.use.name) for used in components(recipe)] == [
        ("modalities.rsi", "modality_encoder", "toy_pixels"),
        ("views.ring", "view", "toy_ring"),
        ("method", "method", "toy_contrast"),
        ("method.fusion", "fusion", "toy_sum"),
        ("method.stages[0]", "fusion", "toy_gate"),
        ("method.stages[0].after", "fusion", "toy_sum"),
        ("tasks.co.head", "head", "toy_head"),
    ]
