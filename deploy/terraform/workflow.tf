resource "google_workflows_workflow" "run" {
  name                = "cloudlulc-run"
  region              = var.region
  description         = "ingest, classify and mosaic of one run, in order"
  service_account     = google_service_account.workflow.id
  call_log_level      = "LOG_ERRORS_ONLY"
  deletion_protection = var.deletion_protection
  source_contents     = file("${path.module}/../workflow.yaml")

  user_env_vars = {
    RUNS_BUCKET              = google_storage_bucket.runs.name
    TEMP                     = google_storage_bucket.temp.url
    TEMPLATES                = "${google_storage_bucket.templates.url}/${var.image_version}"
    IMAGE_CPU                = "${local.repository}/cpu:${var.image_version}"
    IMAGE_GPU                = "${local.repository}/${var.gpu == "none" ? "cpu" : "gpu"}:${var.image_version}"
    GPU                      = var.gpu
    MACHINE_TYPE_INGEST      = var.machine_types.ingest
    MACHINE_TYPE_CLASSIFY    = var.machine_types.classify
    MACHINE_TYPE_MOSAIC      = var.machine_types.mosaic
    MAX_WORKERS              = tostring(var.max_workers)
    MAX_HOURS_PER_JOB        = tostring(var.max_hours_per_job)
    ATTEMPTS                 = tostring(var.attempts)
    MINUTES_BETWEEN_ATTEMPTS = "30"
    WORKER_SERVICE_ACCOUNT   = google_service_account.worker.email
    SUBNETWORK               = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
  }

  # A run that starts before its rights are there fails.
  depends_on = [
    google_project_iam_member.workflow_dataflow,
    google_service_account_iam_member.workflow_worker,
    google_storage_bucket_iam_member.workflow_templates,
    google_storage_bucket_iam_member.workflow_runs,
  ]
}

locals {
  repository = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

resource "google_cloud_scheduler_job" "run" {
  for_each    = var.schedules
  name        = "cloudlulc-${each.key}"
  region      = var.region
  description = "Starts the CloudLULC run ${each.key}"
  schedule    = each.value.cron
  time_zone   = each.value.time_zone
  paused      = each.value.paused

  # Only the start is retried: the workflow itself retries jobs.
  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
  }
  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.run.id}/executions"
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({
      argument = jsonencode({
        name     = each.key
        region   = each.value.region
        source   = each.value.source
        days_ago = each.value.days_ago
        options  = each.value.options
      })
    }))
    oauth_token {
      service_account_email = google_service_account.scheduler.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  depends_on = [google_project_iam_member.scheduler_workflow]
}
