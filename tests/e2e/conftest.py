"""What takes minutes of waiting is started first, so that the other tests run beside it."""

from __future__ import annotations

import pytest

LONGEST = "test_cron_daemon.py"


@pytest.hookimpl(trylast=True)  # after pytest-randomly has shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest test to the front; the others stay in their order."""
    items.sort(key=lambda item: item.path.name != LONGEST)
