# What jobs stage, Beam's temporary files, sources of builds: worthless after a job.
resource "google_storage_bucket" "temp" {
  name                        = "${var.project}-cloudlulc-temp"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  lifecycle_rule {
    condition {
      age = 14
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
  # Deleted temporary files would be paid for a week longer.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.required]
}

# Chip cubes, map cubes and products: NAME/DATE/{chips,maps,product}. Nothing is deleted by age,
# since a product has none; what is not read moves to colder, cheaper classes by itself.
resource "google_storage_bucket" "runs" {
  name                        = "${var.project}-cloudlulc-runs"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  autoclass {
    enabled = true
  }
  # Finished outputs are never overwritten by a run: an older version is an accident, kept a month.
  versioning {
    enabled = true
  }
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
  # Versioning does the same.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.required]
}

# Container specs of the Flex Templates, a folder per version.
resource "google_storage_bucket" "templates" {
  name                        = "${var.project}-cloudlulc-templates"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  versioning {
    enabled = true
  }
  lifecycle_rule {
    condition {
      num_newer_versions = 5
      with_state         = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.required]
}
