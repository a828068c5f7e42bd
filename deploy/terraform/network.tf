# Workers have private addresses only, in a network of their own.
resource "google_compute_network" "workers" {
  name                    = "cloudlulc"
  auto_create_subnetworks = false

  depends_on = [google_project_service.required]
}

resource "google_compute_subnetwork" "workers" {
  name          = "cloudlulc-workers"
  network       = google_compute_network.workers.id
  region        = var.region
  ip_cidr_range = var.subnet_range
  # Storage, Dataflow, Artifact Registry, logging and Earth Engine, without any public address.
  private_ip_google_access = true
}

# Workers of one job talk to each other on these two ports, and nobody else to them.
resource "google_compute_firewall" "workers" {
  name        = "cloudlulc-workers"
  network     = google_compute_network.workers.id
  description = "Dataflow workers among themselves"
  direction   = "INGRESS"
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

# STAC catalogues outside Google are reached through NAT: outgoing only.
resource "google_compute_router" "internet" {
  count   = var.internet ? 1 : 0
  name    = "cloudlulc"
  network = google_compute_network.workers.id
  region  = var.region
}

resource "google_compute_router_nat" "internet" {
  count                              = var.internet ? 1 : 0
  name                               = "cloudlulc"
  router                             = google_compute_router.internet[0].name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  # Requests run in parallel on every worker: the default of 64 ports is soon used up.
  min_ports_per_vm = 512

  subnetwork {
    name                    = google_compute_subnetwork.workers.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
