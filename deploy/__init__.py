"""What runs the jobs outside one machine: images, templates, submission."""
