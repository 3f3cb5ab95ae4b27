"""``pytest --guardcore-contracts``: one test a component of every installed distribution.

pytest imports this module in every project of the environment, so it imports nothing else of
GuardCore before the option is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from guardcore.registry import Registered

OPTION = "--guardcore-contracts"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("guardcore").addoption(
        OPTION,
        action="store_true",
        help="check every installed GuardCore component against its contract; choose some with "
        "-k 'my-plugin', -k reward",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let no judge's default model be downloaded; HF_HUB_OFFLINE=0 does."""
    if config.getoption(OPTION):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the components, also where the project has no tests of its own."""
    if session.config.getoption(OPTION):
        name = "guardcore-contracts"
        items += Contracts.from_parent(session, name=name, nodeid=name).collect()


class Contracts(pytest.Collector):
    """Every component of the installed plugins."""

    def collect(self) -> list[pytest.Item]:
        """Return one item a component; plugins that did not load are warned about."""
        from guardcore.plugins import PluginHost

        host = PluginHost.discover()
        for problem in host.problems:
            self.warn(pytest.PytestWarning(str(problem)))
        return list(self._items(host.registry))

    def _items(self, entries: Any) -> Iterator[pytest.Item]:
        for entry in entries:
            name = f"{entry.qualified}[{entry.kind}]"
            yield Contract.from_parent(self, name=name, entry=entry)


class Contract(pytest.Item):
    """One component against its kind's laws."""

    def __init__(self, *, entry: Registered, **more: Any) -> None:
        super().__init__(**more)
        self.entry = entry

    def runtest(self) -> None:
        """Check it; where it cannot be built, skip with the reason."""
        from guardcore.testing.component import NotBuildable, aside, check_registered

        try:
            with aside():
                check_registered(self.entry)
        except NotBuildable as error:
            pytest.skip(f"{self.name} not checked: {error}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return a broken law's own line; of anything else, where it happened."""
        from guardcore.testing.law import ContractError

        if isinstance(excinfo.value, ContractError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return what stands above a failure."""
        return "guardcore-contracts", None, self.name
