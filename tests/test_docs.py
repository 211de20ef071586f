"""What is public is in the reference and in the README, under one address."""

import pathlib
import re

from public_api import public_api

ROOT = pathlib.Path(__file__).parent.parent
PUBLIC = dict(public_api())


def test_every_public_name_is_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    there = set(re.findall(r"^::: keras_floss\.(\S+)$", pages, flags=re.MULTILINE))
    assert there == set(PUBLIC)


def test_every_public_name_is_in_the_readme():
    """But for the types of results, which nobody imports to get one."""
    readme = (ROOT / "README.md").read_text()
    names = {
        address.rpartition(".")[2]
        for address, thing in PUBLIC.items()
        if not hasattr(thing, "_fields")
    }
    assert {name for name in names if name not in readme} == set()
