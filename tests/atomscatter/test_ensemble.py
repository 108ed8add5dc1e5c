import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomscatter import model_files
from atomscatter.channels import channels_for
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ModelError, StructureError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.scattering import Scattering


@pytest.fixture(scope="module")
def scattering() -> Scattering:
    return Scattering(scales=1, n=1, powers=(1.0, 2.0), channels=channels_for(("Li", "Si")))


def silicon(scale: float = 1.0) -> Atoms:
    return bulk("Si", "diamond", a=5.47 * scale, cubic=True)


def make(scattering: Scattering) -> Ensemble:
    """Ten sparse models in two folds, with features of rattled silicon as the training data."""
    rng = np.random.default_rng(0)
    features = []
    for i in range(30):
        atoms = silicon(1 + 0.02 * np.sin(i))
        atoms.rattle(0.05, seed=i)
        features.append(scattering.features(atoms))
    train = np.array(features)
    largest = np.abs(train).max(axis=0)  # 0 for the lithium channel
    weights = rng.normal(size=(10, train.shape[1])) / np.where(largest > 0, largest, 1.0)
    weights[rng.random(weights.shape) < 0.6] = 0
    return Ensemble(
        weights=weights,
        bias=rng.normal(size=10) - 4,
        fold=np.repeat([0, 1], 5),
        n_selected=np.count_nonzero(weights, axis=1) + 1,
        scattering_config=scattering.config,
        extrapolation=ExtrapolationModel.fit(train, weights.mean(axis=0), np.arange(30) % 5),
        data_hash="abc",
        reference_energies={"Li": -1.9, "Si": -5.4},
        card={"date": "2020-01-01"},
    )


@pytest.fixture(scope="module")
def model(scattering) -> Ensemble:
    return make(scattering)


def test_mean_and_spread_by_hand(model) -> None:
    features = np.random.default_rng(1).random((4, model.n_features))
    mean, spread = model.predict_features(features)
    single = np.array([[w @ f + b for f in features] for w, b in zip(model.weights, model.bias, strict=True)])
    np.testing.assert_allclose(mean, single.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread, single.std(axis=0), rtol=1e-9)
    folds = model.fold_predictions(features)
    np.testing.assert_allclose(folds, [single[:5].mean(axis=0), single[5:].mean(axis=0)], rtol=1e-12)


def test_prediction_of_a_structure(model, scattering) -> None:
    atoms = silicon()
    atoms.rattle(0.02, seed=99)
    p = model.predict(atoms)
    mean, spread = model.predict_features(scattering.features(atoms)[None])
    assert p.energy_per_atom == pytest.approx(mean[0], rel=1e-12)
    assert p.uncertainty == pytest.approx(spread[0], rel=1e-9)
    assert p.energy == pytest.approx(8 * mean[0], rel=1e-12)
    assert p.n_atoms == 8
    assert p.formation_energy_per_atom == pytest.approx(mean[0] + 5.4, rel=1e-9)
    assert p.model == model.model_id
    assert not p.extrapolating
    assert 0 < p.extrapolation_score < 1


def test_strained_or_other_composition_is_flagged(model) -> None:
    assert model.predict(silicon(0.8)).extrapolating
    mixed = silicon()
    mixed.symbols[:4] = "Li"
    assert model.predict(mixed).extrapolating


def test_formation_energy_of_a_mixture(model) -> None:
    assert model.formation_energy(Atoms("Li3Si"), -3.0) == pytest.approx(-3.0 + (3 * 1.9 + 5.4) / 4)
    assert replace(model, reference_energies=None).formation_energy(Atoms("Li3Si"), -3.0) is None
    assert replace(model, reference_energies={"Si": -5.4}).formation_energy(Atoms("LiSi"), -3.0) is None


def test_structures_that_cannot_be_predicted(model) -> None:
    with pytest.raises(StructureError, match="Ge"):
        model.predict(bulk("Ge"))
    with pytest.raises(StructureError, match="atoms"):
        model.predict(Atoms(cell=[5, 5, 5], pbc=True))


def test_wrong_number_of_features(model) -> None:
    with pytest.raises(ModelError, match=f"{model.n_features}"):
        model.predict_features(np.zeros((2, model.n_features + 1)))


def test_saved_and_loaded(model, tmp_path) -> None:
    model.save(tmp_path / "deep" / "model")
    loaded = Ensemble.load(tmp_path / "deep" / "model")
    assert loaded.model_id == model.model_id
    assert loaded.card == model.card
    atoms = silicon()
    assert loaded.predict(atoms) == model.predict(atoms)


def test_same_model_same_bytes(model, scattering, tmp_path, monkeypatch) -> None:
    model.save(tmp_path / "a")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    make(scattering).save(tmp_path / "b")
    Ensemble.load(tmp_path / "a").save(tmp_path / "c")
    for name in ("weights.npz", "card.json"):
        first = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == first
        assert (tmp_path / "c" / name).read_bytes() == first


def test_model_id_depends_on_content_and_not_on_the_card(model) -> None:
    assert replace(model, card={"date": "tomorrow"}).model_id == model.model_id
    for change in (
        {"bias": model.bias + 1e-9},
        {"data_hash": "abd"},
        {"scattering_config": model.scattering_config | {"beta": 0.4}},
        {"reference_energies": {"Li": -1.0}},
        {"extrapolation": replace(model.extrapolation, unit=3.0)},
    ):
        assert replace(model, **change).model_id != model.model_id


def test_saving_replaces_a_model_and_nothing_else(model, tmp_path) -> None:
    target = tmp_path / "model"
    model.save(target)
    other = replace(model, bias=model.bias + 1)
    other.save(target)
    assert Ensemble.load(target).model_id == other.model_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]

    (target / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="not a model directory"):
        model.save(target)
    assert (target / "notes.txt").read_text() == "mine"

    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ModelError, match="not a model directory"):
        model.save(file)
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    assert Ensemble.load(tmp_path / "empty").model_id == model.model_id


