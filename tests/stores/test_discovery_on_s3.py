"""
A bucket that is scanned into a meta table, through s3fs.
"""

from __future__ import annotations

import pytest

import spark_batchintory as bi
from tests.odd_names import IN_STORES

from .conftest import STORE

pytestmark = pytest.mark.skipif(STORE != "s3", reason="a bucket on S3")


@pytest.fixture(scope="module")
def options(store):
    """
    How s3fs reaches the store; what it found elsewhere is not asked for.
    """
    reached = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
    return {"key": "test", "secret": "test", "client_kwargs": reached}


@pytest.fixture(scope="module", autouse=True)
def threads_of_fsspec(options):
    """
    Those it keeps from its first use to the end of the process.
    """
    from s3fs import S3FileSystem

    S3FileSystem(**options).ls("landing")


def test_a_bucket_is_registered(store, options, tmp_path):
    """
    P1: each object once, under the scheme that Spark reads; folders of many levels; marks of folders are no files.
    """
    names = [*IN_STORES, "k=v/day=1/part-0", "k=v/day=2/part-0"]
    for name in [*names, "_SUCCESS", "k=v/_temporary/0/x", "folder/", "empty//name"]:
        store.put(f"discovery/{name}", "x" * 3)

    with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
        found = inventory.register_files("s3a://landing/discovery", "files", storage_options=options)
        again = inventory.register_files("s3a://landing/discovery/", "files", storage_options=options)
        batch = inventory.acquire_batch("bronze", "files", heartbeat=False)

    assert sorted(batch.items) == sorted(f"s3a://landing/discovery/{name}" for name in names)
    assert set(batch.weights) == {3}
    assert (again.registered, again.left["known"]) == (0, len(names))
    assert (found.registered, found.left["hidden"]) == (len(names), 2)


def test_more_than_a_listing_holds(store, options, tmp_path):
    """
    P1: a listing of S3 ends after 1,000 names, and goes on.
    """
    for number in range(1_005):
        store.put(f"many/{number}", "x")

    with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
        assert inventory.register_files("s3://landing/many", "files", storage_options=options).registered == 1_005


def test_a_prefix_without_objects_and_a_bucket_that_is_not_there(store, options, tmp_path):
    """
    API: nothing is in them, and the answer says so.
    """
    with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
        for url in ("s3://landing/none", "s3://nowhere/x"):
            scanned = inventory.register_files(url, "files", storage_options=options)
            assert (scanned.seen, "there is nothing" in str(scanned)) == (0, True)
