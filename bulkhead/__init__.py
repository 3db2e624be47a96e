"""Bulkhead: failure containment for Airflow model pipelines on GPU pods."""

__version__ = "0.1.0"
