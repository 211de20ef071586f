"""What the site shows besides the pages of this folder, and its formulas.

- The notebooks as they were run, a list of the examples, the changelog and the validation,
  which have their place elsewhere in the repository.
- The figures of the results, drawn from the runs that are kept in docs/results.
- Links from the names of the package to its reference.
- Formulas as MathML, which browsers draw without a script or a font of somebody else's.
"""

import ast
import base64
import html
import json
import pathlib
import re

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from keras_floss.results.page import page as page_of_results

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
FIGURES = "<!-- figures -->"  # where they stand in results.md
PAGES = {"changelog.md": "CHANGELOG.md", "validation.md": "VALIDATION.md"}


def on_files(files, config):
    """Adds the pages that are elsewhere."""
    for uri, source in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text()))
    page = examples(config["repo_url"])
    files.append(File.generated(config, "examples.md", content=page))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page, pictures = notebook(json.loads(path.read_text())["cells"], path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    config.extra["figures"], pictures = page_of_results(RESULTS)
    for name, picture in pictures.items():
        files.append(File.generated(config, f"results/{name}", content=picture))
    return files


def examples(repository):
    """What the examples say of themselves, as Markdown."""
    parts = [
        "# Examples",
        "Short scripts, each a use of its own: `python examples/NAME.py`, in a clone, "
        "takes less than two minutes.",
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        title, _, text = ast.get_docstring(ast.parse(path.read_text())).partition("\n\n")
        link = f"[{path.name}]({repository}/blob/main/examples/{path.name})"
        parts += [f"## {title.rstrip('.')}", link, text]
    return "\n\n".join(parts)


def notebook(cells, stem):
    """A notebook as Markdown, and its pictures by name."""
    parts, pictures = [], {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # Other notebooks are pages here, and Colab's badge is a picture of Colab's.
            source = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", source)
            parts.append(re.sub(r"\[!\[(.*?)\]\(.*?\)\]", r"[\1]", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{1 + len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the cell above draws]({name})")
            else:
                text = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts), pictures


def on_page_markdown(markdown, page, config, **_):
    """Leads to the pages of the site where the repository's own files are linked to.

    So the links of this folder hold where it is read in the repository, too. The first
    mention of a public name becomes a link to the reference.
    """

    markdown = markdown.replace(FIGURES, config.extra["figures"])

    def link(found):
        file = found["file"]
        page = {source: uri for uri, source in PAGES.items()}.get(file)
        page = page or re.sub(r"^examples/.*", "examples.md", file)
        return f"]({found['up']}{page.replace('.ipynb', '.md')}"

    files = r"notebooks/\w+\.ipynb|examples/\w+\.py|" + "|".join(PAGES.values())
    pattern = rf"\]\(\.\./(?P<up>(\.\./)*)(?P<file>{files})"
    markdown = re.sub(pattern, link, markdown)
    return markdown if page.file.src_uri.startswith("api/") else refer(markdown)


def refer(markdown):
    """Links the first mention of each public name, but in code, headings and links."""
    names = {}
    for path in sorted((ROOT / "docs" / "api").glob("*.md")):
        for address in re.findall(
            r"^::: keras_floss\.(\S+)$", path.read_text(), re.MULTILINE
        ):
            room, _, name = address.rpartition(".")
            names[address] = names[f"keras_floss.{address}"] = address
            # A layer without its room is Keras's, a picture or a task may be a word.
            if room == "callbacks":
                names[name] = address
    done = set()

    def reference(found):
        address = names.get(found[1])
        if address is None or address in done:
            return found[0]
        done.add(address)
        return f"[{found[0]}][keras_floss.{address}]"

    parts = re.split(
        r"(```.*?```|^#.*?$|!?\[[^\]]*\]\([^)]*\))", markdown, flags=re.S | re.M
    )
    parts[::2] = [re.sub(r"`([\w.]+)(?:\(.*?\))?`", reference, part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(content, **_):
    """Formulas in MathML, in place of the LaTeX that a script would set."""

    def formula(found):
        latex = html.unescape(found["latex"]).strip()
        if found["tag"] == "span":
            return convert(latex)
        return f'<div class="formula">{convert(latex, display="block")}</div>'

    return re.sub(
        r'<(?P<tag>div|span) class="arithmatex">\\[\[(](?P<latex>.*?)\\[\])]</(?P=tag)>',
        formula,
        content,
        flags=re.DOTALL,
    )
