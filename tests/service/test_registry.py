"""Stored models, and the files of keys."""

import shutil

import pytest

from atomscatter.errors import ConfigError, ModelError, StoreError
from service.api_keys import ApiKeys, new_key
from service.default_model import embedded_model
from service.registry import ModelRegistry, UnusableModelError


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
