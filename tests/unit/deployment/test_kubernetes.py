"""The manifests in deploy/kubernetes say what the code says: roles, ports, variables, queues, time limits."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import flask
import flower.options  # noqa: F401  (defines Flower's options, in Tornado's)
import pytest
from flower.urls import handlers as flower_handlers
from kubernetes_files import (
    BASE,
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    Object,
    built,
    container_of,
    kustomizations,
    named_by,
    objects_below,
    objects_in,
    pod_of,
    the,
    variables,
)
from tornado.options import options as flower_options

from atomic_commit.limits import Limits
from atomic_commit.names import Installation
from atomic_commit.postgres.database import engine_options
from atomic_commit.workers.queues import queue_names
from celery_config import create_celery
from celery_config.manifest import PORTS, SERVICES
from embedded.services import ROLES
from http_api import gunicorn_conf
from http_api.admission import served_at_once
from http_api.health import health_blueprint
from service_roles.engine import POOL_SIZE
from service_roles.main import main

OWN = BASE / "service"
#: As base/settings.env has it.
KUBERNETES = Installation("shop", "main")
WORKERS = ("worker", "outcome-worker")
ENV_FILES = sorted(MANIFESTS.rglob("*.env"))
#: Secrets that operators make, and what Kustomize therefore doesn't.
BY_OPERATORS = {"rabbitmq-default-user", *(f"{service}-database-app" for service in SERVICES)}

each_service = pytest.mark.parametrize("service", SERVICES)
each_role = pytest.mark.parametrize("role", ROLES)
each_worker = pytest.mark.parametrize("role", WORKERS)
each_overlay = pytest.mark.parametrize("overlay", sorted(folder.name for folder in OVERLAYS.iterdir()))
each_shop_pod = pytest.mark.parametrize(
    "workload",
    [*objects_below(OWN, "Deployment"), *objects_below(OWN, "Job"), the("Deployment", "flower", BASE)],
    ids=lambda workload: workload["metadata"]["name"],
)


# --- files


def test_every_file_is_yaml_and_every_object_has_a_name() -> None:
    for file in MANIFESTS.rglob("*.yaml"):
        for found in objects_in(file):
            if "apiVersion" in found and not found["apiVersion"].startswith("kustomize."):
                assert found["kind"], file
                assert re.fullmatch("[a-z][a-z0-9-]*", found["metadata"]["name"]), file


@pytest.mark.parametrize("file", kustomizations(), ids=lambda file: str(file.parent.relative_to(MANIFESTS)))
def test_everything_that_a_kustomization_names_is_there(file: Path) -> None:
    missing = [str(named) for named in named_by(file) if not named.exists()]
    assert not missing


def test_no_file_and_no_component_is_forgotten() -> None:
    named = {name for file in kustomizations() for name in named_by(file)}
    mine = {file for file in MANIFESTS.rglob("*") if file.is_file() and file.suffix in (".yaml", ".env")}
    forgotten = {file for file in mine if file not in named and file.name != "kustomization.yaml"}
    # Values of other people's charts are no manifests.
    assert {file.name for file in forgotten} == {"prometheus-adapter.values.yaml"}
    assert {folder for folder in COMPONENTS.iterdir() if folder not in named} == set()


# --- services and roles


def test_every_service_is_there_and_no_other() -> None:
    said = objects_in(BASE / "kustomization.yaml")[0]["resources"]
    assert {name for name in said if (BASE / name).is_dir()} == set(SERVICES)


@each_service
def test_a_service_is_the_common_one_with_its_own_name_in_every_place(service: str) -> None:
    said = objects_in(BASE / service / "kustomization.yaml")[0]
    assert said["resources"] == ["../service"]
    assert said["namePrefix"] == f"{service}-"
    assert said["labels"] == [{"pairs": {"app.kubernetes.io/name": service}, "includeSelectors": True}]


def test_every_role_is_there_and_no_other() -> None:
    deployed = {found["metadata"]["name"] for found in objects_below(OWN, "Deployment")}
    assert deployed == set(ROLES)
    assert [found["metadata"]["name"] for found in objects_below(OWN, "Job")] == ["migrate"]


@each_service
@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_the_command_line_is_one_that_the_service_understands(
    service: str, role: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    container = container_of(the("Job" if role == "migrate" else "Deployment", role, OWN))
    python, flag, package, said = (word.replace("$(SERVICE)", service) for word in container["command"])
    assert (python, flag, said) == ("python", "-m", role)
    assert (ROOT / package / "__main__.py").is_file()
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(package, [said]) == 2  # the role is known; what is missing is the database
    assert f"{package} {role}: DATABASE_URL" in capsys.readouterr().err


@each_service
def test_ports_are_the_services_own(service: str) -> None:
    patches = objects_in(BASE / service / "kustomization.yaml")[0].get("patches", [])
    said = [int(port) for patch in patches for port in re.findall(r"ort, value: (\d+)", patch["patch"])]
    if not patches:
        said = [container_of(the("Deployment", "api", OWN))["ports"][0]["containerPort"]]
        said += [the("Service", "api", OWN)["spec"]["ports"][0]["port"]]
    assert said == [PORTS[service]] * 2


def test_flower_listens_where_its_service_sends() -> None:
    container = container_of(the("Deployment", "flower", BASE))
    port = container["ports"][0]["containerPort"]
    assert f"--port={port}" in container["command"]
    assert the("Service", "flower", BASE)["spec"]["ports"][0]["port"] == port == 5555


# --- variables


@cache
def known_variables() -> set[str]:
    """Every word in capitals that the code mentions as a string, and the limits."""
    packages = ("engine/src", "celery_config", "http_api", "service_roles")
    trees = [ast.parse(file.read_text()) for package in packages for file in (ROOT / package).rglob("*.py")]
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    words = {value for value in constants if isinstance(value, str) and re.fullmatch("[A-Z][A-Z_]+", value)}
    return words | {f"ATOMIC_{name.upper()}" for name in Limits.__dataclass_fields__}


def is_read(name: str, workload: Object) -> bool:
    if name.startswith("FLOWER_"):
        return name.removeprefix("FLOWER_").lower() in flower_options
    return name in known_variables() or f"$({name})" in " ".join(container_of(workload)["command"])


def test_every_variable_is_one_that_somebody_reads() -> None:
    everywhere = [*objects_below(BASE, "Deployment"), *objects_below(OWN, "Job")]
    everywhere += objects_below(COMPONENTS, "StatefulSet")
    unread = [
        (workload["metadata"]["name"], one["name"])
        for workload in everywhere
        for one in container_of(workload).get("env", ())
        if not is_read(one["name"], workload)
    ]
    assert not unread
    redis = the("StatefulSet", "redis", COMPONENTS)
    unread_in_files = [name for file in ENV_FILES for name in variables(file) if not is_read(name, redis)]
    assert not unread_in_files


def test_the_settings_are_the_defaults_written_out() -> None:
    said = variables(BASE / "settings.env")
    assert Limits.from_environment(said) == Limits()
    assert (int(said["WEB_WORKERS"]), int(said["WEB_THREADS"])) == (gunicorn_conf.workers, served_at_once())


def test_no_env_file_holds_a_secret() -> None:
    for file in ENV_FILES:
        for name, value in variables(file).items():
            if name.endswith(("_URL", "PASSWORD", "_AUTH")):
                assert "CHANGE-ME" in value, f"{file}: {name}"


# --- probes and stops


def test_the_apis_probes_ask_for_paths_that_exist() -> None:
    app = flask.Flask("probes")
    app.register_blueprint(health_blueprint({}))
    paths = {rule.rule for rule in app.url_map.iter_rules()}
    container = container_of(the("Deployment", "api", OWN))
    asked = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert set(asked.values()) <= paths
    # Alive must not depend on a database.
    assert asked == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_flowers_probes_ask_for_a_path_that_exists() -> None:
    paths = [handler[0] if isinstance(handler, tuple) else handler.matcher.regex.pattern for handler in flower_handlers]
    container = container_of(the("Deployment", "flower", BASE))
    for probe in ("startup", "liveness", "readiness"):
        assert container[f"{probe}Probe"]["httpGet"]["path"] in paths


def test_an_api_in_which_all_threads_wait_is_not_taken_for_dead() -> None:
    probe = container_of(the("Deployment", "api", OWN))["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > gunicorn_conf.LONGEST_WAIT + probe["timeoutSeconds"]


@each_worker
@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_a_worker_is_ready_while_its_loop_touches_its_file(role: str, probe: str, tmp_path: Path) -> None:
    container = container_of(the("Deployment", role, OWN))
    file = next(one["value"] for one in container["env"] if one["name"] == "HEARTBEAT_FILE")
    assert Path(file).parent == Path(next(one["mountPath"] for one in container["volumeMounts"]))
    here = tmp_path / "takes-tasks"

    def ready() -> bool:
        environment = {**os.environ, "HEARTBEAT_FILE": str(here)}
        return subprocess.run(container[probe]["exec"]["command"], env=environment, capture_output=True).returncode == 0

    assert not ready()
    here.touch()
    assert ready()
    os.utime(here, (time.time() - 20, time.time() - 20))
    assert not ready()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@each_worker
def test_a_workers_liveness_probe_tells_a_stopped_process_from_a_running_one(role: str, tmp_path: Path) -> None:
    script = container_of(the("Deployment", role, OWN))["livenessProbe"]["exec"]["command"][-1]
    process = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.01)"])

    def alive() -> bool:
        time.sleep(0.2)
        here = script.replace("/proc/1/", f"/proc/{process.pid}/").replace("/tmp/seen", str(tmp_path / "seen"))
        return subprocess.run(["sh", "-c", here], capture_output=True, timeout=10).returncode == 0

    try:
        assert alive()
        assert alive()
        process.send_signal(signal.SIGSTOP)
        alive()  # what it did until it was stopped
        assert not alive()
        process.send_signal(signal.SIGCONT)
        assert alive()
    finally:
        process.kill()
        process.wait()
    assert not alive()


def test_an_api_is_given_the_time_that_its_last_requests_may_take() -> None:
    api = the("Deployment", "api", OWN)
    sleep = container_of(api)["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep[0] == "sleep"
    patience = pod_of(api)["spec"]["terminationGracePeriodSeconds"]
    assert patience > int(sleep[1]) + gunicorn_conf.graceful_timeout


@each_worker
def test_a_worker_is_given_the_time_to_finish_what_it_runs(role: str) -> None:
    statement = 5 * Limits().lock_timeout  # engine_options: the longest that a statement may take
    stops = create_celery("users", KUBERNETES).conf.worker_soft_shutdown_timeout
    assert pod_of(the("Deployment", role, OWN))["spec"]["terminationGracePeriodSeconds"] > statement + stops


# --- every pod


@each_shop_pod
def test_a_selector_matches_its_own_pods_only(workload: Object) -> None:
    labels = pod_of(workload)["metadata"]["labels"]
    assert labels.items() <= workload["metadata"]["labels"].items()
    if workload["kind"] == "Deployment":
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/component"] == workload["metadata"]["name"]


@each_shop_pod
def test_a_pod_may_do_nothing_that_it_need_not(workload: Object) -> None:
    pod, container = pod_of(workload)["spec"], container_of(workload)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    # Kubernetes would set FLOWER_PORT=tcp://… and the like.
    assert pod["enableServiceLinks"] is False


@each_role
def test_a_role_spreads_over_nodes_and_is_replaced_without_a_gap(role: str) -> None:
    found = the("Deployment", role, OWN)
    assert found["spec"]["replicas"] >= 2
    assert found["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    constraints = pod_of(found)["spec"]["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in constraints} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert all(one["labelSelector"] == found["spec"]["selector"] for one in constraints)


@pytest.mark.parametrize("role", ["api", "outcome-worker"])
def test_a_drain_leaves_one_of_them(role: str) -> None:
    budget = the("PodDisruptionBudget", role, OWN)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == the("Deployment", role, OWN)["spec"]["selector"]


def test_no_image_is_the_latest_except_the_one_to_be_named() -> None:
    for workload in [*objects_below(OWN, "Deployment"), *objects_below(OWN, "Job"), the("Deployment", "flower", BASE)]:
        assert container_of(workload)["image"] == "atomic-shop"
    assert [image["name"] for image in objects_in(BASE / "kustomization.yaml")[0]["images"]] == ["atomic-shop"]
    for file in MANIFESTS.rglob("*.yaml"):
        assert "latest" not in file.read_text() or file == BASE / "kustomization.yaml", file
    for workload in objects_below(COMPONENTS, "StatefulSet"):
        assert re.search(r":\d", container_of(workload)["image"])


# --- databases, queues, networks


@pytest.mark.parametrize("component", ["cloudnative-pg", "external-servers"])
@each_service
def test_a_database_is_reached_by_its_own_service_alone(component: str, service: str) -> None:
    policies = objects_below(COMPONENTS / component, "NetworkPolicy")
    ways = [one for one in policies if one["metadata"]["name"] == f"{service}-to-database"]
    assert [one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for one in ways] == [service]
    if component == "cloudnative-pg":
        own = {"cnpg.io/cluster": f"{service}-database"}
        assert ways[0]["spec"]["egress"][0]["to"] == [{"podSelector": {"matchLabels": own}}]
        (door,) = (one["spec"] for one in policies if one["metadata"]["name"] == f"{service}-database")
        let_in = [who["podSelector"]["matchLabels"] for rule in door["ingress"] for who in rule["from"]]
        assert {labels.get("app.kubernetes.io/name", service) for labels in let_in} == {service}
        assert {labels.get("cnpg.io/cluster", own["cnpg.io/cluster"]) for labels in let_in} == set(own.values())


@pytest.mark.parametrize("component", sorted(folder.name for folder in COMPONENTS.glob("scale-workers-*")))
def test_every_queue_scales_the_workers_that_read_it(component: str) -> None:
    found = {}
    for scaler in objects_in(COMPONENTS / component / "workers.yaml"):
        if scaler["kind"] == "HorizontalPodAutoscaler":
            (metric,) = scaler["spec"]["metrics"]
            queue = metric["external"]["metric"]["selector"]["matchLabels"]["queue"]
        elif scaler["kind"] == "ScaledObject":
            (trigger,) = scaler["spec"]["triggers"]
            queue = trigger["metadata"].get("listName") or trigger["metadata"]["queueName"]
        else:
            continue
        found[queue] = scaler["spec"]["scaleTargetRef"]["name"]
    assert set(found) == set(queue_names(KUBERNETES, SERVICES))
    for queue, name in found.items():
        service, _, outcome = queue.removeprefix(f"{KUBERNETES}.").partition(".")
        assert name == (f"{service}-outcome-worker" if outcome else f"{service}-worker")


def most_replicas(service: str) -> dict[str, int]:
    """The most that any component lets each role grow to."""
    most: dict[str, int] = {}
    scalers = [*objects_below(COMPONENTS, "HorizontalPodAutoscaler"), *objects_below(COMPONENTS, "ScaledObject")]
    for scaler in scalers:
        spec, name = scaler["spec"], scaler["spec"]["scaleTargetRef"]["name"]
        if name.startswith(f"{service}-"):
            role = name.removeprefix(f"{service}-")
            most[role] = max(most.get(role, 0), spec.get("maxReplicas") or spec["maxReplicaCount"])
    assert set(most) == set(ROLES)
    return most


@each_service
def test_a_database_has_connections_for_the_most_replicas_and_as_many_prepared_slots(service: str) -> None:
    pool = engine_options(Limits(), POOL_SIZE)
    a_process = pool["pool_size"] + pool["max_overflow"]
    web = int(variables(BASE / "settings.env")["WEB_WORKERS"])
    # One more of each role while it is replaced (maxSurge).
    most = {role: (count + 1) * (web if role == "api" else 1) for role, count in most_replicas(service).items()}
    parameters = the("Cluster", f"{service}-database", COMPONENTS)["spec"]["postgresql"]["parameters"]
    assert int(parameters["max_connections"]) > sum(most.values()) * a_process + most["api"]  # each listens on one
    assert int(parameters["max_prepared_transactions"]) >= int(parameters["max_connections"])


@each_service
def test_a_failover_loses_no_commit(service: str) -> None:
    cluster = the("Cluster", f"{service}-database", COMPONENTS)["spec"]
    assert cluster["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    assert cluster["instances"] > 1 + cluster["postgresql"]["synchronous"]["number"]


# --- what Kustomize makes of it


@each_overlay
def test_an_overlay_is_whole(overlay: str) -> None:
    objects = built(overlay)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    for service in SERVICES:
        assert {("Deployment", f"{service}-{role}") for role in ROLES} <= set(names)
        assert ("Job", f"{service}-migrate") in names
    for workload in (one for one in objects if one["kind"] in ("Deployment", "StatefulSet", "Job")):
        container = container_of(workload)
        for kind, name in references(container):
            assert (kind, name) in names or name in BY_OPERATORS, f"{workload['metadata']['name']}: {kind} {name}"
        if workload["kind"] != "Job":
            assert workload["spec"]["selector"]["matchLabels"].items() <= pod_of(workload)["metadata"]["labels"].items()


def references(container: Object) -> list[tuple[str, str]]:
    """The Secrets and ConfigMaps that a container reads."""
    found = [("Secret", one["secretRef"]["name"]) for one in container.get("envFrom", ()) if "secretRef" in one]
    found += [
        ("ConfigMap", one["configMapRef"]["name"]) for one in container.get("envFrom", ()) if "configMapRef" in one
    ]
    sources = [one["valueFrom"]["secretKeyRef"] for one in container.get("env", ()) if "valueFrom" in one]
    return found + [("Secret", source["name"]) for source in sources]


@each_overlay
@each_service
def test_an_overlays_roles_are_their_own_services(overlay: str, service: str) -> None:
    mine = [one for one in built(overlay) if one["kind"] == "Deployment" and f"{service}-" in one["metadata"]["name"]]
    for workload in mine:
        environment = {one["name"]: one for one in container_of(workload)["env"]}
        assert environment["SERVICE"]["value"] == service
        assert environment["DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"].startswith(f"{service}-database")
        assert pod_of(workload)["metadata"]["labels"]["app.kubernetes.io/name"] == service
    api = next(one for one in mine if one["metadata"]["name"] == f"{service}-api")
    assert container_of(api)["ports"][0]["containerPort"] == PORTS[service]


@each_overlay
def test_who_is_scaled_is_there_and_not_told_a_number(overlay: str) -> None:
    objects = built(overlay)
    scaled = [
        one["spec"]["scaleTargetRef"]["name"]
        for one in objects
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]
    deployments = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Deployment"}
    assert len(scaled) == len(set(scaled))
    assert {name for name, one in deployments.items() if "replicas" not in one["spec"]} == set(scaled)
