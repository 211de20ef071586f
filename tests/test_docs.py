"""What is public is in the reference and in the README, under one address."""

import inspect
import pathlib
import re

import keras_floss

ROOT = pathlib.Path(__file__).parent.parent


def public_names():
    """`keras_floss.x` and `keras_floss.callbacks.x` and so on, modules apart."""
    for name in keras_floss.__all__:
        thing = getattr(keras_floss, name)
        if not inspect.ismodule(thing):
            yield name
            continue
        for inner, part in vars(thing).items():
            of_ours = getattr(part, "__module__", "").startswith("keras_floss")
            again = part is getattr(keras_floss, inner, None)
            if of_ours and callable(part) and not again and not inner.startswith("_"):
                yield f"{name}.{inner}"


# For those who build upon the package, and of no use in a script.
TOOLS = {"plots.figure", "plots.png", "plots.has_matplotlib", "plots.require_matplotlib"}


def test_every_public_name_is_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    there = set(re.findall(r"^::: keras_floss\.(\S+)$", pages, flags=re.MULTILINE))
    assert there == set(public_names()) - TOOLS - {"__version__"}


def test_every_public_name_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    names = {name.rpartition(".")[2] for name in set(public_names()) - TOOLS}
    assert {name for name in names - {"__version__"} if name not in readme} == set()


def test_the_repository_has_one_address():
    (address,) = re.findall(
        r"^url = https://github\.com/(\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE
    )
    texts = [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", *(ROOT / "docs").rglob("*.md")]
    for path in [*texts, *ROOT.glob("notebooks/*.ipynb")]:
        # Colab's addresses, too.
        for found in re.findall(r"github(?:\.com)?/([\w-]+/keras_floss)", path.read_text()):
            assert found == address, path
