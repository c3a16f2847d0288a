"""`pingraph export`: embeddings with what is known of their pins, for the viewers of others."""

from pingraph.export.facts import gather
from pingraph.export.parquet import write_parquet
from pingraph.export.projector import write_projector

__all__ = ["gather", "write_parquet", "write_projector"]
