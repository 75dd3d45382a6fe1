"""The notebooks of the gallery: they run, and the site and the index of the gallery list them."""

import re
import runpy
import tempfile
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
NOTEBOOKS = sorted(GALLERY.glob("*.py"))


def names() -> list[str]:
    return [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_writes_only_into_its_folder(notebook, tmp_path, monkeypatch, fresh_registry) -> None:
    temporary, here = tmp_path / "temporary", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(here)
    matplotlib.use("Agg")
    # Components of a notebook are classes of the module `__main__`, as in Jupyter.
    runpy.run_path(str(notebook), run_name="__main__")
    pyplot.close("all")
    assert list(here.iterdir()) == [] and list(temporary.iterdir())


def test_navigation_lists_the_notebooks_in_order() -> None:
    site = (GALLERY.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"^ +- gallery/(\d\d_\w+\.py)$", site, flags=re.MULTILINE) == names()


def test_index_lists_the_notebooks_by_their_titles() -> None:
    index = (GALLERY / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\[(.+?)\]\((\d\d_\w+\.py)\)", index) == [
        (path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# # "), path.name) for path in NOTEBOOKS
    ]
