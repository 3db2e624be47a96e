"""From the name of a pod to the revision that it serves."""

import pytest

from bulkhead.pods.serving_names import RevisionsOfPods, server_name

LONG = "a-service-with-a-long-name-indeed-of-57-characters-ab12cd"


@pytest.mark.parametrize(
    ("pod", "revision"),
    [
        ("default/serve-digits-ab12cd34", "digits-ab12cd34"),
        ("ml/serve-digits-ab12cd34-5d8f7c9b6-x2k9q", "digits-ab12cd34"),
        ("ml/digits-ab12cd34-predictor-00001-deployment-6c7-x2k9q", "digits-ab12cd34"),
        ("ml/digits-ab12cd34-0-1", "digits-ab12cd34"),
        (f"ml/{(server_name(LONG) + '-5d8f7c9b6-')[:58]}x2k9q", LONG),
        ("ml/serve-digits-ab12cd345-5d8f7c9b6-x2k9q", None),
        ("ml/compare-digits-ab12cd34", None),
        ("ml/train-digits", None),
        ("", None),
    ],
)
def test_a_pod_serves_the_revision_that_its_name_begins_with(pod: str, revision: str | None) -> None:
    assert RevisionsOfPods(["digits-ab12cd34", LONG]).find(pod) == revision
