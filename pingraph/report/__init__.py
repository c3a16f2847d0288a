"""`pingraph report`: all that is known of some embeddings in one HTML file that opens offline."""

from pingraph.report.page import numbers_file, write_report

__all__ = ["numbers_file", "write_report"]
