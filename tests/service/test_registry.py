"""Stored models, and the files of keys."""

import dataclasses
import os
import shutil

import pytest
from structlog.testing import capture_logs

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, ModelError, StoreError
from service.api_keys import ApiKeys, new_key
from service.default_model import embedded_model
from service.deletion import InUseError
from service.registry import ModelRegistry, UnknownModelError, UnusableModelError


def test_models_are_added_once_and_activated(tmp_path):
    registry = ModelRegistry(tmp_path / "models")
    embedded = registry.active
    assert registry.ids() == [embedded]
    assert registry.add(embedded_model()) == embedded
    assert registry.ids() == [embedded]
    registry.activate(embedded)
    assert ModelRegistry(tmp_path / "models").active == embedded
    with pytest.raises(ModelError, match="no model"):
        registry.activate("0" * 16)
    with pytest.raises(ModelError):
        registry.directory("../..")


def test_a_damaged_model_is_not_added(tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(embedded_model(), damaged)
    content = bytearray((damaged / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "weights.npz").write_bytes(content)
    registry = ModelRegistry(tmp_path / "models")
    with pytest.raises(ModelError):
        registry.add(damaged)
    assert not list((tmp_path / "models").glob("*"))


def test_a_model_that_cannot_be_copied_names_the_file(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(embedded_model(), model)
    (model / "note").symlink_to("nowhere")
    with pytest.raises(StoreError, match=r"No such file or directory: '.*/model/note'$"):
        ModelRegistry(tmp_path / "models").add(model)


@pytest.mark.parametrize("content", [b"f" * 16 + b"\n", b"", b"../..", b"\xff"])
def test_no_model_stands_in_for_an_active_one_that_is_gone(tmp_path, content):
    (tmp_path / "active").write_bytes(content)
    with pytest.raises(UnusableModelError, match=f"cannot be used: {tmp_path} does not hold it"):
        _ = ModelRegistry(tmp_path).active


def test_a_model_is_deleted_unless_it_is_the_active_or_the_embedded_one(tmp_path):
    registry = ModelRegistry(tmp_path / "models")
    embedded = registry.active
    dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another").save(tmp_path / "other")
    other = registry.add(tmp_path / "other")
    with pytest.raises(InUseError, match="is the active one"):
        registry.delete(embedded)
    registry.activate(other)
    with pytest.raises(InUseError, match="is the embedded one"):
        registry.delete(embedded)
    with pytest.raises(InUseError, match="is the active one"):
        registry.delete(other)
    with pytest.raises(UnknownModelError, match="no model"):
        registry.delete("0" * 16)
    assert registry.ids() == [embedded, other]
    registry.activate(embedded)
    (registry.directory(other) / "weights.npz").unlink()  # a damaged one, too
    registry.delete(other)
    assert registry.ids() == [embedded]
    assert [p.name for p in registry.root.iterdir()] == ["active"]
    with pytest.raises(UnknownModelError, match="no model"):
        registry.delete(other)


def test_keys_are_found_by_their_hash(tmp_path):
    key, line = new_key("laptop", ["predict"])
    assert key not in line
    (tmp_path / "keys").write_text(f"# remark\n\n{line}\n")
    keys = ApiKeys(tmp_path / "keys")
    found = keys.find(key)
    assert found is not None
    assert (found.name, found.scopes) == ("laptop", {"predict"})
    assert keys.find(key + "x") is None


@pytest.mark.parametrize(
    "line",
    [
        "a b",
        "a predict sha256:abc",
        "a admin sha256:" + "0" * 64,
        "a predict sha256:" + "A" * 64,
        "a predict sha256:" + "g" * 64,
        "known predict sha256:" + "0" * 64,
        "a predict sha256:" + "1" * 64,
    ],
)
def test_bad_lines_are_named(tmp_path, line):
    (tmp_path / "keys").write_text(f"known predict sha256:{'1' * 64}\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        ApiKeys(tmp_path / "keys")


def test_a_file_of_keys_that_is_no_text(tmp_path):
    (tmp_path / "keys").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=f"{tmp_path}/keys: is no UTF-8 text"):
        ApiKeys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("name", "scopes"), [("a b", ["predict"]), ("a", ["root"]), ("a", []), ("#", ["jobs"])]
)
def test_bad_keys_are_not_made(name, scopes):
    with pytest.raises(ConfigError):
        new_key(name, scopes)


def look_twice(keys):
    for _ in range(2):
        keys.look()


def test_keys_are_those_that_the_file_has_now(tmp_path):
    path, (first, line), (second, other) = tmp_path / "keys", new_key("a", ["jobs"]), new_key("a", ["jobs"])
    path.write_text(f"{line}\n")
    times = path.stat()
    keys = ApiKeys(path)
    assert keys.find(first)
    path.write_text(f"{other}\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy with its times, of the same length
    look_twice(keys)
    assert keys.find(second)
    assert keys.find(first) is None
    replacement = tmp_path / "new"
    replacement.write_text(f"# remark\n{line}\n")
    replacement.replace(path)
    look_twice(keys)
    assert keys.find(first)
    assert keys.find(second) is None
    path.write_text("")
    keys.look()
    assert keys.find(first), "it may be being written"
    keys.look()
    assert keys.find(first) is None


def no_file(path):
    path.unlink()


def a_directory(path):
    path.unlink()
    path.mkdir()


def half_a_line(path):
    path.write_text(path.read_text()[:-10])


def no_text(path):
    path.write_bytes(b"\xff")


@pytest.mark.parametrize("spoil", [no_file, a_directory, half_a_line, no_text])
def test_keys_of_before_stay_valid_while_the_file_cannot_be_used(tmp_path, spoil):
    path, (key, line), (other, other_line) = tmp_path / "keys", new_key("a", ["jobs"]), new_key("b", ["jobs"])
    path.write_text(f"{line}\n")
    keys = ApiKeys(path)
    with capture_logs() as logs:
        spoil(path)
        for _ in range(3):
            keys.look()
            assert keys.find(key)
            assert keys.find(other) is None
        if path.is_dir():
            path.rmdir()
        for content in (f"{line}\n", f"{other_line}\n"):
            path.write_text(content)
            look_twice(keys)
        assert keys.find(key) is None
        assert keys.find(other)
    assert [entry["log_level"] for entry in logs] == ["error", "info", "info"]
    assert str(path) in logs[0]["reason"]
    assert not [word for word in (key, other, line, other_line) if word in str(logs)]
