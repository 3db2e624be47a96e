"""The demo on Kubernetes: the chart, and around it what a team has already: PostgreSQL, MLflow, Airflow and clients."""
