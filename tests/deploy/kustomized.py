"""The part of kustomize that deploy/kubernetes uses: resources, namespace, images and JSON patches."""

import jsonpatch
import yaml

KEYS = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}


def kustomized(directory):
    """Documents of a directory with a kustomization.yaml, in the order of the files."""
    wanted = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert set(wanted) <= KEYS, "only these are understood here"
    documents = []
    for name in wanted["resources"]:
        path = directory / name
        documents += kustomized(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in wanted.get("patches", ()):
        target = next(d for d in documents if _is(d, patch["target"]))
        jsonpatch.apply_patch(target, yaml.safe_load(patch["patch"]), in_place=True)
    for document in documents:
        if "namespace" in wanted and document["kind"] not in CLUSTER_WIDE:
            document["metadata"]["namespace"] = wanted["namespace"]
        for image in wanted.get("images", ()):
            _rename(document, image)
    return documents


def _is(document, target):
    return (document["kind"], document["metadata"]["name"]) == (target["kind"], target["name"])


def _rename(part, image):
    if isinstance(part, dict):
        for container in part.get("containers", ()):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            _rename(inner, image)
