"""`urbankit caption` as a user gives it: killed in the middle, and from captions to a run."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from urbankit.city.city import City


def test_killed_caption_command_resumes_to_the_same_files(cli, city: City, blip2: Path, tmp_path: Path) -> None:
    command = ["caption", city.path, "--captioner", "vlm", "--modality", "svi"]
    command += ["--set", f"model={blip2}", "--set", "batch_size=2", "--set", "temperature=1.2"]
    partial = tmp_path / "cut" / "svi.partial.jsonl"
    words = [sys.executable, "-m", "urbankit", *map(str, command), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and (not partial.is_file() or partial.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    lines = partial.read_bytes().count(b"\n")
    assert 4 <= lines < 18  # the settings and up to 17 batches of two
    # What the kill might have left of a batch that was being written.
    with partial.open("ab") as stream:
        stream.write(b'[{"caption": "half a b')
    _, errors = cli(*command, "--out", tmp_path / "cut")
    assert f"svi: {2 * (lines - 1)} of 34 exist already; continuing" in errors
    cli(*command, "--out", tmp_path / "whole")
    for name in ("svi.jsonl", "svi.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    table = pl.read_parquet(tmp_path / "cut" / "svi.parquet")
    assert table.equals(pl.read_parquet(tmp_path / "whole" / "svi.parquet"))
    assert table["image"].to_list() == city.images("svi").image_ids
    assert set(table["model"]) == {str(blip2)} and table["revision"][0].startswith("sha256:")


def recipe(city: Path, folder: Path) -> Path:
    text = {"name": "text", "hidden_size": 16, "layers": 1, "heads": 2, "vocabulary": 300}
    path = folder / "recipe.yaml"
    keys = {
        "city": {"prepared": str(city)},
        "modalities": {"text": text, "location": {"name": "coordinates"}},
        "method": {"name": "urbanmmcl", "dim": 8, "alignments": [["text", "location"]]},
        "tasks": {"co": {}},
        "pretrain": {"epochs": 1},
        "finetune": {"epochs": 1},
        "evaluation": {"seeds": [0], "floors": ["mean"], "splits": ["random"]},
        "report": {"figures": False},
    }
    path.write_text(yaml.safe_dump(keys))
    return path


def test_attached_captions_are_read_by_a_run(cli, copied: City, blip2: Path, tmp_path: Path) -> None:
    model = ["--captioner", "vlm", "--set", f"model={blip2}", "--set", "max_tokens=8"]
    out, _ = cli("caption", copied.path, *model, "--out", tmp_path / "captions", "--attach")
    assert "now has captions of rsi and svi" in out
    cli("run", recipe(copied.path, tmp_path), "--out", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert not any("text" in note for note in manifest["notes"])


def test_printed_lines_for_city_yaml_are_valid(cli, sources: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(sources, tmp_path / "sources")
    out, _ = cli("caption", folder / "city.yaml", "--out", folder / "made")
    assert "\ncaptions:\n  rsi: {file: made/rsi.jsonl, region: region_id, text: caption}\n" in out
    with (folder / "city.yaml").open("a") as stream:
        stream.write(out[out.index("captions:\n") :])
    cli("prepare", folder / "city.yaml", "--out", tmp_path / "city")
    captions = City.open(tmp_path / "city").captions("rsi")
    assert len(captions) == 16 and captions["text"].str.startswith("An area of").all()


def test_caption_uses_the_template_by_default_and_prints_its_check(cli, city: City, tmp_path: Path) -> None:
    out, _ = cli("caption", city.path, "--out", tmp_path)
    assert "rsi: 16 captions in" in out
    assert "contradicting" in out and "Copy the files into the folder of the city's sources" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--captioner", "templte"], "unknown captioner 'templte'. Did you mean 'template'?"),
        (["--set", "colums=3"], "--set colums=3: colums: unknown key. Did you mean 'columns'?"),
        (["--set", "columns"], "write it as key=value"),
        (["--modality", "sv"], "has no image source 'sv'. Did you mean 'svi'?"),
        (["--bands", "red"], "--bands red: must be three numbers"),
        (["--captioner", "vlm", "--set", "model=./none"], "no folder './none'"),
        (["--captioner", "vlm", "--set", "max_tokens=0"], "max_tokens: should be greater than or equal to 1, not 0"),
    ],
)
def test_wrong_options_of_caption_are_refused(
    cli, city: City, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in cli("caption", city.path, "--out", tmp_path, *options, status=2)[1]


def test_a_missing_city_and_an_output_that_is_a_file_are_refused(cli, tmp_path: Path, city: City) -> None:
    assert "is not a prepared city" in cli("caption", tmp_path, status=2)[1]
    (tmp_path / "file").write_text("")
    assert "Choose another --out" in cli("caption", city.path, "--out", tmp_path / "file", status=2)[1]


def test_both_captioners_show_every_parameter(cli) -> None:
    listed = json.loads(cli("list-components", "--kind", "captioner", "--json")[0])["components"]
    assert [one["name"] for one in listed] == ["template", "vlm"]
    for one in listed:
        shown = json.loads(cli("show", "captioner", one["name"], "--json")[0])
        assert all(parameter["description"] for parameter in shown["parameters"])
