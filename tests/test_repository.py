"""What a repository that is to be published has, beside the package."""

import importlib.util
import pathlib
import re
import subprocess

import pytest

import keras_floss

ROOT = pathlib.Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("set_address", ROOT / "tools/set_address.py")
address = importlib.util.module_from_spec(spec)
spec.loader.exec_module(address)

# Not written as a link, which the script would find here.
ADDRESS = "https://github.com/{owner}/{name}".format
OLD = ADDRESS(owner="OWNER", name="keras_floss")
# In what forms a page may link to the repository, and what is no such link.
PAGE = """
[code](https://github.com/{owner}/{name}) [file](https://github.com/{owner}/{name}/blob/main/keras_floss/cli.py)
[colab](https://colab.research.google.com/github/{owner}/{name}/blob/main/notebooks/1.ipynb)
![badge](https://img.shields.io/github/actions/workflow/status/{owner}/{name}/tests.yml)
git+https://github.com/{owner}/{name}.git, git@github.com:{owner}/{name}.git
https://{owner}.github.io/{name}/api/ and https://raw.githubusercontent.com/{owner}/{name}/main/README.md
repo_name: {owner}/{name}
https://github.com/keras-team/keras/issues/20585, mypy keras_floss, tests/keras_floss
"""


def test_every_link_to_the_repository_has_the_address_of_setup_cfg():
    """If not: python tools/set_address.py, which lists them, and sets them too."""
    assert address.other_links() == []


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "setup.cfg").write_text(f"url = {OLD}\n")
    (tmp_path / "page.md").write_bytes(
        PAGE.format(owner="OWNER", name="keras_floss").encode()
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    return tmp_path


def page(repository):
    return (repository / "page.md").read_text()


@pytest.mark.parametrize("name", ["keras_floss", "keras-floss", "flossing.tf"])
def test_a_new_address_is_set_in_every_link_and_nowhere_else(repository, name):
    changed = address.set_address(ADDRESS(owner="some-lab", name=name), repository)
    assert changed == ["page.md", "setup.cfg"]
    assert page(repository) == PAGE.format(owner="some-lab", name=name)
    assert address.other_links(repository) == []
    # And back again.
    address.set_address(OLD, repository)
    assert page(repository) == PAGE.format(owner="OWNER", name="keras_floss")


def test_a_link_elsewhere_is_found_and_set(repository):
    with (repository / "page.md").open("a") as file:
        file.write(f"[fork]({ADDRESS(owner='someone-else', name='keras_floss')})\n")
    (found,) = address.other_links(repository)
    assert found == "page.md: github.com/" + "someone-else/keras_floss"
    address.set_address(ADDRESS(owner="some-lab", name="keras_floss"), repository)
    assert "someone-else" not in page(repository)


@pytest.mark.parametrize("wrong", ["some-lab/keras_floss", "https://example.org/a/b", ""])
def test_what_is_no_address_is_refused(repository, wrong):
    with pytest.raises(ValueError, match="must be https://github.com/OWNER/NAME"):
        address.set_address(wrong, repository)


def test_the_version_has_a_dated_section_of_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version = re.escape(keras_floss.__version__)
    first, second = re.findall(r"^## \[(.+)$", changelog, re.MULTILINE)[:2]
    assert first == "Unreleased]"
    assert re.fullmatch(rf"{version}\] - \d{{4}}-\d\d-\d\d", second)
    assert f"version: {keras_floss.__version__}\n" in (ROOT / "CITATION.cff").read_text(
        "utf-8"
    )


def test_the_workflows_take_the_oldest_versions_that_are_promised():
    """As .ci/run does, and the oldest Python."""
    promised = (ROOT / "setup.cfg").read_text("utf-8")
    (tensorflow,) = re.findall(r"^    tensorflow>=([\d.]+)$", promised, re.MULTILINE)
    (backend,) = re.findall(r"^    keras>=([\d.]+)$", promised, re.MULTILINE)
    (python,) = re.findall(r"^python_requires = >=([\d.]+)$", promised, re.MULTILINE)
    workflow = (ROOT / ".github/workflows/tests.yml").read_text("utf-8")
    oldest = f'pip install "tensorflow=={tensorflow}.*" "keras=={backend}.0" -e ".[test]"'
    assert oldest in workflow
    assert oldest.replace("install", "install -q") in (ROOT / ".ci/run").read_text("utf-8")
    assert f'python: ["{python}",' in workflow
