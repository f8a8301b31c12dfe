from __future__ import annotations

import pytest

pytest_plugins = ["tests.plugins.dist"]


@pytest.fixture(scope="session", autouse=True)
def flight_records(tmp_path_factory):
    """Where the records of collectives go that failures leave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTORCH_RUN_DIR", str(tmp_path_factory.mktemp("flight")))
        yield
