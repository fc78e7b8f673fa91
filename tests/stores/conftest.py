"""
Object stores on this machine: S3 by moto's server, Azure by Azurite; ``STORE=s3`` or ``STORE=azure`` says which.

Nothing here runs without that: the drivers are large, and come over the network (`make lane-s3`, `make lane-azure`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

STORE = os.environ.get("STORE")
collect_ignore_glob = [] if STORE else ["test_*.py"]

BUCKET = "landing"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's own
ACCOUNT = "devstoreaccount1"
_HADOOP = "3.5.0"  # what pyspark 4.2 carries; a driver of another one does not go with it
# hadoop-aws wants all of Amazon's SDK, 655 MB; these parts of it are what s3a uses.
_SDK = "2.57.8"
_SDK_PARTS = ("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client")


class Store(Protocol):
    """
    Somewhere to put files, and how Spark and its users name that place.
    """

    @property
    def url(self) -> str: ...
    def put(self, name: str, content: str) -> None: ...


@dataclass(frozen=True)
class S3:
    """
    A bucket on moto's server.
    """

    client: Any
    endpoint: str
    url: str = f"s3a://{BUCKET}"

    def put(self, name: str, content: str) -> None:
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content.encode())

    def confs(self) -> dict[str, str]:
        return {
            "spark.jars.packages": ",".join(
                [f"org.apache.hadoop:hadoop-aws:{_HADOOP}"]
                + [f"software.amazon.awssdk:{part}:{_SDK}" for part in _SDK_PARTS]
            ),
            "spark.jars.excludes": "software.amazon.awssdk:bundle",
            "spark.hadoop.fs.s3a.endpoint": self.endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.access.key": "test",
            "spark.hadoop.fs.s3a.secret.key": "test",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.hadoop.fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        }


@dataclass(frozen=True)
class Azure:
    """
    A container in Azurite, which speaks Blob Storage and no TLS: an account without hierarchical namespace.
    """

    container: Any
    endpoint: str
    url: str = f"abfs://{BUCKET}@{ACCOUNT}.dfs.core.windows.net"

    def put(self, name: str, content: str) -> None:
        self.container.upload_blob(name, content.encode())

    def confs(self) -> dict[str, str]:
        return {
            "spark.jars.packages": f"org.apache.hadoop:hadoop-azure:{_HADOOP}",
            "spark.hadoop.fs.azure.abfs.endpoint": self.endpoint,
            "spark.hadoop.fs.azure.always.use.https": "false",
            "spark.hadoop.fs.azure.account.auth.type": "SharedKey",
            f"spark.hadoop.fs.azure.account.key.{ACCOUNT}.dfs.core.windows.net": KEY,
            "spark.hadoop.fs.azure.account.hns.enabled": "false",
            "spark.hadoop.fs.azure.fns.account.service.type": "BLOB",
            "spark.hadoop.fs.azure.networking.library": "JDK_HTTP_URL_CONNECTION",  # the other one insists on TLS
        }


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """
    The store of this run, with an empty bucket.
    """
    if STORE == "s3":
        yield from _moto()
    elif STORE == "azure":
        yield from _azurite(tmp_path_factory.mktemp("azurite"))
    else:
        pytest.fail(f"STORE={STORE} is none of s3, azure")


@pytest.fixture(scope="session")
def jars(store: Any) -> dict[str, str]:
    """
    The drivers of the store for the session of this run.
    """
    return dict(store.confs())


def _moto() -> Iterator[Store]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=BUCKET)
    yield S3(client, f"http://{host}:{port}")
    server.stop()


def _azurite(folder: Any) -> Iterator[Store]:
    from azure.storage.blob import BlobServiceClient

    port = _free_port()
    program = [os.environ["AZURITE"], "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    process = subprocess.Popen([*program, "--silent", "--skipApiVersionCheck"], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        service = BlobServiceClient(f"http://127.0.0.1:{port}/{ACCOUNT}", credential=KEY)
        yield Azure(service.create_container(BUCKET), f"127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
