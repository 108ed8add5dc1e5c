"""The embedded sample of amorphous Li-Si structures; service/data/README.md says where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files

from atomscatter.errors import DataError
from service.reading import LabelledStructure, read_structures

KINDS = ("paths", "diffusion", "large", "bulk")
REFERENCE_ENERGIES = {
    "Li": -1.895396,
    "Si": -5.425271,
}  # eV/atom: bcc Li and diamond Si with the same potential
LABELS = "ANN potential (PBE-trained)"
LABELS_NOTE = (
    "Reference energies are those of an artificial neural-network potential trained to PBE (Artrith, "
    "Urban and Ceder, J. Chem. Phys. 148, 241711 (2018); aenet-tinker, MPL-2.0), not DFT results. Bulk "
    "moduli of strained, unrelaxed amorphous cells come out high: compare models with these labels, not "
    "with experiment."
)
PARENTS_NOTE = (
    "Diffusion, large and bulk structures derive from relaxed structures of the paths: the parent of such "
    "a structure may be among the training paths of a fold, as in the paper. With parents held out, each "
    "structure is predicted only by the fold that did not train on its parent; large states made from "
    "scratch have none and do not count there, and the diffusion structures have three parents in all."
)


def load_sample(kind: str) -> list[LabelledStructure]:
    """All structures of one kind ("paths", "diffusion", "large" or "bulk"), in the order of the file.

    Raises DataError for another kind, or when the file is damaged.
    """
    if kind not in KINDS:
        raise DataError(f"the sample holds {', '.join(KINDS)}, not {kind!r}")
    with as_file(files("service") / "data" / f"{kind}.extxyz.xz") as path:
        structures, bad = read_structures([path], path_key="path_id", need_energy=True)
    if bad:
        raise DataError(f"the embedded sample is damaged: {bad[0].source}: {bad[0].reason}")
    return [replace(structure, source=path.name) for structure in structures]


def thinned(structures: Sequence[LabelledStructure], n_alphas: int) -> list[LabelledStructure]:
    """The structures of ``n_alphas`` concentrations spread evenly over those present: a smaller sample."""
    alphas = sorted({round(float(s.atoms.info["alpha"]), 6) for s in structures})
    step = max(1, len(alphas) // n_alphas)
    kept = set(alphas[::step][:n_alphas])
    return [s for s in structures if round(float(s.atoms.info["alpha"]), 6) in kept]
