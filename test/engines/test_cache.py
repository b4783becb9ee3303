"""Compiled networks on disk: found again while they are used, removed when they are not."""

from __future__ import annotations

import os
import stat
import time

import pytest

from h2onet_ros.engines.cache import UNUSED_DAYS, CompiledCache

LONG_AGO = time.time() - (UNUSED_DAYS + 1) * 24 * 3600


def key(number: int) -> dict[str, str]:
    return {"engine": "test", "number": str(number)}


def test_what_is_stored_is_found_under_its_key_alone(tmp_path):
    cache = CompiledCache(tmp_path / "new" / "folder")
    assert cache.load(key(1)) is None
    assert cache.store(key(1), b"network")
    assert cache.load(key(1)) == b"network"
    assert cache.load(key(2)) is None


def test_unused_entries_go_when_another_is_stored(tmp_path):
    cache = CompiledCache(tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    for number in (1, 2):
        cache.store(key(number), b"network")
    for path in tmp_path.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert cache.load(key(2)) == b"network"
    cache.store(key(3), b"network")
    assert [cache.load(key(number)) for number in (1, 2, 3)] == [None, b"network", b"network"]
    assert (tmp_path / "notes.txt").is_file()


def test_nothing_half_written_stays(tmp_path, monkeypatch, caplog):
    cache = CompiledCache(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not cache.store(key(1), b"network")
    assert "cannot keep the compiled network" in caplog.text
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_access_is_reported(tmp_path, caplog):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert not CompiledCache(tmp_path).store(key(1), b"network")
    assert "cannot keep the compiled network" in caplog.text
