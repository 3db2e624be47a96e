"""The DAGs of the control plane: the DAG bundle ``bulkhead.plugins.dag_bundle`` offers them to Airflow."""
