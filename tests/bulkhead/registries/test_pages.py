import pytest

from bulkhead.registries.pages import artifact_page, model_page, run_page


@pytest.mark.parametrize("missing", range(3))
def test_a_run_of_which_something_is_not_known_has_no_page(missing: int) -> None:
    known = ["http://mlflow", "7", "r1"]
    assert run_page(*known) == "http://mlflow/#/experiments/7/runs/r1"
    known[missing] = ""
    assert run_page(*known) == ""


def test_an_artifact_is_in_its_runs_page() -> None:
    run = run_page("http://mlflow", "7", "r1")
    assert artifact_page(run, "a b/gate.html") == f"{run}/artifacts/a%20b/gate.html"
    assert artifact_page("", "gate.html") == ""


@pytest.mark.parametrize(
    ("model", "page"),
    [
        ({"model_uri": "models:/m-0a", "experiment_id": "7"}, "/#/experiments/7/models/m-0a"),
        (
            {"model_uri": "models:/m-0a", "experiment_id": "7", "name": "a b", "version": "2"},
            "/#/models/a%20b/versions/2",
        ),
        ({"model_uri": "models:/digits/4"}, "/#/models/digits/versions/4"),
        ({"model_uri": "models:/m-0a"}, None),
        ({"model_uri": "s3://bucket/model", "experiment_id": "7", "name": "digits"}, None),
    ],
)
def test_a_registered_version_comes_before_the_logged_model(model: dict[str, str], page: str | None) -> None:
    assert model_page("http://mlflow", **model) == (f"http://mlflow{page}" if page else "")
    assert model_page("", **model) == ""
