"""The site builds without a warning, and a page opens from the file system, without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from pages import DOCS, ROOT

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a page fetches by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in LOADS and values.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(values.get(LOADS[tag]) or "")


def test_every_page_of_docs_is_built(built):
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    pages = {page for page in pages if page.parts[0] != "examples"}
    assert pages <= {path.relative_to(built) for path in built.rglob("*.html")}
    assert not (built / "examples").exists()
    assert not list(built.rglob("*.py"))


def test_no_page_loads_anything_from_elsewhere(built):
    for page in built.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text())
        elsewhere = [url for url in parser.found if re.match(r"(https?:)?//", url)]
        assert not elsewhere, f"{page.name}: {elsewhere}"
    for sheet in built.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text()), sheet.name
