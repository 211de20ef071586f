"""Opens every page of the built site in a browser, and complains of what is wrong with it.

    mkdocs build --site-dir site && python docs/check_site.py site [folder for pictures]

In light and dark, at the width of a desktop and of a phone: no link within the site that
leads nowhere, no picture that is missing, no error in the console, nothing that is asked of
another server, no page that is wider than a phone, and a search that finds something. It
needs playwright (extra `docs`) and a Chromium: Debian's, the one that CHROMIUM names, or
playwright's own. Where there is none it says so and ends well.
"""

import functools
import http.server
import os
import pathlib
import shutil
import sys
import threading
import urllib.parse

from playwright.sync_api import Error, sync_playwright

PHONE, DESKTOP = {"width": 375, "height": 740}, {"width": 1280, "height": 900}
# Drawn in light and dark, if a folder for pictures is given.
DRAWN = ("", "getting-started/", "mathematics/", "api/callbacks/", "gallery/")
LINKS = """() => [...document.querySelectorAll('a[href], img[src]')]
    .map(x => x.href || x.src)"""
# What sticks out of the page, but for what scrolls by itself.
WIDER = """() => document.documentElement.scrollWidth - window.innerWidth"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Says nothing."""


def find_browser():
    """The path of a Chromium, or None for that of playwright."""
    names = "chromium", "chromium-browser", "google-chrome"
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def main(site, pictures=None):
    site = pathlib.Path(site).resolve()
    handler = functools.partial(Quiet, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    paths = sorted(
        str(path.parent.relative_to(site)).lstrip(".") for path in site.rglob("index.html")
    )
    paths = [path and f"{path}/" for path in paths]
    with sync_playwright() as playwright:
        path = find_browser()
        try:
            browser = playwright.chromium.launch(
                executable_path=path, args=["--no-sandbox"]
            )
        except Error as error:
            if path:
                raise
            print(f"check_site: skipped, no browser ({str(error).splitlines()[0]})")
            return 0
        wrong = []
        for scheme in ("light", "dark"):
            wrong += check(browser, home, paths, scheme, pictures)
        wrong += check_search(browser, home)
        browser.close()
    print(*wrong, sep="\n")
    print(f"check_site: {len(paths)} pages, {len(wrong)} complaints")
    return bool(wrong)


def check(browser, home, paths, scheme, pictures):
    """The complaints about every page in one colour scheme."""
    wrong, anchors, links = [], {}, {}
    page = browser.new_page(color_scheme=scheme, viewport=DESKTOP)
    where = ""

    def complain(text):
        wrong.append(f"{where or 'home'} ({scheme}): {text}")

    def console(message):
        if message.type == "error":
            complain(message.text)

    def request(asked):
        # What a page embeds in itself, and workers, are no server.
        if not asked.url.startswith((home, "data:", "blob:")):
            complain(f"asks for {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: complain(str(error)))
    page.on("request", request)
    for where in paths:
        page.set_viewport_size(DESKTOP)
        page.goto(home + where, wait_until="load")
        if pictures and where in DRAWN:
            name = where.strip("/").replace("/", "-") or "home"
            page.screenshot(path=pathlib.Path(pictures) / f"{name}-{scheme}.png")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(map(int, background.strip("rgba()").split(",")[:3])) < 3 * 128
        if dark != (scheme == "dark"):
            complain(f"has the background {background}")
        anchors[where] = set(
            page.evaluate("[...document.querySelectorAll('[id]')].map(x => x.id)")
        )
        links[where] = page.evaluate(LINKS)
        page.set_viewport_size(PHONE)
        if (wider := page.evaluate(WIDER)) > 0:
            complain(f"is {wider} pixels wider than a phone")
        if pictures and where in DRAWN:
            page.screenshot(path=pathlib.Path(pictures) / f"{name}-{scheme}-phone.png")
    for where in paths:
        for link in set(links[where]):
            address, _, anchor = link.partition("#")
            if not address.startswith(home):
                continue
            path = urllib.parse.unquote(address.removeprefix(home))
            if path not in anchors:
                if not page.request.get(address).ok:
                    complain(f"leads to {link}, which is not there")
            elif anchor and urllib.parse.unquote(anchor) not in anchors[path]:
                complain(f"leads to {link}, and there is no such place on that page")
    page.close()
    return wrong


def check_search(browser, home):
    """A complaint if the search does not find what is there."""
    page = browser.new_page(viewport=DESKTOP)
    page.goto(home, wait_until="networkidle")  # what is typed before is not heard
    page.locator(".md-search__input").click()
    page.locator(".md-search__input").press_sequentially("AdaptiveFlossing")
    found = page.locator(".md-search-result__item")
    try:
        found.first.wait_for(timeout=10_000)
    except Error:
        return ["The search does not find AdaptiveFlossing."]
    finally:
        page.close()
    return []


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
