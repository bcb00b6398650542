"""The manifests of deploy/kubernetes as they stand in their files, and as Kustomize puts them together."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = ROOT / "deploy" / "kubernetes"
BASE, COMPONENTS, OVERLAYS = MANIFESTS / "base", MANIFESTS / "components", MANIFESTS / "overlays"

Object = dict[str, Any]


@cache
def objects_in(file: Path) -> list[Object]:
    """The objects of one file."""
    return _objects(file.read_text())


def objects_below(folder: Path, kind: str) -> list[Object]:
    """Every object of `kind` in the files of `folder`."""
    files = sorted(folder.rglob("*.yaml"))
    found = [one for file in files for one in objects_in(file) if one.get("kind") == kind]
    assert found, f"no {kind} below {folder}"
    return found


def the(kind: str, name: str, folder: Path) -> Object:
    """The one object of that kind and name."""
    (found,) = (one for one in objects_below(folder, kind) if one["metadata"]["name"] == name)
    return found


def kustomizations() -> list[Path]:
    return sorted(MANIFESTS.rglob("kustomization.yaml"))


def named_by(kustomization: Path) -> Iterator[Path]:
    """The files and folders that a kustomization refers to."""
    said = objects_in(kustomization)[0]
    names = [*said.get("resources", ()), *said.get("components", ()), *said.get("configurations", ())]
    names += [patch["path"] for patch in said.get("patches", ()) if "path" in patch]
    for generator in (*said.get("configMapGenerator", ()), *said.get("secretGenerator", ())):
        names += generator.get("envs", ())
    yield from ((kustomization.parent / name).resolve() for name in names)


def variables(file: Path) -> dict[str, str]:
    """What an env file sets."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def pod_of(workload: Object) -> Object:
    """The pod template of a Deployment, StatefulSet or Job."""
    template: Object = workload["spec"]["template"]
    return template


def container_of(workload: Object) -> Object:
    """Its only container."""
    (container,) = pod_of(workload)["spec"]["containers"]
    found: Object = container
    return found


@cache
def built(overlay: str) -> list[Object]:
    """What Kustomize makes of an overlay; the test is skipped where there is no Kustomize."""
    if program := shutil.which("kustomize"):
        command = [program, "build"]
    elif program := shutil.which("kubectl"):
        command = [program, "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*command, str(OVERLAYS / overlay)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return _objects(done.stdout)


def _objects(text: str) -> list[Object]:
    # The same as safe_load_all, by libyaml where the wheel has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [found for found in yaml.load_all(text, Loader=loader) if found]
