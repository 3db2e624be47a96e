"""What the ledger says, as JSON over HTTP and as pages: the Control Room in Airflow's web interface.

``app/`` has the pages' source, in TypeScript; ``static/`` is what ``npm run build`` makes of it.
"""

BUNDLE = "/bulkhead.js"
"""Path of the pages' program, below the API's own."""

STANDALONE = "/standalone.js"
"""The same for the page of ``bulkhead ui``, with all that Airflow's page has already."""
