terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The bucket of the state is given to `terraform init`: it exists before everything else.
  backend "gcs" {
    prefix = "cloudlulc"
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are asked of the billing account: the quota is this project's.
  user_project_override = true
  billing_project       = var.project

  default_labels = local.labels
}
