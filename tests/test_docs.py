"""What is public is in the reference, and every link leads somewhere."""

import pathlib
import re

from public_api import public_api

ROOT = pathlib.Path(__file__).parent.parent
PUBLIC = dict(public_api())


def test_every_public_name_is_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    there = set(re.findall(r"^::: keras_floss\.(\S+)$", pages, flags=re.MULTILINE))
    assert there == set(PUBLIC)


def test_every_public_name_is_in_the_list_of_what_there_is():
    """But for the types of results, which nobody imports to get one."""
    text = (ROOT / "docs" / "api" / "index.md").read_text()
    names = {
        address.rpartition(".")[2]
        for address, thing in PUBLIC.items()
        if not hasattr(thing, "_fields")
    }
    assert {name for name in names if name not in text} == set()


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_links_within_the_repository_lead_somewhere():
    """Also on GitHub; `mkdocs build --strict` checks those of the site."""
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((\S+?)(?:#\S*)?\)", path.read_text()):
            # Those to files by the repository's address, Colab's too.
            file = re.sub(r"^https://\S*github\S*?/(?:blob|tree)/main/", "/", link)
            to = ROOT / file[1:] if file.startswith("/") else path.parent / file
            assert "://" in file or to.exists(), (path, link)


def test_every_page_is_in_the_navigation():
    """What `mkdocs build` calls a warning, without mkdocs."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        assert str(path.relative_to(ROOT / "docs")) in navigation
