"""Models on a stand-in of the hub: uploaded, downloaded, and what is refused on the way."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.hub import NO_REPOSITORY, TOKEN, Hub, running

from urbankit import Model, UserError
from urbankit.pipeline.hub import FILES, pull, push
from urbankit.pipeline.model_files import CARD, HEADS, MODEL, WEIGHTS
from urbankit.utils.errors import RunError
from urbankit.utils.files import file_check
from urbankit.utils.ledger import LEDGER, record, start_ledger

NAME = "me/town"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with running() as hub:
        serve_from(hub.url, monkeypatch)
        yield hub


def serve_from(url: str, monkeypatch) -> None:
    """What HF_ENDPOINT does, which is read when the client is imported."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def copy(model_folder, tmp_path) -> Path:
    """A copy of the model, to change."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


@pytest.fixture
def published(hub, model_folder) -> Hub:
    """The hub with the model."""
    hub.put(NAME, contents(model_folder))
    return hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(*arguments, error: type[Exception] = UserError, **options) -> str:
    """The one message of a refused pull, which leaves the working folder as it was."""
    before = contents(Path())
    with pytest.raises(error) as caught:
        pull(*arguments, **options)
    assert contents(Path()) == before and [path.name for path in Path().iterdir()] == sorted(
        {Path(p).parts[0] for p in before}
    )
    [problem] = caught.value.problems
    return str(problem)


def test_a_pushed_model_is_pulled_whole_and_predicts_the_same(hub, model_folder, other_city, cli):
    done = cli("push", model_folder, NAME)
    assert done.stdout.splitlines()[0] == f"{hub.url}/{NAME}" and "README.md names no licence" in done.stdout
    assert set(hub.files(NAME)) == {".gitattributes", *FILES} and hub.repositories[NAME].private
    assert len(hub.repositories[NAME].commits) == 2, "all files are in one commit"
    done = cli("pull", NAME, "--out", "models/town")
    assert done.stdout.splitlines() == [
        str(Path("models/town").absolute()),
        f"  {NAME}, commit {hub.repositories[NAME].head}",
    ]
    assert contents(Path("models/town")) == contents(model_folder) and len(list(Path("models").iterdir())) == 1
    cli("embed", "models/town", other_city.path, "--out", "e.parquet")
    cli("predict", "models/town", "--city", other_city.path, "--out", "p.parquet")
    expected = Model.open(model_folder)
    vectors = np.stack(gpd.read_parquet("e.parquet")["embedding"])
    np.testing.assert_array_equal(vectors, np.stack(expected.embed(other_city)["embedding"]))
    table = pd.DataFrame(gpd.read_parquet("p.parquet"))
    assert table["co"].equals(pd.DataFrame(expected.predict(other_city))["co"])


def test_a_run_is_exported_and_nothing_else_of_it_is_uploaded(hub, source, model_folder):
    place, notes = push(source, NAME, public=True)
    assert place == f"{hub.url}/{NAME}" and not hub.repositories[NAME].private
    assert any("not carried over" in note for note in notes)
    files = hub.files(NAME)
    assert set(files) == {".gitattributes", *FILES}
    assert files[MODEL] == (model_folder / MODEL).read_bytes()


def test_a_changed_card_is_pushed_and_pulled_and_other_files_stay_here(hub, copy):
    card = (copy / CARD).read_text().replace("license: other", "license: odbl")
    (copy / CARD).write_text(card)
    (copy / ".env").write_text("secret")
    (copy / "labels.parquet").write_bytes(b"labels")
    _, notes = push(copy, NAME)
    assert not notes and set(hub.files(NAME)) == {".gitattributes", *FILES}
    for _ in range(2):  # the second replaces an unchanged model
        pull(NAME)
        assert Path("town", CARD).read_text() == card
    Path("town", CARD).write_text("mine")
    assert "README.md changed since urbankit wrote it; choose another --out" in refusal(NAME)


def test_revisions(published, model_folder, copy):
    first = published.repositories[NAME].head
    (copy / CARD).write_text("---\nlicense: mit\n---\n# another\n")
    push(copy, NAME)
    pull(NAME, "old", revision=first)
    pull(NAME, "new")
    assert Path("old", CARD).read_bytes() == (model_folder / CARD).read_bytes()
    assert "another" in Path("new", CARD).read_text()
    assert refusal(NAME, revision="v9") == f"{NAME}: has no revision 'v9'"


def test_files_that_no_model_has_are_not_downloaded(published, model_folder):
    published.put(NAME, contents(model_folder) | {"weights.pkl": b"\x80\x04.", "code/run.py": b"", "../up": b""})
    _, notes = pull(NAME)
    assert set(contents(Path())) == {f"town/{file}" for file in FILES}
    assert notes[1] == "not downloaded: ../up, code/run.py, weights.pkl"
    assert not [request for request in published.requests if "pkl" in request]


def spoilt_ledger(folder: Path) -> bytes:
    """The ledger of a model that also lists a file outside its folder."""
    start_ledger(folder)
    record(folder, folder / "x", {"size": 1, "sha256": "0"})
    *lines, last = (folder / LEDGER).read_text().splitlines()
    entry = {"name": "../../x", "size": 1, "sha256": "0"}
    digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
    assert json.loads(last).keys() == {*entry, "line"}
    return "\n".join([*lines, json.dumps(entry | {"line": digest}), ""]).encode()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def lacking(*names: str):
    return lambda files, folder: {name: data for name, data in files.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files, _: {"config.json": b"{}"}, f"{NAME}: is no model of urbankit: it lacks {MODEL}, {WEIGHTS}"),
        (lacking(HEADS), f"{NAME}: is no model of urbankit: it lacks {HEADS}"),
        (lambda files, _: files | {WEIGHTS: flipped(files[WEIGHTS])}, f"{NAME}/{WEIGHTS}: is damaged (its size"),
        (lambda files, _: files | {HEADS: files[HEADS][:-1]}, f"{NAME}/{HEADS}: is damaged (its size"),
        (lambda files, _: files | {MODEL: b"{"}, f"{NAME}/{MODEL}: is damaged"),
        (lambda files, _: files | {MODEL: b'{"format": 99}'}, f"{NAME}: has the format 99; this version"),
        (lambda files, folder: files | {LEDGER: spoilt_ledger(folder)}, f"{NAME}/{LEDGER}: lists files"),
    ],
    ids=["another", "incomplete", "weights", "heads", "json", "format", "ledger"],
)  # fmt: skip
def test_what_is_no_whole_model_is_refused(published, model_folder, copy, change, message):
    published.put(NAME, change(contents(model_folder), copy))
    assert message in refusal(NAME)
    pull(NAME, "kept", revision=next(iter(published.repositories[NAME].commits)))
    assert message in refusal(NAME, "kept"), "the model that is there stays"
    Model.open("kept")


def test_a_description_with_a_right_hash_and_wrong_keys_is_refused(published, copy):
    start_ledger(copy)
    (copy / MODEL).write_text('{"format": 1}')
    record(copy, copy / MODEL, file_check(copy / MODEL))
    published.put(NAME, contents(copy))
    assert f"{MODEL}: is not the description of a model of urbankit: method: Field required" in refusal(NAME)


def test_a_folder_with_other_files_is_never_overwritten(published, model_folder):
    Path("town").mkdir()
    Path("town", "notes.txt").write_text("mine")
    assert "town: holds other files; choose another --out" in refusal(NAME)
    Path("file").write_text("mine")
    assert "file: is a file; choose another --out" in refusal(NAME, "file")
    shutil.copytree(model_folder, "model")
    Path("model", WEIGHTS).write_bytes(b"mine")
    assert f"{WEIGHTS} changed since urbankit wrote it" in refusal(NAME, "model")
    assert not published.requests, "before the hub is asked"


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (*NO_REPOSITORY, "the hub has no such repository, or it is private: check the name, or log in with"),
        (401, {}, "the hub needs a token, or does not accept this one: log in with `hf auth login`, or set HF_TOKEN"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "does not accept this one: log in"),
        (403, {}, "the token may not do this"),
        (403, {"X-Error-Code": "GatedRepo"}, "is gated: accept its terms on its page, and log in with `hf auth login`"),
    ],
)
def test_a_hub_that_refuses(published, status, headers, message):
    published.answers["GET /api/models"] = (status, headers)
    assert refusal(NAME).startswith(f"{NAME}: ") and message in refusal(NAME)
    published.answers = {f"GET /{NAME}/resolve": (status, headers)}
    assert message in refusal(NAME) or status == 401, "in the middle of a download"


def test_a_hub_that_fails_or_is_not_there(published, monkeypatch, cli):
    published.answers["GET /api/models"] = (500, {})
    assert f"the transfer with {published.url} failed (" in refusal(NAME, error=RunError)
    serve_from("http://127.0.0.1:9", monkeypatch)
    message = refusal(NAME, error=RunError)
    assert message.startswith(f"{NAME}: the transfer with http://127.0.0.1:9 failed (") and "try again" in message
    assert len(cli("pull", NAME, status=1).errors) == 1


def test_a_truncated_download_leaves_nothing(published):
    published.cut[WEIGHTS] = 100
    message = refusal(NAME, error=RunError)
    assert "failed (Consistency check failed: file should be of size" in message
    published.cut = {}
    pull(NAME)
    published.cut[WEIGHTS] = 100
    refusal(NAME, error=RunError)
    Model.open("town")


def test_push_refuses_what_is_no_model_and_repositories_of_others(hub, copy, tmp_path):
    with pytest.raises(UserError, match="is neither a model nor a run"):
        push(tmp_path, NAME)
    for name in ("town", "a/b/c", "/town", "me/../x", "me/ town"):
        with pytest.raises(UserError, match="is no name on the Hugging Face hub; write OWNER/NAME"):
            push(copy, name)
    (copy / CARD).write_text("---\nlicense: [\n---\n")
    with pytest.raises(UserError, match=r"README\.md: the front matter cannot be read"):
        push(copy, NAME)
    (copy / CARD).write_text("# mine\n")
    (copy / WEIGHTS).write_bytes(b"changed")
    with pytest.raises(UserError, match="is damaged"):
        push(copy, NAME)
    assert not hub.repositories


def test_push_keeps_a_repository_that_holds_something_else(hub, model_folder):
    hub.put(NAME, {"pytorch_model.bin": b"1", CARD: b"theirs"})
    with pytest.raises(UserError, match=r"me/town: holds something else \(pytorch_model\.bin\); choose another name"):
        push(model_folder, NAME)
    assert hub.files(NAME)[CARD] == b"theirs"
    hub.put("me/new", {CARD: b"as the hub makes it"})
    push(model_folder, "me/new")
    assert set(hub.files("me/new")) == {".gitattributes", *FILES}


@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("POST /api/repos/create", 401, "does not accept this one: log in with `hf auth login`, or set HF_TOKEN"),
        ("POST /api/repos/create", 403, "the token may not do this: use one that may read"),
        ("POST .*/commit/main", 403, "the token may not do this"),
    ],
)  # fmt: skip
def test_a_hub_that_refuses_a_push(hub, model_folder, where, status, message, cli):
    hub.answers[where] = (status, {})
    [error] = cli("push", model_folder, NAME, status=2).errors
    assert error.startswith(f"{NAME}: ") and message in error
    assert NAME not in hub.repositories or set(hub.files(NAME)) == {".gitattributes"}


def test_the_environment_names_hub_and_token(published, model_folder, tmp_path, monkeypatch):
    published.repositories[NAME].private = True
    environment = os.environ | {"HF_ENDPOINT": published.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "urbankit", "pull", NAME]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(Path("town")) == contents(model_folder)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "the hub has no such repository, or it is private" in refusal(NAME, "again")
