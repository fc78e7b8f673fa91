"""
JDBC URLs: that they lead here to the same server, as the same user, under the same protection, or are refused.
"""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from spark_batchintory.connections import Connection, parse_connection
from spark_batchintory.errors import ConfigurationError

PASSWORD = "HUSHhush1"


def driver_arguments(connection: Connection) -> dict[str, object]:
    """
    What SQLAlchemy would hand to the driver.
    """
    assert connection.url is not None
    _, arguments = connection.url.get_dialect()().create_connect_args(connection.url)
    return arguments


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("jdbc:sqlite:f.db", "sqlite:///f.db"),
        ("jdbc:sqlite:/tmp/f.db", "sqlite:////tmp/f.db"),
        ("jdbc:sqlite::memory:", "sqlite://"),
        ("jdbc:sqlite:", "sqlite://"),
        ("jdbc:sqlite:f.db?busy_timeout=2500", "sqlite:///f.db?timeout=2.5"),
        ("jdbc:sqlite:file:f.db?mode=ro", "sqlite:///file:f.db?mode=ro&uri=true"),
        ("jdbc:postgresql://h:5433/d?user=ann&password=p%40w", "postgresql+psycopg://ann:p%40w@h:5433/d"),
        ("jdbc:postgresql://ann:p%40w@h/d", "postgresql+psycopg://ann:p%40w@h/d"),
        ("jdbc:postgresql:d", "postgresql+psycopg://localhost/d"),
        ("jdbc:postgresql:/", "postgresql+psycopg://localhost"),
        ("jdbc:postgresql:///d", "postgresql+psycopg://localhost/d"),
        ("jdbc:postgresql://[::1]:5740/d", "postgresql+psycopg://[::1]:5740/d"),
        ("JDBC:PostgreSQL://h?user=a+b", "postgresql+psycopg://a b@h"),
        ("jdbc:postgresql://a,b:5433/d", "postgresql+psycopg:///d?host=a%3A5432&host=b%3A5433"),
        ("jdbc:mysql://h:3307/d?user=ann", "mysql+pymysql://ann@h:3307/d"),
        ("jdbc:mariadb://h/d?user=ann&password=a%41+b", "mariadb+pymysql://ann:a%2541+b@h/d"),
        ("jdbc:mariadb://h", "mariadb+pymysql://h"),
    ],
)
def test_address_and_login_are_translated(value, url):
    """
    Guards that a URL which works in Spark's JDBC source leads here to the same database and user.
    """
    assert parse_connection(value).url == make_url(url)


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ("ssl=true", {"sslmode": "verify-full"}),
        ("ssl=false", {"sslmode": "prefer"}),
        ("sslmode=require&ssl=true", {"sslmode": "require"}),
        ("SSLMODE=require", {"sslmode": "require"}),
        (
            "sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
            {"sslrootcert": "/ca.pem", "sslcert": "/c.pem", "sslkey": "/k.pem"},
        ),
        ("ApplicationName=nightly+load", {"application_name": "nightly load"}),
        ("currentSchema=landing", {"options": "-csearch_path=landing"}),
        ("currentSchema=a,%20b&options=-cwork_mem=64MB", {"options": "-cwork_mem=64MB -csearch_path=a,\\ b"}),
        ("connectTimeout=7&loginTimeout=3", {"connect_timeout": "7"}),
        ("tcpKeepAlive=true", {"keepalives": "1"}),
        ("targetServerType=preferSecondary", {"target_session_attrs": "prefer-standby"}),
        ("loadBalanceHosts=true", {"load_balance_hosts": "random"}),
        ("channelBinding=require&gssEncMode=disable", {"channel_binding": "require", "gssencmode": "disable"}),
    ],
)
def test_postgresql_parameters_become_those_of_libpq(parameters, query):
    """
    Guards that protection, schema and time-outs of a JDBC URL hold here too, under names that libpq knows.
    """
    from psycopg.conninfo import make_conninfo

    connection = parse_connection(f"jdbc:postgresql://h/d?{parameters}")

    assert dict(connection.url.query) == query
    assert make_conninfo(**driver_arguments(connection))  # refuses what libpq does not know


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ("useSSL=false", {"ssl_disabled": "true"}),
        ("sslMode=DISABLED", {"ssl_disabled": "true"}),
        ("sslMode=PREFERRED", {}),
        ("sslMode=REQUIRED", {"ssl_check_hostname": "false"}),
        ("useSSL=true", {"ssl_check_hostname": "false"}),
        ("requireSSL=true&verifyServerCertificate=true", {"ssl_verify_cert": "true"}),
        ("sslMode=VERIFY_CA", {"ssl_verify_cert": "true"}),
        (
            "connectTimeout=1500&socketTimeout=60000",
            {"connect_timeout": "2", "read_timeout": "60", "write_timeout": "60"},
        ),
        ("connectTimeout=0&socketTimeout=0", {"connect_timeout": "31536000"}),
        ("characterEncoding=UTF-8&useUnicode=true", {"charset": "utf8mb4"}),
        ("allowPublicKeyRetrieval=true&serverTimezone=UTC&permitMysqlScheme=", {}),
        (
            "localSocket=/run/mysqld.sock&allowLocalInfile=false",
            {"unix_socket": "/run/mysqld.sock", "local_infile": "0"},
        ),
    ],
)
def test_mysql_parameters_become_those_of_pymysql(parameters, query):
    """
    Guards the same for MySQL and MariaDB, under names that PyMySQL takes.
    """
    import pymysql

    connection = parse_connection(f"jdbc:mysql://h/d?{parameters}")

    assert dict(connection.url.query) == query
    pymysql.connections.Connection(defer_connect=True, **driver_arguments(connection))


