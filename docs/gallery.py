"""Draws the pictures of gallery.md, by the code that stands there.

    python docs/gallery.py

Some minutes on two cores.
"""

import pathlib
import re

HERE = pathlib.Path(__file__).parent


def main():
    text = (HERE / "gallery.md").read_text()
    (HERE / "pictures").mkdir(exist_ok=True)
    namespace = {}
    for code, picture in re.findall(
        r"```python\n(.*?)```|\((pictures/\w+\.png)\)", text, flags=re.DOTALL
    ):
        if code:
            exec(code, namespace)
        else:
            namespace["figure"].savefig(HERE / picture, dpi=100)


if __name__ == "__main__":
    main()
