"""Compiled networks on disk: found again while they are used, removed when they are not."""

from __future__ import annotations

import os
import stat

import pytest

from h2onet_ros.engines import cache as cache_module
from h2onet_ros.engines.cache import CompiledCache


def key(number: int) -> dict[str, str]:
    return {"engine": "test", "number": str(number)}


def test_what_is_stored_is_found_under_its_key_alone(tmp_path):
    cache = CompiledCache(tmp_path / "new" / "folder")
    assert cache.load(key(1)) is None
    assert cache.store(key(1), b"network")
    assert cache.load(key(1)) == b"network"
    assert cache.load(key(2)) is None


def store_long_ago(folder, *numbers) -> None:
    """Entries of other processes, each last used a second after the one before."""
    for second, number in enumerate(numbers):
        CompiledCache(folder).store(key(number), bytes(1000))
        os.utime(CompiledCache(folder).path(key(number)), (second, second))


def kept(folder, *numbers) -> list[bool]:
    return [CompiledCache(folder).path(key(number)).exists() for number in numbers]


def test_what_was_used_longest_ago_makes_room(tmp_path, monkeypatch):
    (tmp_path / "notes-1.txt").write_bytes(bytes(9000))
    store_long_ago(tmp_path, 1, 2, 3)
    monkeypatch.setattr(cache_module, "MOST_BYTES", 4000)
    assert CompiledCache(tmp_path).load(key(1))
    CompiledCache(tmp_path).store(key(4), bytes(1000))
    assert kept(tmp_path, 1, 2, 3, 4) == [True, False, True, True]
    assert (tmp_path / "notes-1.txt").is_file()


def test_what_is_in_use_stays_however_large(tmp_path, monkeypatch):
    store_long_ago(tmp_path, 1, 2)
    monkeypatch.setattr(cache_module, "MOST_BYTES", 500)
    cache = CompiledCache(tmp_path)
    assert cache.load(key(1))
    for number in (3, 4):
        cache.store(key(number), bytes(1000))
    assert kept(tmp_path, 1, 2, 3, 4) == [True, False, True, True]


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
