pytest_plugins = [
    "tests.fixtures.ledger",
    "tests.fixtures.runtime",
    "tests.fixtures.envoy",
    "tests.fixtures.mlflow",
]
