resource "google_artifact_registry_repository" "images" {
  repository_id = "cloudlulc"
  location      = var.region
  format        = "DOCKER"
  description   = "Worker and launcher images of CloudLULC"

  docker_config {
    # A run names its version: the bytes behind a tag must not change.
    immutable_tags = true
  }
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.required]
}
