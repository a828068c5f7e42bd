"""The Terraform files, parsed: references resolve, arguments exist, rights are few and justified.

`google_provider_schema.json` holds, for the resources that are used, the arguments and blocks of
hashicorp/google 6.50.0 as its generated bindings list them; a `!` marks what is required.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import hcl2
import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
TEXT = "\n".join(path.read_text() for path in FILES)
SCHEMA = json.loads((Path(__file__).parent / "google_provider_schema.json").read_text())

META = {"count", "for_each", "depends_on", "lifecycle", "provider", "__comments__", "__is_block__"}
COMPUTED = {"id", "name", "email", "member", "url", "number"}
PRIMITIVE = {"roles/owner", "roles/editor", "roles/viewer"}
IAM = re.compile(r"google_\w+_iam_(member|binding|policy)$")


def load(path: Path) -> dict:
    return hcl2.loads(path.read_text())


def blocks(kind: str) -> Iterator[tuple[tuple[str, ...], dict]]:
    """(labels, body) of all top-level blocks of a kind."""
    for path in FILES:
        for block in load(path).get(kind, []):
            labels = []
            while len(block) == 1 and next(iter(block)).startswith('"'):
                ((label, block),) = block.items()
                labels.append(label.strip('"'))
            yield tuple(labels), block


RESOURCES = {labels: body for labels, body in blocks("resource")}
DATA = {labels: body for labels, body in blocks("data")}
VARIABLES = {labels[0]: body for labels, body in blocks("variable")}
OUTPUTS = {labels[0]: body for labels, body in blocks("output")}
LOCALS = {name for _, body in blocks("locals") for name in body if name not in META}


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)
    elif isinstance(value, str):
        yield value


def text_of(value: str) -> str:
    return value.strip('"')


def everything() -> Iterator[str]:
    for path in FILES:
        yield from strings(load(path))


def test_all_files_are_parsed_and_hold_what_is_promised():
    kinds = {kind for kind, _ in RESOURCES}
    assert {
        "google_storage_bucket",
        "google_artifact_registry_repository",
        "google_service_account",
        "google_project_service",
        "google_workflows_workflow",
        "google_cloud_scheduler_job",
        "google_monitoring_alert_policy",
        "google_monitoring_notification_channel",
        "google_billing_budget",
        "google_compute_subnetwork",
    } <= kinds
    assert len(RESOURCES) == len(re.findall(r'^resource "', TEXT, re.MULTILINE))


def interpolated(text: str) -> Iterator[str]:
    """What stands inside each `${...}`, of balanced braces."""
    at = 0
    while (start := text.find("${", at)) >= 0:
        depth, at = 1, start + 2
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield text[start + 2 : at - 1]


def references(text: str) -> set[str]:
    """Dotted references inside `${...}` of a parsed value."""
    found = set()
    for expression in interpolated(text):
        quoted = re.findall(r'"(?:[^"\\]|\\.)*"', expression)
        found |= {name for part in quoted for name in references(part)}
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', " ", expression)
        found |= set(re.findall(r"(?<![\w.])[a-z]\w*(?:\[[^\]]*\])?\.[\w.\[\]]+", bare))
    return found


def resolve(reference: str, bound: set[str]) -> str | None:
    """What is wrong with a reference; None where it resolves."""
    parts = re.sub(r"\[[^\]]*\]", "", reference).split(".")
    root = parts[0]
    if root in bound | {"each", "path"}:
        return None
    if root == "var":
        return None if parts[1] in VARIABLES else "no such variable"
    if root == "local":
        return None if parts[1] in LOCALS else "no such local"
    known = DATA if root == "data" else RESOURCES
    labels = tuple(parts[1:3] if root == "data" else parts[:2])
    if labels not in known:
        return "no such resource"
    rest = parts[3:] if root == "data" else parts[2:]
    schema = SCHEMA[".".join((root, labels[0])) if root == "data" else root]
    if rest and rest[0] not in COMPUTED | {name.rstrip("!") for name in schema}:
        return "no such attribute"
    return None


def test_every_reference_resolves():
    checked = 0
    for text in everything():
        bound = set(re.findall(r"\bfor (\w+) in", text))
        for reference in references(text):
            assert resolve(reference, bound) is None, f"{reference}: {resolve(reference, bound)}"
            checked += 1
    assert checked > 80


@pytest.mark.parametrize(
    "reference, problem",
    [
        ("var.regoin", "no such variable"),
        ("local.nothing", "no such local"),
        ("google_service_account.wroker.email", "no such resource"),
        ("google_service_account.worker.mail", "no such attribute"),
        ("data.google_project.that.number", "no such resource"),
    ],
)
def test_a_reference_that_does_not_resolve_is_noticed(reference, problem):
    assert references(f'"a-${{{reference}}}"') == {reference}
    assert resolve(reference, set()) == problem


def check_block(body: dict, schema: dict, where: str) -> None:
    known = {name.rstrip("!"): block for name, block in schema.items()}
    given = set(body) - META
    assert given <= set(known), f"{where}: unknown {given - set(known)}"
    missing = {name[:-1] for name in schema if name.endswith("!")} - set(body)
    assert not missing, f"{where}: missing {missing}"
    for name in given:
        if isinstance(body[name], list) and any(isinstance(v, dict) for v in body[name]):
            assert known[name] != 0, f"{where}: {name} is no block"
            for inner in body[name]:
                check_block(inner, known[name], f"{where}.{name}")


@pytest.mark.parametrize("labels", list(RESOURCES), ids=".".join)
def test_arguments_and_blocks_are_those_of_the_provider(labels):
    check_block(RESOURCES[labels], SCHEMA[labels[0]], ".".join(labels))


def test_an_argument_that_the_provider_does_not_know_is_noticed():
    schema = SCHEMA["google_storage_bucket"]
    check_block({"name": "x", "location": "y"}, schema, "bucket")
    with pytest.raises(AssertionError, match="unknown {'lifecycle_rules'}"):
        check_block({"name": "x", "location": "y", "lifecycle_rules": []}, schema, "bucket")
    with pytest.raises(AssertionError, match="missing {'location'}"):
        check_block({"name": "x"}, schema, "bucket")


def test_terraform_and_provider_are_pinned():
    ((_, terraform),) = blocks("terraform")
    (providers,) = terraform["required_providers"]
    assert text_of(providers["google"]["source"]) == "hashicorp/google"
    assert re.fullmatch(r'"~> 6\.50"', providers["google"]["version"])
    assert "< 2.0" in terraform["required_version"]
    assert {kind.split("_")[0] for kind, _ in RESOURCES} == {"google"}


@pytest.mark.parametrize("name", list(VARIABLES))
def test_variables_are_described_typed_validated_and_used(name):
    variable = VARIABLES[name]
    assert len(text_of(variable["description"])) > 20
    assert variable["type"]
    plain = name in ("internet", "earth_engine", "deletion_protection", "machine_types")
    assert plain or variable["validation"]
    uses = TEXT.replace(f'variable "{name}"', "")
    outside = [p for p in FILES if p.name != "variables.tf" and f"var.{name}" in p.read_text()]
    assert f"var.{name}" in uses and outside


def test_outputs_are_described_and_explained():
    readme = (FOLDER.parent / "README.md").read_text()
    for name, output in OUTPUTS.items():
        assert text_of(output["description"]) and output["value"]
        assert name in readme
    for name in VARIABLES:
        assert f"`{name}`" in readme, f"deploy/README.md does not explain {name}"


def iam_resources() -> list[tuple[tuple[str, str], dict]]:
    return [(labels, body) for labels, body in RESOURCES.items() if IAM.match(labels[0])]


def test_no_role_is_primitive_or_wider_than_a_part_needs():
    assert len(iam_resources()) > 10
    for labels, body in iam_resources():
        # Bindings and policies would take rights away from others.
        assert labels[0].endswith("_iam_member"), labels
        role = text_of(body["role"])
        assert role.startswith("roles/") and role not in PRIMITIVE
        assert not re.search(r"(?i)admin|owner", role), role
        assert body["member"].startswith("${google_service_account."), labels
    assert "allUsers" not in TEXT and "allAuthenticatedUsers" not in TEXT


def test_what_can_be_granted_on_one_resource_is_not_granted_on_the_project():
    project_wide = {
        text_of(body["role"])
        for (kind, _), body in iam_resources()
        if kind == "google_project_iam_member"
    }
    assert project_wide == {
        "roles/dataflow.worker",
        "roles/dataflow.developer",
        "roles/logging.logWriter",
        "roles/workflows.invoker",
        "roles/earthengine.viewer",
        "roles/serviceusage.serviceUsageConsumer",
    }


def test_each_role_is_justified_by_a_comment():
    lines = (FOLDER / "identity.tf").read_text().splitlines()
    starts = [
        i
        for i, line in enumerate(lines)
        if line.startswith("resource") and IAM.match(line.split('"')[1])
    ]
    assert len(starts) == len(iam_resources())
    for start in starts:
        above = start - 1
        # One comment may stand for the grants that follow it directly.
        while above > 0 and not lines[above].startswith("#"):
            assert not lines[above].startswith("resource") or IAM.match(lines[above].split('"')[1])
            above -= 1
        assert not lines[above].startswith("# ----"), lines[start]


def test_no_keys_and_no_secrets():
    assert not any("key" in kind or "secret" in kind for kind, _ in RESOURCES)
    assert not re.search(r"(?i)password|BEGIN [A-Z ]*PRIVATE|AIza|ya29", TEXT)
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert {"*.tfstate", "*.tfvars", ".terraform/"} <= set(ignored)
    assert not [p.name for p in FOLDER.iterdir() if ".tfstate" in p.name]


def buckets() -> dict[str, dict]:
    return {name: b for (kind, name), b in RESOURCES.items() if kind == "google_storage_bucket"}


def rules(bucket: dict) -> list[tuple[str, dict]]:
    return [
        (text_of(rule["action"][0]["type"]), rule["condition"][0])
        for rule in bucket["lifecycle_rule"]
    ]


def test_buckets_are_private_and_clean_up():
    assert set(buckets()) == {"temp", "runs", "templates"}
    for bucket in buckets().values():
        assert text_of(bucket["public_access_prevention"]) == "enforced"
        assert bucket["uniform_bucket_level_access"] is True or (
            bucket["uniform_bucket_level_access"] == "true"
        )
        assert bucket["lifecycle_rule"]


def test_temporary_files_go_by_age_and_products_never_do():
    assert any(action == "Delete" and "age" in when for action, when in rules(buckets()["temp"]))
    for action, when in rules(buckets()["runs"]):
        assert action != "Delete" or text_of(when["with_state"]) == "ARCHIVED"
    assert buckets()["runs"]["versioning"]


def test_services_that_resources_need_are_enabled():
    text = (FOLDER / "services.tf").read_text()
    enabled = set(re.findall(r'"([a-z]+)\.googleapis\.com"', text))
    needed = {
        "google_artifact_registry": "artifactregistry",
        "google_billing": "billingbudgets",
        "google_cloud_scheduler": "cloudscheduler",
        "google_compute": "compute",
        "google_monitoring": "monitoring",
        "google_service_account": "iam",
        "google_storage": "storage",
        "google_workflows": "workflows",
    }
    for kind, _ in RESOURCES:
        if not kind.startswith("google_project"):
            assert next(s for p, s in needed.items() if kind.startswith(p)) in enabled
    assert {"dataflow", "cloudbuild", "workflowexecutions"} <= enabled


def test_workers_have_no_public_address_but_reach_google():
    subnetwork = RESOURCES["google_compute_subnetwork", "workers"]
    assert subnetwork["private_ip_google_access"] in (True, "true")
    firewall = RESOURCES["google_compute_firewall", "workers"]
    assert "source_ranges" not in firewall
    assert [text_of(tag) for tag in firewall["source_tags"]] == ["dataflow"]


def test_failures_are_alerted_on_and_somebody_hears_of_them():
    policies = {
        name: body
        for (kind, name), body in RESOURCES.items()
        if kind == "google_monitoring_alert_policy"
    }
    assert set(policies) == {"run_failed", "job_failed", "job_long", "not_started"}
    for policy in policies.values():
        assert policy["notification_channels"] == [
            "${google_monitoring_notification_channel.email.id}"
        ]
        assert len(text_of(policy["documentation"][0]["content"])) > 50
    budget = RESOURCES["google_billing_budget", "project"]
    percents = [float(rule["threshold_percent"]) for rule in budget["threshold_rules"]]
    assert percents == sorted(percents) and percents[-1] == 1.0


def test_the_example_sets_what_must_be_set_and_nothing_else():
    example = {k: v for k, v in load(FOLDER / "terraform.tfvars.example").items() if k not in META}
    required = {name for name, body in VARIABLES.items() if "default" not in body}
    assert required <= set(example) <= set(VARIABLES)
    declared = TEXT.split('variable "schedules"')[1].split("}))")[0]
    fields = re.findall(r"^    (\w+)\s+= ", declared, re.MULTILINE)
    for run in example["schedules"].values():
        assert set(run) - META <= set(fields)
        assert len(text_of(run["cron"]).split()) == 5


def test_examples_pass_the_patterns_of_their_variables():
    example = load(FOLDER / "terraform.tfvars.example")
    checked = 0
    for name, body in VARIABLES.items():
        for validation in body.get("validation", []):
            found = re.fullmatch(
                r'\$\{can\(regex\("(.*)", var\.\w+\)\)(?: && .*)?\}', validation["condition"]
            )
            if found and name in example:
                pattern = found[1].replace("\\\\", "\\").replace('\\"', '"')
                assert re.search(pattern, text_of(example[name])), name
                checked += 1
    assert checked >= 6
