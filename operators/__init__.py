"""Airflow operators and triggers: train, evaluate, deploy."""
