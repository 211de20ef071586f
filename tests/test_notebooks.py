"""What every notebook has. That they run is for `pytest --nbmake notebooks`, in CI."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
(URL,) = re.findall(r"^url = (\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)


def source(cell):
    return "".join(cell["source"])


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, json.loads(request.param.read_text())["cells"]


def test_there_are_five():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_", "4_", "5_"]


def test_begins_with_its_own_badge_and_an_install_cell(notebook):
    path, (title, install, *_) = notebook
    address = URL.replace(
        "https://github.com/", "https://colab.research.google.com/github/"
    )
    assert f"{address}/blob/main/notebooks/{path.name})" in source(title)
    # Colab's TensorFlow stays: only the package itself is installed, and only there.
    (command,) = re.findall(r"%pip .*", source(install))
    assert command == f"%pip install -q --no-deps git+{URL}"
    assert '"google.colab" in sys.modules' in source(install)


def test_was_run_from_top_to_bottom_in_full_and_without_error(notebook):
    _, cells = notebook
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert "error" not in kinds
    assert "stream" in kinds
    assert "image/png" in json.dumps(outputs)
    # Nothing of the machine that it ran on, as a warning would tell.
    for output in outputs:
        assert not re.search(r"/\w+/\S*\.py", "".join(output.get("text", "")))


def test_every_picture_is_explained(notebook):
    _, cells = notebook
    for cell, after in zip(cells, cells[1:], strict=False):
        if "image/png" in json.dumps(cell.get("outputs", [])):
            assert after["cell_type"] == "markdown"


def test_links_lead_to_notebooks_that_are_there(notebook):
    _, cells = notebook
    text = "".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    for name in re.findall(r"\]\((\w+\.ipynb)\)", text):
        assert (ROOT / "notebooks" / name).exists(), name


def test_the_readme_leads_to_every_notebook():
    readme = (ROOT / "README.md").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.name}" in readme
