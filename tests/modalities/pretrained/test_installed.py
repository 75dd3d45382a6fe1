"""Weights in packages that pip has installed, found without importing anything of them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import clip, saved
from safetensors.torch import save_file

from urbankit.modalities.pretrained.checkpoints import checkpoint_folder, provenance, weights_file
from urbankit.utils.errors import UserError
from urbankit.utils.files import hash_file

KEY = "modalities.location.pretrained"
Install = Callable[[dict[str, bytes]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package `weights-of-us` of these files; importing it fails."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "cache"))

    def write(files: dict[str, bytes]) -> None:
        info = "weights_of_us-1.2.dist-info"
        files = {
            "weights_of_us/__init__.py": b"raise SystemExit('imported')",
            **files,
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: weights-of-us\nVersion: 1.2\n",
        }
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        for name, content in {**files, f"{info}/RECORD": record.encode()}.items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return write


def tensors(tmp_path: Path) -> bytes:
    save_file({"weight": torch.ones(2)}, tmp_path / "t.safetensors")
    return (tmp_path / "t.safetensors").read_bytes()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def clip_files(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "clip"
    folder.mkdir()
    saved(clip, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(name: str, call: Callable[..., Path]) -> str:
    with pytest.raises(UserError) as caught:
        call(name, KEY)
    (problem,) = caught.value.problems
    assert problem.key == KEY
    return problem.message


def test_the_only_file_of_weights_is_read_and_the_version_recorded(install, tmp_path):
    install({"weights_of_us/data/model.safetensors": tensors(tmp_path)})
    path = weights_file("pip:weights-of-us", KEY)
    assert path == weights_file("pip:weights-of-us/weights_of_us/data/model.safetensors", KEY)
    assert provenance("pip:weights-of-us", path) == {
        "name": "pip:weights-of-us==1.2",
        "commit": None,
        "weights": hash_file(path),
    }


def test_one_of_several_files_is_chosen_by_its_name(install, tmp_path):
    install({f"weights_of_us/{name}.pth": b"x" for name in ("image", "location_encoder")})
    assert weights_file("pip:weights-of-us", KEY, prefer="location_encoder").name == "location_encoder.pth"
    assert "name one of weights_of_us/image.pth, weights_of_us/location_encoder.pth" in refusal(
        "pip:weights-of-us", weights_file
    )
    assert "has no file 'other.pth'" in refusal("pip:weights-of-us/other.pth", weights_file)


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkpoint_is_found_as_a_folder_or_in_an_archive(packed, install, tmp_path):
    files = clip_files(tmp_path)
    if packed:
        install({"weights_of_us/model.zip": zipped({f"inner/{name}": content for name, content in files.items()})})
    else:
        install({f"weights_of_us/model/{name}": content for name, content in files.items()})
    folder = checkpoint_folder("pip:weights-of-us", KEY)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert checkpoint_folder("pip:weights-of-us", KEY) == folder
    assert provenance("pip:weights-of-us", folder)["name"] == "pip:weights-of-us==1.2"


def test_a_package_that_is_not_installed_is_named_with_the_command():
    for call in (weights_file, checkpoint_folder):
        assert refusal("pip:no-such-weights", call) == (
            "the package 'no-such-weights' is not installed; install it with `pip install no-such-weights`"
        )
        assert "is not installed" in refusal("pip:", call)


def test_packages_without_a_checkpoint_are_refused(install):
    install({"weights_of_us/notes.txt": b"", "weights_of_us/other.zip": b"no archive"})
    assert "has no checkpoint (no config.json)" in refusal("pip:weights-of-us", checkpoint_folder)
    assert "has no file of weights" in refusal("pip:weights-of-us", weights_file)


def test_several_checkpoints_are_named(install):
    install({f"weights_of_us/{name}/config.json": b"{}" for name in ("a", "b")})
    message = refusal("pip:weights-of-us", checkpoint_folder)
    assert "has several checkpoints; name the folder of one: weights_of_us/a, weights_of_us/b" in message
    assert "no model.safetensors" in refusal("pip:weights-of-us/weights_of_us/b", checkpoint_folder).replace(
        "neither", "no"
    )


def test_an_archive_cannot_write_outside_its_folder(install, tmp_path):
    install({"weights_of_us/model.zip": zipped({"a/config.json": b"{}", "a/../../../evil.txt": b"!"})})
    refusal("pip:weights-of-us", checkpoint_folder)
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (tmp_path / "cache" / "pretrained" / "weights-of-us-1.2").exists()


def test_a_damaged_archive_is_one_message(install, tmp_path):
    content = bytearray(zipped(clip_files(tmp_path)))
    content[200:260] = b"\x00" * 60
    install({"weights_of_us/model.zip": bytes(content)})
    assert "cannot be unpacked" in refusal("pip:weights-of-us", checkpoint_folder)


def test_files_outside_the_package_are_not_read(install, tmp_path):
    (tmp_path / "secret.safetensors").write_bytes(tensors(tmp_path))
    install({})
    record = tmp_path / "site" / "weights_of_us-1.2.dist-info" / "RECORD"
    record.write_text(record.read_text() + "../secret.safetensors,,\n")
    assert "has no file of weights" in refusal("pip:weights-of-us", weights_file)
