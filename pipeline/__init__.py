"""The three jobs, their configuration and the command line."""

__version__ = "0.2.0"

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2
