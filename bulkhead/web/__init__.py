"""What the ledger says, as JSON over HTTP: for the Control Room in Airflow's web interface, and for programs."""
