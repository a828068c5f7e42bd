variable "project" {
  description = "ID of the project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is an ID such as my-landcover-1: 6 to 30 of a-z, 0-9 and -, not its number or title."
  }
}

variable "region" {
  description = "Region of buckets, images, jobs and schedules, one that has the GPU of `gpu`."
  type        = string
  default     = "europe-west4"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west4, not a zone or a multi-region."
  }
}

variable "image_version" {
  description = "Tag of the images and templates, as given to Cloud Build in _VERSION."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{0,126}$", var.image_version)) && var.image_version != "latest"
    error_message = "image_version is a tag such as 0.1.0; latest would change under a running job."
  }
}

variable "schedules" {
  description = "Runs by name: cron time, and the argument of the workflow (see deploy/workflow.yaml)."
  type = map(object({
    cron      = string
    time_zone = optional(string, "Etc/UTC")
    paused    = optional(bool, false)
    region    = string
    source    = string
    days_ago  = number
    options   = optional(map(string), {})
  }))
  default = {}

  validation {
    condition     = alltrue([for run in values(var.schedules) : !contains(keys(run.options), "max_failed")])
    error_message = "schedules: options hold no max_failed: the workflow tolerates no failed key."
  }

  validation {
    condition     = alltrue([for name in keys(var.schedules) : can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name))])
    error_message = "schedules: a name is 1 to 40 of a-z, 0-9 and -, starting with a letter; it becomes part of job names and labels."
  }
  validation {
    condition     = alltrue([for run in values(var.schedules) : length(split(" ", run.cron)) == 5])
    error_message = "schedules: cron has five fields, for instance \"0 3 1 * *\"."
  }
  validation {
    condition     = alltrue([for run in values(var.schedules) : run.days_ago >= 0 && floor(run.days_ago) == run.days_ago])
    error_message = "schedules: days_ago is a whole number, 0 or more."
  }
}

variable "machine_types" {
  description = "Machine type of the workers of each job; the one of classify must take the GPU."
  type        = object({ ingest = string, classify = string, mosaic = string })
  default     = { ingest = "n2-standard-4", classify = "g2-standard-8", mosaic = "n2-highmem-4" }
}

variable "gpu" {
  description = "type:1:driver of the accelerator of a classify worker, or none for CPU workers. CUDA 13, which the image has, needs driver 580 or newer: 5xx is the newest that Dataflow installs."
  type        = string
  default     = "nvidia-l4:1:5xx"

  validation {
    condition     = can(regex("^(none|nvidia-[a-z0-9-]+:1(:[0-9a-z.]+)?)$", var.gpu))
    error_message = "gpu is none or type:1:driver, for instance nvidia-l4:1:5xx; a process drives one GPU."
  }
}

variable "max_workers" {
  description = "Most workers of a job, and so the most that it can cost per hour."
  type        = number
  default     = 20

  validation {
    condition     = var.max_workers >= 1 && var.max_workers <= 1000
    error_message = "max_workers is between 1 and 1000."
  }
}

variable "max_hours_per_job" {
  description = "A job that runs longer is cancelled, and the run fails."
  type        = number
  default     = 24

  validation {
    condition     = var.max_hours_per_job >= 1 && var.max_hours_per_job <= 240
    error_message = "max_hours_per_job is between 1 and 240."
  }
}

variable "attempts" {
  description = "How often a failing job is launched in all; each goes on where the last stopped."
  type        = number
  default     = 2

  validation {
    condition     = var.attempts >= 1 && var.attempts <= 5
    error_message = "attempts is between 1 and 5."
  }
}

variable "internet" {
  description = "Whether workers may reach catalogues outside Google, through Cloud NAT; off: gs:// and Earth Engine only."
  type        = bool
  default     = true
}

variable "earth_engine" {
  description = "Whether workers may read Earth Engine; the project must be registered for it."
  type        = bool
  default     = false
}

variable "imagery_buckets" {
  description = "Buckets that workers read scenes and catalogues from, by name, without gs://."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.imagery_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", name))])
    error_message = "imagery_buckets are names such as my-imagery, without gs:// and without folders."
  }
}

variable "subnet_range" {
  description = "Private addresses of the workers, as CIDR; one is taken by each."
  type        = string
  default     = "10.128.0.0/20"

  validation {
    condition     = can(cidrnetmask(var.subnet_range))
    error_message = "subnet_range is IPv4 in CIDR notation, for instance 10.128.0.0/20."
  }
}

variable "alert_email" {
  description = "Address that failures and budget alerts are sent to."
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alert_email))
    error_message = "alert_email is an e-mail address."
  }
}

variable "billing_account" {
  description = "ID of the billing account that the project is linked to, for the budget."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account looks like 012345-6789AB-CDEF01."
  }
}

variable "monthly_budget" {
  description = "Amount per month, in whole units of budget_currency, that alerts are measured against. It stops nothing."
  type        = number

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget is a whole number, 1 or more."
  }
}

variable "budget_currency" {
  description = "Currency of the billing account."
  type        = string
  default     = "USD"

  validation {
    condition     = can(regex("^[A-Z]{3}$", var.budget_currency))
    error_message = "budget_currency is three capitals, for instance EUR; it must be the billing account's."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to destroy products and the workflow; false before a tear-down."
  type        = bool
  default     = true
}
