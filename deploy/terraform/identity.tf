# Four service accounts, each with what its part does and no more. No keys are made: the services
# run as these accounts. Roles are granted on single resources wherever Google Cloud allows it.

resource "google_service_account" "worker" {
  account_id   = "cloudlulc-worker"
  display_name = "CloudLULC: Dataflow workers and template launchers"
  depends_on   = [google_project_service.required]
}

resource "google_service_account" "workflow" {
  account_id   = "cloudlulc-workflow"
  display_name = "CloudLULC: the workflow that chains the jobs"
  depends_on   = [google_project_service.required]
}

resource "google_service_account" "scheduler" {
  account_id   = "cloudlulc-scheduler"
  display_name = "CloudLULC: starts the workflow on schedule"
  depends_on   = [google_project_service.required]
}

resource "google_service_account" "build" {
  account_id   = "cloudlulc-build"
  display_name = "CloudLULC: builds images and templates"
  depends_on   = [google_project_service.required]
}

# ---- worker

# Take work items from the Dataflow service, report progress, write logs and metrics. The role is
# made for worker accounts and can be granted on projects only.
resource "google_project_iam_member" "worker_dataflow" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = google_service_account.worker.member
}

# The launcher of a Flex Template runs as this account and creates the job (dataflow.jobs.create).
# Jobs have no resource of their own to grant it on.
resource "google_project_iam_member" "worker_launch" {
  project = var.project
  role    = "roles/dataflow.developer"
  member  = google_service_account.worker.member
}

# The job that the launcher creates has workers of this same account: it must act as itself.
resource "google_service_account_iam_member" "worker_itself" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.worker.member
}

# Read and write cubes, products, staged files; objectUser, unlike objectAdmin, sets no permissions.
resource "google_storage_bucket_iam_member" "worker_runs" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "worker_temp" {
  bucket = google_storage_bucket.temp.name
  role   = "roles/storage.objectUser"
  member = google_service_account.worker.member
}

# The launcher reads its own container spec.
resource "google_storage_bucket_iam_member" "worker_templates" {
  bucket = google_storage_bucket.templates.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.worker.member
}

# Read scenes and catalogues of one's own, wherever they lie.
resource "google_storage_bucket_iam_member" "worker_imagery" {
  for_each = var.imagery_buckets
  bucket   = each.value
  role     = "roles/storage.objectViewer"
  member   = google_service_account.worker.member
}

# Pull the worker and launcher images.
resource "google_artifact_registry_repository_iam_member" "worker_images" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

# Compute pixels in Earth Engine, without the right to make assets there.
resource "google_project_iam_member" "worker_earth_engine" {
  count   = var.earth_engine ? 1 : 0
  project = var.project
  role    = "roles/earthengine.viewer"
  member  = google_service_account.worker.member
}

# Earth Engine counts requests against this project's quota: that takes serviceusage.services.use.
resource "google_project_iam_member" "worker_quota" {
  count   = var.earth_engine ? 1 : 0
  project = var.project
  role    = "roles/serviceusage.serviceUsageConsumer"
  member  = google_service_account.worker.member
}

# ---- workflow

# Launch templates, read the state of jobs, cancel one that runs too long. Jobs have no resource
# of their own to grant it on.
resource "google_project_iam_member" "workflow_dataflow" {
  project = var.project
  role    = "roles/dataflow.developer"
  member  = google_service_account.workflow.member
}

# Write the launches and failures to the log (logging.logEntries.create): a project-wide right.
resource "google_project_iam_member" "workflow_log" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.workflow.member
}

# Launch jobs that run as the worker account, and as no other.
resource "google_service_account_iam_member" "workflow_worker" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.workflow.member
}

# A launch reads the container spec with the rights of whoever launches.
resource "google_storage_bucket_iam_member" "workflow_templates" {
  bucket = google_storage_bucket.templates.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.workflow.member
}

# Look whether a job that is done gave up on some keys.
resource "google_storage_bucket_iam_member" "workflow_runs" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.workflow.member
}

# ---- scheduler

# Start executions. The provider has no permissions of a single workflow: this account starts
# nothing but what the scheduler's jobs below name.
resource "google_project_iam_member" "scheduler_workflow" {
  project = var.project
  role    = "roles/workflows.invoker"
  member  = google_service_account.scheduler.member
}

# ---- build

# Builds that run as an account of one's own write their log themselves: a project-wide right.
resource "google_project_iam_member" "build_log" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# Push images and use earlier ones as cache, in this repository only.
resource "google_artifact_registry_repository_iam_member" "build_images" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# Publish container specs.
resource "google_storage_bucket_iam_member" "build_templates" {
  bucket = google_storage_bucket.templates.name
  role   = "roles/storage.objectUser"
  member = google_service_account.build.member
}

# Read the source that `gcloud builds submit` uploads (--gcs-source-staging-dir).
resource "google_storage_bucket_iam_member" "build_source" {
  bucket = google_storage_bucket.temp.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}
