"""The site of the docs: it builds without a warning and holds the public names, components, results and notebooks."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import urbankit
from urbankit import bench, registry, testing

# The releases of mkdocstrings and Markdown for Python 3.10 do not work together.
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="the site is built with Python 3.11 or newer")

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "GALLERY_EXECUTE": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text(encoding="utf-8")


def test_api_page_lists_public_names_and_inherited_members(site: Path) -> None:
    text = page(site, "api")
    public = [f"urbankit.{name}" for name in urbankit.__all__ if not name.startswith("_")]
    public += [f"urbankit.bench.{name}" for name in bench.__all__]
    public += [f"urbankit.testing.{name}" for name in testing.__all__]
    missing = [name for name in public if f'id="{name}"' not in text]
    assert not missing
    assert 'id="urbankit.City.coverage"' in text and 'id="urbankit.Run.table"' in text


def test_components_page_lists_every_builtin_component(site: Path) -> None:
    text = page(site, "components")
    builtin = [entry for entry in registry.entries() if entry.distribution == "urbankit"]
    assert builtin
    missing = [entry.name for entry in builtin if f'id="{entry.kind}-{entry.name}"' not in text]
    assert not missing


@pytest.mark.parametrize("name", ["results", "transfer"])
def test_results_are_rendered_as_tables(name: str, site: Path) -> None:
    links = re.findall(r"^\[Table: .*\]\((results/.*\.csv)\)$", (ROOT / f"docs/{name}.md").read_text(), re.MULTILINE)
    text = page(site, name)
    assert links and "[Table:" not in text
    for link in links:
        first = next(csv.DictReader((ROOT / "docs" / link).open(encoding="utf-8")))
        scores = [value for value in first.values() if re.search(r"\d\.\d", value)]
        assert scores and all(score in text for score in scores) and re.search(rf'href="[^"]*{Path(link).name}"', text)


def test_every_result_file_is_on_a_page() -> None:
    text = (ROOT / "docs/results.md").read_text() + (ROOT / "docs/transfer.md").read_text()
    assert {f"results/{path.name}" for path in RESULTS.iterdir()} == set(re.findall(r"results/[\w-]+\.csv", text))


def test_readme_shows_the_results_of_new_york() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for record in csv.DictReader((RESULTS / "new-york.csv").open(encoding="utf-8")):
        row = re.search(rf"^\| {record['task']} .*\| {record['split']} \|.*$", readme, re.MULTILINE)
        assert row and f"{record['mean']} ± {record['std']}" in row[0] and record["floor_raw_forest"] in row[0]


def test_notebooks_are_pages_with_links_to_pages(site: Path) -> None:
    text = page(site, "gallery/08_transfer")
    assert "Model.open" in text and 'href="../../transfer/#results"' in text
    assert 'href="../04_ten_labels_in_a_new_city/"' in text
    assert 'href="08_transfer/"' in page(site, "gallery")
