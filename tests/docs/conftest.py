"""The site's own modules, which lie beside its pages."""

import sys

import pytest

from pages import DOCS


@pytest.fixture(scope="session", autouse=True)
def site_modules():
    """``generate`` and ``measure`` can be imported, as they are where a person runs them."""
    folders = [str(DOCS), str(DOCS / "figures")]
    sys.path += folders
    yield
    for folder in folders:
        sys.path.remove(folder)
