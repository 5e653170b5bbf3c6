"""Settings: what is taken, what is refused, and with which words."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernel import config
from kernel.config import ConfigInvalid

KEY = "f1c0ffee" * 4 + "0123456789abcdef"


def load(tmp_path: Path, **environ: str) -> config.Settings:
    return config.load({"SIYU_DATA": str(tmp_path), **environ})


def refusal(tmp_path: Path, **environ: str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_set_means_everything_embedded(tmp_path):
    found = load(tmp_path)
    assert found.data_dir == tmp_path
    assert found.files_dir == tmp_path / "files"
    assert (found.embedded_database, found.embedded_queue) == (True, True)
    assert found.database_url == f"postgresql+psycopg://siyu@/siyu?host={tmp_path}/postgresql"
    assert found.redis_url == f"unix://{tmp_path}/queue/queue.sock"
    assert found.site_url == "http://127.0.0.1:8000"
    assert found.secure is False
    assert found.web_processes == 2


def test_outside_servers_replace_the_embedded_ones_one_by_one(tmp_path):
    found = load(tmp_path, DATABASE_URL="postgres://shop:pw@db.internal/shop")
    assert found.database_url == "postgresql+psycopg://shop:pw@db.internal/shop"
    assert (found.embedded_database, found.embedded_queue) == (False, True)
    found = load(tmp_path, REDIS_URL="rediss://:pw@queue.internal:6380/1")
    assert (found.embedded_database, found.embedded_queue) == (True, False)


@pytest.mark.parametrize(
    "url", ["mysql://root@localhost/shop", "sqlite:///shop.db", "shop", "postgresql+asyncpg://h/d"]
)
def test_another_database_is_refused(tmp_path, url):
    assert "PostgreSQL only" in refusal(tmp_path, DATABASE_URL=url)


@pytest.mark.parametrize(
    "url", ["redis://queue.internal:6379/0", "redis://10.0.0.5", "rediss://queue.internal", "redis://user@10.0.0.5"]
)
def test_a_queue_on_the_network_without_a_password_is_refused(tmp_path, url):
    assert "without a password" in refusal(tmp_path, REDIS_URL=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0", "redis://127.0.0.1", "redis://127.8.9.1/2", "redis://[::1]:6379/0",
        "unix:///run/valkey.sock", "redis://:secret@10.0.0.5/0", "redis:///0",
    ],
)  # fmt: skip
def test_a_queue_with_a_password_or_on_this_machine_is_taken(tmp_path, url):
    assert load(tmp_path, REDIS_URL=url).redis_url == url


def test_a_queue_of_another_kind_is_refused(tmp_path):
    assert "must start with" in refusal(tmp_path, REDIS_URL="amqp://localhost")


@pytest.mark.parametrize(
    ("given", "kept", "secure"),
    [
        ("https://Shop.Example/", "https://shop.example", True),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080", False),
        ("http://[::1]:8000", "http://[::1]:8000", False),
    ],
)
def test_the_site_url_is_an_origin(tmp_path, given, kept, secure):
    found = load(tmp_path, SITE_URL=given)
    assert (found.site_url, found.secure) == (kept, secure)


@pytest.mark.parametrize(
    "url",
    [
        "shop.example", "ftp://shop.example", "https://", "https://shop.example/sub", "https://shop.example?x=1",
        "https://user@shop.example", "https://shop.example:99999", "https://shop.example:0", "https://sh op.example",
        "javascript://shop.example",
    ],
)  # fmt: skip
def test_anything_but_an_origin_is_refused_as_site_url(tmp_path, url):
    assert "SITE_URL must look like" in refusal(tmp_path, SITE_URL=url)


def test_the_key_is_made_once_and_closed_to_others(tmp_path):
    first = load(tmp_path).secret_key
    assert len(first) == 64
    assert load(tmp_path).secret_key == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_many_processes_that_start_at_once_agree_on_one_key(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: load(tmp_path / "shop").secret_key, range(64)))
    assert len(keys) == 1


def test_a_given_key_is_used_and_none_is_written(tmp_path):
    assert load(tmp_path, SECRET_KEY=KEY).secret_key == KEY.encode()
    assert not (tmp_path / "secret_key").exists()


def test_old_keys_still_open_what_they_signed(tmp_path):
    assert load(tmp_path, PREVIOUS_SECRET_KEYS=f"{KEY}, {KEY[::-1]}").previous_secret_keys == (
        KEY.encode(),
        KEY[::-1].encode(),
    )


@pytest.mark.parametrize("key", ["", "short", "x" * 31])
def test_a_short_key_is_refused(tmp_path, key):
    assert "needs 32" in refusal(tmp_path, SECRET_KEY=key)


@pytest.mark.parametrize(
    "key",
    [
        "a" * 64, "change-me-please-this-is-only-a-placeholder", "django-insecure-3k2j4h23kj4h23kj4h23kj4h23k4j",
        "your-secret-key-goes-here-0123456789", "dev-0123456789abcdef0123456789abcdef", "ThePasswordOfTheShop0123456789abcdef",
    ],
)  # fmt: skip
def test_a_guessable_key_is_refused(tmp_path, key):
    assert "guessable" in refusal(tmp_path, SECRET_KEY=key)


def test_a_key_file_that_was_emptied_is_refused_rather_than_replaced(tmp_path):
    load(tmp_path)
    (tmp_path / "secret_key").write_text("")
    assert "put the old key back" in refusal(tmp_path)


@pytest.mark.parametrize("value", ["0", "65", "two", "-1", "1.5", "²"])
def test_an_impossible_number_of_processes_is_refused(tmp_path, value):
    assert "whole number from 1 to 64" in refusal(tmp_path, WEB_PROCESSES=value)


def test_a_long_data_folder_gets_a_short_name_for_its_sockets(tmp_path):
    deep = tmp_path / ("深" * 20) / ("x" * 40)
    found = load(deep)
    short = config.short_path(deep)
    assert short != deep
    assert short.resolve() == deep.resolve()
    assert len(os.fsencode(f"{short}{config.LONGEST_SOCKET}")) <= config.SOCKET_PATH_LIMIT
    assert str(short) in found.database_url
    assert config.short_path(deep) == short
    short.unlink()


def test_a_foreign_link_in_the_way_is_refused(tmp_path):
    deep = tmp_path / ("x" * 90)
    short = config.short_path(deep)
    short.unlink()
    short.symlink_to(tmp_path)
    try:
        assert "in the way" in refusal(deep)
    finally:
        short.unlink()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refusal(tmp_path / "file" / "shop")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("a.localhost", True),
        ("10.0.0.1", False),
        ("shop.example", False),
    ],
)
def test_loopback(host, expected):
    assert config.is_loopback(host) is expected
