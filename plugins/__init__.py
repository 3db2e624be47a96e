"""What Airflow discovers, through the entry points ``airflow.plugins`` and ``apache_airflow_provider``."""
