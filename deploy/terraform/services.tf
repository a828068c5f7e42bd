locals {
  labels = { application = "cloudlulc" }

  services = concat([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "workflowexecutions.googleapis.com",
    "workflows.googleapis.com",
  ], var.earth_engine ? ["earthengine.googleapis.com"] : [])
}

resource "google_project_service" "required" {
  for_each = toset(local.services)
  project  = var.project
  service  = each.value
  # Others in the project may use a service too: a tear-down leaves it on.
  disable_on_destroy = false
}