@pytest.mark.parametrize(
    ("parameters", "check_name"),
    [("sslMode=verify-full", True), ("useSsl=true", True), ("sslMode=verify-ca", False)],
)
def test_mariadb_verifies_against_the_file_that_is_given(parameters, check_name):
    """
    Guards that a connection which was to verify its server verifies it: PyMySQL gets the authority and the name
    check.
    """
    connection = parse_connection(f"jdbc:mariadb://h/d?{parameters}&serverSslCert=file:///ca.pem")

    assert driver_arguments(connection)["ssl"] == {"ca": "/ca.pem", "check_hostname": check_name}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("jdbc:postgresql://h/d?prepareThreshold=0&ssl=true", "'prepareThreshold' has no equivalent"),
        ("jdbc:postgresql://h/d?socketTimeout=10", "'socketTimeout' has no equivalent"),
        ("jdbc:postgresql://h/d?ssl=perhaps", "'ssl' must be true or false"),
        ("jdbc:postgresql://h/d?connectTimeout=-1", "'connectTimeout' must be a whole number"),
        ("jdbc:postgresql://h/d?targetServerType=best", "'targetServerType' is understood with these values"),
        (f"jdbc:postgresql://h/d?password=a&{PASSWORD}", "has no value"),
        (f"jdbc:postgresql://ann:1/{PASSWORD}@h/d", "plain form"),
        (f"jdbc:postgresql://ann:x/{PASSWORD}@h/d", "plain form"),
        ("jdbc:mysql://h/d?rewriteBatchedStatements=true", "'rewriteBatchedStatements' has no equivalent"),
        ("jdbc:mysql://h/d?trustCertificateKeyStoreUrl=file:/k.jks", "'trustCertificateKeyStoreUrl'"),
        (
            "jdbc:mysql://h/d?connectionCollation=utf8mb4_bin",
            "'connectionCollation' has no equivalent",
        ),  # SQLAlchemy resets it
        ("jdbc:mysql://h/d?characterEncoding=latin1", "'characterEncoding' is understood with these values"),
        ("jdbc:mysql://h/d?sslMode=VERIFY_IDENTITY", "serverSslCert=/path"),
        ("jdbc:mysql://h/d?sslMode=best", "'sslMode' is understood"),
        ("jdbc:mariadb://h/d?serverSslCert=/ca.pem", "'sslMode' is understood"),
        ("jdbc:mariadb://h/d?useSsl=true", "serverSslCert=/path"),
        ("jdbc:mariadb://h/d?sslMode=verify-ca&serverSslCert=classpath:ca.pem", "path of a PEM file"),
        ("jdbc:mysql://a,b/d", "several hosts"),
        ("jdbc:mysql:loadbalance://a/d", "plain form"),
        ("jdbc:mysql://address=(host=h)/d", "can't be read"),
        ("jdbc:sqlite:f.db?journal_mode=WAL", "'journal_mode' has no equivalent"),
        ("jdbc:sqlite::resource:f.db", "inside of a jar"),
    ],
)
def test_what_has_no_translation_is_refused_by_name(value, words):
    """
    Guards that no parameter is dropped in silence, least of all one that asks for protection; values are never
    shown.
    """
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_connection(value)

    assert "HUSH" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_trusting_without_verifying_is_translated_as_such():
    """
    Guards MariaDB's older flags: useSsl with trustServerCertificate encrypts and verifies nothing, as it says.
    """
    connection = parse_connection("jdbc:mariadb://h/d?useSsl=true&trustServerCertificate=true")

    assert driver_arguments(connection)["ssl"] == {"check_hostname": False}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["postgresql", "mysql"]))
def test_password_arrives_as_it_was(password, database):
    """
    Guards logins: any password, encoded as the JDBC drivers want it, reaches the driver unchanged.
    """
    connection = parse_connection(f"jdbc:{database}://h/d?user=ann&password={quote_plus(password)}")

    assert connection.url.password == password
