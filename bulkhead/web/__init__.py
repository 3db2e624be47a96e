"""What the ledger says, as JSON over HTTP and as pages: the Control Room in Airflow's web interface.

``app/`` has the pages' source, in TypeScript; ``static/bulkhead.js`` is what ``npm run build`` makes of it.
"""

BUNDLE = "/bulkhead.js"
"""Path of the pages' program, below the API's own."""
