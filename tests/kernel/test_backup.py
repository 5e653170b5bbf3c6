"""A backup holds everything, comes back whole, and a damaged one is refused before anything is changed."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile

import psycopg
import pytest

from kernel import backup, config, embedded


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """A shop with a table, a file and a key, and an empty second one beside it, both with their servers up."""
    first, second = (config.load({"SIYU_DATA": str(tmp_path_factory.mktemp(name))}) for name in ("first", "second"))
    with embedded.available(first), embedded.available(second):
        with connected(first) as connection:
            connection.execute("CREATE TABLE member AS SELECT n, '会员' || n AS name FROM generate_series(1, 500) AS n")
        first.files_dir.mkdir()
        (first.files_dir / "2026").mkdir()
        (first.files_dir / "2026" / "海报.png").write_bytes(os.urandom(5000))
        yield first, second


def connected(settings):
    return psycopg.connect(backup.address(settings), autocommit=True)


def tables(settings):
    with connected(settings) as connection:
        return connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()[0]


@pytest.fixture(scope="module")
def written(shops, tmp_path_factory):
    path = tmp_path_factory.mktemp("backups") / "shop.tar"
    assert backup.write(shops[0], path) == path.stat().st_size > 5000
    return path


def test_it_is_closed_to_others_and_never_overwrites(shops, written):
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    with pytest.raises(backup.BackupFailed, match="there already"):
        backup.write(shops[0], written)
    assert list(written.parent.iterdir()) == [written]


@pytest.mark.parametrize("damage", ["cut", "flip", "extra", "outside", "text"])
def test_a_damaged_one_is_refused_and_nothing_is_changed(shops, written, tmp_path, damage):
    key = (shops[1].data_dir / "secret_key").read_bytes()
    broken = tmp_path / "broken.tar"
    content = bytearray(written.read_bytes())
    match damage:
        case "cut":
            content = content[: len(content) // 2]
        case "flip":
            content[content.index(b"PGDMP") + 200] ^= 1  # PGDMP opens the dump.
        case "text":
            content = bytearray(b"not a tar file at all" * 100)
    broken.write_bytes(content)
    if damage in ("extra", "outside"):
        with tarfile.open(broken, "a") as archive:
            entry = tarfile.TarInfo("files/more.txt" if damage == "extra" else "../../more.txt")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"more"))
    with pytest.raises(backup.BackupFailed, match="not a whole backup"):
        backup.read(shops[1], broken)
    assert tables(shops[1]) == 0
    assert (shops[1].data_dir / "secret_key").read_bytes() == key
    assert not shops[1].files_dir.exists()
    assert not list(shops[1].data_dir.glob("restore-*"))


def test_it_does_not_go_over_a_shop_that_has_something(shops, written):
    with pytest.raises(backup.BackupFailed, match="not empty"):
        backup.read(shops[0], written)
    assert tables(shops[0]) == 1


def test_everything_comes_back(shops, written):
    first, second = shops
    backup.read(second, written)
    rows = []
    for shop in shops:
        with connected(shop) as connection:
            rows.append(
                connection.execute(
                    "SELECT count(*), md5(string_agg(member::text, '' ORDER BY n)) FROM member"
                ).fetchone()
            )
    assert rows[0] == rows[1]
    assert rows[0][0] == 500
    assert (second.files_dir / "2026" / "海报.png").read_bytes() == (first.files_dir / "2026" / "海报.png").read_bytes()
    # Links that members hold were signed with this key.
    assert config.load({"SIYU_DATA": str(second.data_dir)}).secret_key == first.secret_key


def test_what_goes_or_comes_while_it_is_written_does_not_spoil_it(shops, tmp_path, monkeypatch):
    folder = shops[0].files_dir / "aa"
    folder.mkdir()
    going, half, staying = folder / "aagoing.webp", folder / ".aahalf.webp.part", folder / "aastaying.webp"
    for path in (going, half, staying):
        path.write_bytes(b"picture")
    add = backup.add

    def add_late(archive, sums, name, path):
        # Listed already, and taken away by an erasure before it is opened.
        if path == going:
            path.unlink()
        add(archive, sums, name, path)

    monkeypatch.setattr(backup, "add", add_late)
    backup.write(shops[0], tmp_path / "shop.tar")
    backup.unpack(tmp_path / "shop.tar", tmp_path / "unpacked")
    assert {path.name for path in (tmp_path / "unpacked" / "files" / "aa").iterdir()} == {staying.name}


def test_the_list_names_every_file(written):
    with tarfile.open(written) as archive:
        names = set(archive.getnames())
        facts = json.load(archive.extractfile("backup.json"))
    assert names == {"database.dump", "secret_key", "files/2026/海报.png", "backup.json"}
    assert set(facts["sha256"]) == names - {"backup.json"}
