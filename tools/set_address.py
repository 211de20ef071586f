"""The repository's address: in setup.cfg, and from there in every link to it.

    python tools/set_address.py https://github.com/OWNER/NAME
    python tools/set_address.py

The first writes the address into setup.cfg (`url`) and into every link to the repository,
its pages, badges and notebooks in Colab, in whatever file git knows. The second changes
nothing: it lists the links that lead elsewhere, and ends with exit code 1 if there are any.
"""

import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
ADDRESS = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")
OWN_LINE = re.compile(r"^url = (\S+)$", re.MULTILINE)


def repository(root: pathlib.Path = ROOT) -> tuple[str, str]:
    """Owner and name, as setup.cfg says."""
    (address,) = OWN_LINE.findall((root / "setup.cfg").read_text("utf-8"))
    return _parts(address)


def links(text: str, name: str) -> list[re.Match[str]]:
    """Every link to a repository of that name, whoever owns it."""
    name = rf"(?P<name>{re.escape(name)}|keras[_-]floss)(?![\w-])"
    owner = r"(?P<owner>[\w-]+)"
    # github.com/…, colab.research.google.com/github/…, img.shields.io/github/…/….
    code = rf"github(?!\.io)[^\s\"'()<>{{}}\[\]]*?[/:]{owner}/{name}"
    pages = rf"{owner}\.github\.io/{name}"
    found = [*re.finditer(code, text), *re.finditer(pages, text)]
    return sorted(found, key=lambda match: match.start())


def other_links(root: pathlib.Path = ROOT) -> list[str]:
    """The links that do not lead to the repository of setup.cfg, with their files."""
    own = repository(root)
    return [
        f"{path.relative_to(root)}: {link[0]}"
        for path, text in _texts(root)
        for link in links(text, own[1])
        if not _same(link, own)
    ]


def set_address(address: str, root: pathlib.Path = ROOT) -> list[str]:
    """Writes the address everywhere, and gives the files that it changed."""
    old, new = repository(root), _parts(address)
    changed = []
    for path, text in _texts(root):
        after = text
        for link in reversed(links(text, old[1])):
            # From the last group on, so that what stands before keeps its place.
            for group, value in (("name", new[1]), ("owner", new[0])):
                after = after[: link.start(group)] + value + after[link.end(group) :]
        # `owner/name` without a host, as a workflow's or MkDocs's settings have it.
        bare = rf"(?<![\w./:-]){re.escape('/'.join(old))}(?![\w-])"
        after = re.sub(bare, "/".join(new), after)
        if after != text:
            path.write_bytes(after.encode())
            changed.append(str(path.relative_to(root)))
    return changed


def _parts(address):
    match = ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(
            "The address must be https://github.com/OWNER/NAME. Received: " + address
        )
    return match[1], match[2]


def _same(link, own):
    # GitHub does not look at the case of an address; hosts are written small.
    return (link["owner"].lower(), link["name"].lower()) == tuple(p.lower() for p in own)


def _texts(root):
    """Path and text of every text file that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    for name in sorted(set(filter(None, listed.decode().split("\0")))):
        path = root / name
        try:
            # As bytes, so that ends of lines stay what they are.
            text = path.read_bytes().decode()
        except (UnicodeDecodeError, OSError):  # a picture, or deleted
            continue
        yield path, text


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", nargs="?", help="https://github.com/OWNER/NAME")
    given = parser.parse_args().address
    if given is None:
        others = other_links()
        print(*others, sep="\n", end="\n" if others else "")
        return bool(others)
    try:
        print(*set_address(given), sep="\n")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
