"""What GitHub is told to run is there, and runs on the Pythons that the engine is for. Its forms can be read."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.settings import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.y*ml"))
FORMS = sorted(form for form in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if form.name != "config.yml")

_EXPRESSION = re.compile(r"\$\{\{ *([\w.-]+) *\}\}")


def read(file: Path) -> dict[Any, Any]:
    found = yaml.safe_load(file.read_text())
    assert isinstance(found, dict)
    return found


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for workflow in WORKFLOWS:
        for name, job in read(workflow)["jobs"].items():
            yield f"{workflow.stem}: {name}", job


JOBS = dict(jobs())


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_runs_is_there(name: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [shlex.split(step["run"]) for step in JOBS[name]["steps"] if "run" in step]
    assert commands
    for program, *words in commands:
        if program == "make":
            folders = [path for word in words if word.startswith("TESTS=") for path in word[len("TESTS=") :].split()]
            assert {word for word in words if "=" not in word} <= verbs
            assert all((ROOT / folder).is_dir() for folder in folders), folders
        else:
            script = words[-1] if program == "sudo" else program
            assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_bounded_and_checks_the_repository_out_first(name: str) -> None:
    job = JOBS[name]
    assert 0 < job["timeout-minutes"] <= 90
    assert job["steps"][0]["uses"].startswith("actions/checkout@")
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used), used


@pytest.mark.parametrize("name", JOBS)
def test_an_expression_names_what_the_matrix_has(name: str) -> None:
    matrix = {f"matrix.{key}" for key in JOBS[name].get("strategy", {}).get("matrix", {})}
    assert set(_EXPRESSION.findall(yaml.safe_dump(JOBS[name]["steps"]))) <= matrix


def test_the_oldest_and_the_newest_python_of_the_engine_are_tested() -> None:
    project = tomllib.loads((ROOT / "engine" / "pyproject.toml").read_text())["project"]
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={declared[0]}"
    assert JOBS["ci: python"]["strategy"]["matrix"]["python"] == [declared[0], declared[-1]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_only_read_and_runs_for_main_and_for_every_proposal(workflow: Path) -> None:
    said = read(workflow)
    assert said["permissions"] == {"contents": "read"}
    assert said[True] == {"push": {"branches": ["main"]}, "pull_request": None}  # YAML 1.1 reads `on` as true


@pytest.mark.parametrize("form", FORMS, ids=lambda file: file.name)
def test_a_form_has_what_github_asks_for(form: Path) -> None:
    said = read(form)
    assert said.keys() >= {"name", "description", "body"}
    fields = [field for field in said["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
