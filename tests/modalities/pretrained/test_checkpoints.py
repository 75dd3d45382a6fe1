"""Where weights come from: folders, the hub and its revisions, files of tensors; and what is said when they cannot."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.checkpoints import clip, saved
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import save_file

from urbankit.modalities.pretrained.checkpoints import (
    checkpoint_folder,
    load_model,
    provenance,
    read_weights,
    weights_file,
)
from urbankit.utils.errors import UserError
from urbankit.utils.files import hash_file

KEY = "modalities.rsi.pretrained"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub, which nothing else on this machine fills."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def hub_cache(tmp_path: Path, name: str, branch: str = "main") -> Path:
    """The folder of a commit in the hub's cache, to which `branch` points."""
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / branch).write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refusal(name: str | Path, call: Any = checkpoint_folder, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(str(name), KEY, **options)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_cached_name_needs_no_network(tmp_path: Path) -> None:
    saved(clip, hub_cache(tmp_path, "some/clip"))
    for revision in (None, COMMIT, "main"):
        folder = checkpoint_folder("some/clip", KEY, revision)
        facts = provenance("some/clip", folder)
        weights = hash_file(folder / "model.safetensors")
        assert facts == {"name": "some/clip", "commit": COMMIT, "weights": weights}


def listed(folder: Path, *files: str) -> None:
    """Write down, as the hub's library does while it downloads, that the repository of a cached commit has `files`."""
    listing = folder.parent.parent / "trees" / f"{COMMIT}.json"
    listing.parent.mkdir()
    facts = {name: {"size": 1, "blob_id": "0" * 40} for name in files}
    listing.write_text(json.dumps({"format_version": 1, "files": facts}))


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no network")


def test_links_of_a_checkpoint_stay_in_its_folder(tmp_path: Path) -> None:
    """Those of the hub's cache lead to files beside the snapshots."""
    saved(clip, tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (tmp_path / "clip" / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    assert "outside the folder" in refusal(tmp_path / "clip")
    cached = hub_cache(tmp_path, "some/clip")
    saved(clip, cached)
    blobs = cached.parent.parent / "blobs"
    blobs.mkdir()
    (cached / "model.safetensors").rename(blobs / "0")
    (cached / "model.safetensors").symlink_to(Path("../../blobs/0"))
    assert checkpoint_folder(str(cached), KEY) == cached


def test_hub_cache_may_lack_unused_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = hub_cache(tmp_path, "some/clip")
    saved(clip, folder)
    listed(folder, *(path.name for path in folder.iterdir()), "README.md", "tf_model.h5")
    with pytest.raises(LocalEntryNotFoundError, match="incomplete"):
        snapshot_download("some/clip", local_files_only=True)
    requests = []
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: requests.append(1) or unreachable())
    assert checkpoint_folder("some/clip", KEY) == folder and not requests


def test_a_cache_without_a_file_beside_the_weights_is_completed_or_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub_cache(tmp_path, "some/clip")
    saved(clip, folder)
    listed(folder, *(path.name for path in folder.iterdir()), "tokenizer.json")
    requests = []
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: requests.append(1) or unreachable())
    assert checkpoint_folder("some/clip", KEY) == folder and requests


@pytest.mark.parametrize("where", ["folder", "cache"])
def test_missing_shards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    folder = tmp_path / "cut" if where == "folder" else hub_cache(tmp_path, "some/clip")
    name = str(folder) if where == "folder" else "some/clip"
    saved(clip, tmp_path / "whole").save_pretrained(folder, max_shard_size="5KB")
    monkeypatch.setattr(HfApi, "model_info", unreachable)
    assert checkpoint_folder(name, KEY) == folder
    sorted(folder.glob("model-*.safetensors"))[1].unlink()
    says = "lacks 1 files of weights that model.safetensors.index.json names, such as model-00002-of"
    assert (says if where == "folder" else "no network") in refusal(name)
    if where == "folder":
        (folder / "model.safetensors.index.json").write_text("{}")
        assert "index.json: " in refusal(name) and "has no weight_map" in refusal(name)
        (folder / "model.safetensors.index.json").unlink()
        assert "model.safetensors.index.json is missing" in refusal(name)


def test_revision_of_a_folder_is_checked(tmp_path: Path) -> None:
    saved(clip, tmp_path / "mine")
    assert provenance("mine", tmp_path / "mine")["commit"] is None
    assert "its commit is not known" in refusal(tmp_path / "mine", revision="v1")
    record = tmp_path / "mine" / ".cache" / "huggingface" / "download" / "config.json.metadata"
    record.parent.mkdir(parents=True)
    record.write_text(f"{COMMIT}\netag\n1700000000.0\n")
    assert checkpoint_folder(str(tmp_path / "mine"), KEY, COMMIT[:8]) == tmp_path / "mine"
    assert provenance("mine", tmp_path / "mine")["commit"] == COMMIT
    message = refusal(tmp_path / "mine", revision="fedcba98")
    assert "modalities.rsi.revision" in message and COMMIT in message


def failure(kind: type[Exception]) -> Exception:
    return kind("refused", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (failure(GatedRepoError), "accept its terms on its page and log in with 'hf auth login'"),
        (failure(RepositoryNotFoundError), "no such model"),
        (failure(RevisionNotFoundError), "modalities.rsi.revision: 'some/clip' has no revision 'v9' on the hub"),
        (TimeoutError("timed out"), "'hf download some/clip --revision v9 --local-dir FOLDER'"),
    ],
)
def test_errors_of_the_hub_are_explained(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert says in refusal("some/clip", revision="v9")


def test_offline_names_fail_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    started = time.monotonic()
    assert "hf download some/clip --local-dir FOLDER" in refusal("some/clip")
    assert "no folder 'some/location'" in refusal("some/location", weights_file)
    assert time.monotonic() - started < 5


def test_pickled_state_dict_is_read_without_safetensors(tmp_path: Path) -> None:
    from transformers import CLIPModel

    model = saved(clip, tmp_path)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert provenance("x", tmp_path)["weights"] == hash_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    loaded = load_model(CLIPModel, tmp_path, KEY)
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert provenance("x", tmp_path)["weights"] == hash_file(tmp_path / "pytorch_model.bin")


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("/tmp/urbankit-evil"),)


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    from transformers import CLIPModel

    saved(clip, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    mark = Path("/tmp/urbankit-evil")
    for name in ("pytorch_model.bin", "weights.ckpt"):
        torch.save({"state_dict": Evil()}, tmp_path / name)
    with pytest.raises(UserError, match="other than tensors"):
        load_model(CLIPModel, tmp_path, KEY)
    with pytest.raises(UserError, match=r"without running code.*save_file"):
        read_weights(tmp_path / "weights.ckpt", KEY)
    assert not mark.exists()


def test_sharded_weights_have_one_hash(tmp_path: Path) -> None:
    model = saved(clip, tmp_path / "whole")
    model.save_pretrained(tmp_path / "cut", max_shard_size="5KB")
    assert len(list((tmp_path / "cut").glob("model-*.safetensors"))) > 1
    folder = checkpoint_folder(str(tmp_path / "cut"), KEY)
    assert len(provenance("cut", folder)["weights"]) == 64
    loaded = load_model(type(model), folder, KEY)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_weights_file_is_found_by_path_folder_and_hub_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert weights_file(str(tmp_path / "a.safetensors"), KEY) == tmp_path / "a.safetensors"
    folder = hub_cache(tmp_path, "some/location")
    torch.save({"a": torch.ones(1)}, folder / "one.ckpt")
    assert weights_file("some/location", KEY).name == "one.ckpt"
    torch.save({"a": torch.ones(1)}, folder / "two.ckpt")
    assert weights_file("some/location/two.ckpt", KEY).name == "two.ckpt"
    assert provenance("some/location", folder / "two.ckpt")["commit"] == COMMIT
    assert "file not found" in refusal(tmp_path / "none.ckpt", weights_file)
    assert "file not found" in refusal("weights.ckpt", weights_file)


def test_several_weight_files_must_be_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in ("a.ckpt", "b.ckpt", "README.md")])

    monkeypatch.setattr(HfApi, "model_info", listing)
    assert "name one of a.ckpt, b.ckpt as some/location/FILE" in refusal("some/location", weights_file)
    assert "no file 'c.ckpt'" in refusal("some/location/c.ckpt", weights_file)
    assert "no config.json" in refusal("some/location")


