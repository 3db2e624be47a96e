"""What runs inside a pod. Knows torch, mlflow and the outcome schema; never Airflow."""
