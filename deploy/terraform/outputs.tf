output "repository" {
  description = "Where images are pushed: _REPOSITORY of Cloud Build."
  value       = local.repository
}

output "runs_bucket" {
  description = "Where runs lie: NAME/DATE below it is an --out."
  value       = google_storage_bucket.runs.url
}

output "temp_bucket" {
  description = "--temp of cloudlulc submit, and the source staging of Cloud Build."
  value       = google_storage_bucket.temp.url
}

output "templates_bucket" {
  description = "Where Flex Templates lie: _TEMPLATES of Cloud Build."
  value       = google_storage_bucket.templates.url
}

output "worker_service_account" {
  description = "--service-account of cloudlulc submit."
  value       = google_service_account.worker.email
}

output "build_service_account" {
  description = "--service-account of gcloud builds submit, in full."
  value       = google_service_account.build.id
}

output "subnetwork" {
  description = "--subnetwork of cloudlulc submit."
  value       = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
}

output "workflow" {
  description = "The workflow that chains the jobs, for gcloud workflows execute."
  value       = google_workflows_workflow.run.name
}