def test_state_dict_of_lightning_checkpoints_is_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "hyper_parameters": {"width": 3}, "epoch": 1}, tmp_path / "a.ckpt")
    tensors, facts = read_weights(tmp_path / "a.ckpt", KEY)
    assert list(tensors) == ["a"] and facts == {"width": 3}
    torch.save({"state_dict": {"a": torch.ones(2)}, "hyper_parameters": None}, tmp_path / "b.ckpt")
    assert read_weights(tmp_path / "b.ckpt", KEY)[1] == {}
    for wrong in ([1, 2], {"state_dict": [1]}):
        torch.save(wrong, tmp_path / "b.pt")
        with pytest.raises(UserError, match="holds no named tensors"):
            read_weights(tmp_path / "b.pt", KEY)


def test_relative_checkpoint_paths_start_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urbankit.recipe import Recipe

    (tmp_path / "recipes" / "clip").mkdir(parents=True)
    recipe = {
        "city": {"demo": {"regions": 12}},
        "modalities": {
            "rsi": {"name": "vit", "pretrained": "clip"},
            "svi": {"name": "vit", "pretrained": "owner/clip"},
        },
        "method": "urbanmmcl",
    } | {"method": {"name": "urbanmmcl"}, "views": {"poi": {"name": "poi"}}}
    (tmp_path / "recipes" / "mine.yaml").write_text(json.dumps(recipe))
    monkeypatch.chdir(tmp_path)
    loaded = Recipe.load("recipes/mine.yaml", ["modalities.svi.revision=v1"])
    assert loaded.modalities["rsi"].params["pretrained"] == str(tmp_path / "recipes" / "clip")
    assert loaded.modalities["svi"].params["pretrained"] == "owner/clip"
    with pytest.raises(UserError, match="give that too"):
        Recipe.load("recipes/mine.yaml", ["modalities.rsi.pretrained=null", "modalities.rsi.revision=v1"])
