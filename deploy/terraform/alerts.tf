resource "google_monitoring_notification_channel" "email" {
  display_name = "CloudLULC operators"
  type         = "email"
  labels       = { email_address = var.alert_email }

  depends_on = [google_project_service.required]
}

# A run ended without its product: the only alert that needs a person for certain.
resource "google_monitoring_alert_policy" "run_failed" {
  display_name          = "CloudLULC: a run failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "Workflow execution failed"
    condition_threshold {
      filter          = "resource.type = \"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id = \"${google_workflows_workflow.run.name}\" AND metric.type = \"workflows.googleapis.com/finished_execution_count\" AND metric.labels.status = \"FAILED\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "A scheduled run failed after all its attempts. The execution in the Workflows console names the job; its log names the keys that failed. Execute the workflow again with the same argument once the cause is gone: it starts only what is missing. See deploy/README.md, Troubleshooting."
  }
}

# A job failed, perhaps to be launched again by the workflow, or one that a person submitted.
resource "google_monitoring_alert_policy" "job_failed" {
  display_name          = "CloudLULC: a Dataflow job failed"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "Dataflow job failed"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND resource.labels.job_name = starts_with(\"cloudlulc-\") AND metric.type = \"dataflow.googleapis.com/job/is_failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "The workflow tries a failed job again after half an hour. If the run fails too, another alert follows. See deploy/README.md, Troubleshooting."
  }
}

# Workers cost by the hour: a job that hangs must not go unseen until it is cancelled.
resource "google_monitoring_alert_policy" "job_long" {
  display_name          = "CloudLULC: a Dataflow job runs long"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "Half of max_hours_per_job has passed"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND resource.labels.job_name = starts_with(\"cloudlulc-\") AND metric.type = \"dataflow.googleapis.com/job/elapsed_time\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.max_hours_per_job * 1800
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "The job is cancelled after max_hours_per_job. Look in the Dataflow console whether it still makes progress; cancelling it loses nothing that is written."
  }
}

# The schedule itself could not start a run.
resource "google_monitoring_alert_policy" "not_started" {
  display_name          = "CloudLULC: a schedule could not start its run"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "Cloud Scheduler reports an error"
    condition_matched_log {
      filter = "resource.type = \"cloud_scheduler_job\" AND resource.labels.job_id =~ \"^cloudlulc-\" AND severity >= ERROR"
    }
  }
  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "Cloud Scheduler could not execute the workflow: see the log of the scheduler's job."
  }
}
