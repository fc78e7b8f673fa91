"""
docs/databricks.md: the functions that fetch tokens of Lakebase, against the databricks-sdk that is installed.

Nobody logs in anywhere: its two interfaces are played by stand-ins that take the calls it takes, and no other.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from databricks.sdk.service.database import DatabaseAPI
from databricks.sdk.service.database import DatabaseCredential as InstanceCredential
from databricks.sdk.service.postgres import DatabaseCredential, PostgresAPI

from spark_batchintory.settings import inventory_connection, load_settings

PAGE = (Path(__file__).parent.parent / "docs" / "databricks.md").read_text("utf-8")
PROVIDERS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def token" in block]


@pytest.fixture
def workspace():
    """
    A client that gives out two tokens.
    """
    database = create_autospec(DatabaseAPI, instance=True)
    postgres = create_autospec(PostgresAPI, instance=True)
    database.generate_database_credential.return_value = InstanceCredential(token="of an instance")
    postgres.generate_database_credential.return_value = DatabaseCredential(token="of an endpoint")
    me = SimpleNamespace(me=lambda: SimpleNamespace(user_name="ann@example.com"))
    return SimpleNamespace(database=database, postgres=postgres, current_user=me)


@pytest.mark.parametrize(("position", "token"), [(0, "of an endpoint"), (1, "of an instance")])
def test_a_provider_asks_as_the_sdk_wants_it(workspace, monkeypatch, position, token):
    """
    API: names and arguments of the calls are those of databricks-sdk, and the function returns text.
    """
    monkeypatch.setattr("databricks.sdk.WorkspaceClient", lambda: workspace)
    names = {"workspace": workspace}
    with pytest.MonkeyPatch.context() as patch:
        settings = []
        patch.setattr("spark_batchintory.configure", lambda settings_=None, **given: settings.append(given["settings"]))
        exec(PROVIDERS[position], names)

    assert names["token"]() == token
    for given in settings:
        connection = inventory_connection(load_settings(settings=given))
        assert connection.url.username == "ann@example.com"
        assert connection.token.function is names["token"]


def test_both_are_shown():
    """
    The page has a function for each of the two kinds of Lakebase.
    """
    assert len(PROVIDERS) == 2