def test_the_working_directory_gets_the_files(model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    for changed in (model, replace(model, bias=model.bias + 1)):  # into an empty one, and over a model
        changed.save(".")
        assert Ensemble.load(".").model_id == changed.model_id
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["card.json", "weights.npz"]
    assert tmp_path.stat().st_ino == inode, "whoever is in it is still in it"


def test_a_mounted_directory_gets_the_files(model, small_disk) -> None:
    target = small_disk("1m")
    for changed in (model, replace(model, bias=model.bias + 1)):
        changed.save(target)
        assert Ensemble.load(target).model_id == changed.model_id
        assert sorted(entry.name for entry in target.iterdir()) == ["card.json", "weights.npz"]


@pytest.fixture
def stored(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_missing_files(stored, tmp_path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        Ensemble.load(tmp_path / "nowhere")
    (stored / "weights.npz").rename(tmp_path / "weights.npz")
    with pytest.raises(ModelError, match=r"weights\.npz is missing"):
        Ensemble.load(stored)
    (tmp_path / "weights.npz").rename(stored / "weights.npz")
    (stored / "card.json").unlink()
    with pytest.raises(ModelError, match=r"card\.json cannot be read"):
        Ensemble.load(stored)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_weights(stored, share) -> None:
    file = stored / "weights.npz"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"weights\.npz"):
        Ensemble.load(stored)


def test_flipped_bytes(stored, model) -> None:
    file = stored / "weights.npz"
    data = file.read_bytes()
    for position in np.random.default_rng(0).integers(len(data), size=40):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        message = load_error(stored)
        if message is None:  # a byte that carries nothing, such as a file attribute in the archive
            assert Ensemble.load(stored).model_id == model.model_id
        else:
            assert "weights.npz" in message


def test_flipped_bits_of_the_zip_directory(stored, model) -> None:
    file = stored / "weights.npz"
    data = file.read_bytes()
    bits = range(8 * data.index(b"PK\x01\x02"), 8 * len(data))
    # One of seven, and all of the first entry: a changed flag or method is an error of its own.
    for bit in sorted({*bits[::7], *bits[: 8 * 46]}):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        message = load_error(stored)
        if message is None:
            assert Ensemble.load(stored).model_id == model.model_id
        else:
            assert "weights.npz" in message


def test_an_array_in_place_of_an_archive(stored) -> None:
    with (stored / "weights.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ModelError, match=r"weights\.npz is damaged or not a model's weights"):
        Ensemble.load(stored)


def load_error(directory) -> str | None:
    try:
        Ensemble.load(directory)
    except ModelError as error:
        return str(error)
    return None


def test_edited_weights(stored) -> None:
    file = stored / "weights.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays["weights"][3, 2] += 1e-12
    np.savez(file, **arrays)
    with pytest.raises(ModelError, match=r"weights\.npz does not belong"):
        Ensemble.load(stored)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weights", lambda a: a[:, 0]),
        ("bias", lambda a: a[:-1]),
        ("fold", lambda a: a.astype(float)),
        ("weights", lambda a: a * np.nan),
        ("extrapolation_mean", lambda a: a[:-1]),
        ("extrapolation_columns", lambda a: a + 10**6),
        ("extrapolation_axes", None),
        ("bias", None),
    ],
)
def test_wrong_arrays(stored, name, change) -> None:
    file = stored / "weights.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    value = arrays.pop(name)
    if change is not None:
        arrays[name] = change(value)
    np.savez(file, **arrays)
    with pytest.raises(ModelError, match=r"weights\.npz"):
        Ensemble.load(stored)


def test_pickles_are_refused(stored) -> None:
    np.savez(stored / "weights.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match=r"weights\.npz"):
        Ensemble.load(stored)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda card: card | {"format_version": 99}, "format version 99"),
        (lambda card: {k: v for k, v in card.items() if k != "model_id"}, "model_id"),
        (lambda card: card | {"scattering": "none"}, "scattering"),
        (lambda card: card | {"reference_energies": {"Li": "low"}}, "reference_energies"),
        (lambda card: card | {"data_hash": "other"}, "does not belong"),
        (lambda card: [card], "not a model card"),
    ],
)
def test_edited_card(stored, edit, message) -> None:
    file = stored / "card.json"
    file.write_text(json.dumps(edit(json.loads(file.read_text()))))
    with pytest.raises(ModelError, match=message) as caught:
        Ensemble.load(stored)
    assert "card.json" in str(caught.value)


def test_card_that_is_not_json(stored) -> None:
    (stored / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card\.json is not valid JSON"):
        Ensemble.load(stored)


def test_configuration_that_does_not_fit_the_weights(model, scattering) -> None:
    other = replace(model, scattering_config=scattering.config | {"scales": 2})
    with pytest.raises(ModelError, match="features"):
        other.predict(silicon())
    with pytest.raises(ModelError, match="colour"):
        replace(model, scattering_config=scattering.config | {"colour": 2}).predict(silicon())


def test_failed_save_leaves_the_old_model(stored, model, monkeypatch) -> None:
    def full(_arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_files, "_npz", full)
    with pytest.raises(OSError, match="No space"):
        replace(model, bias=model.bias + 1).save(stored)
    assert Ensemble.load(stored).model_id == model.model_id
    assert [entry.name for entry in stored.parent.iterdir()] == ["model"]


def test_archive_has_fixed_time_stamps(stored) -> None:
    with zipfile.ZipFile(stored / "weights.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
