"""Which rows are trained on, and which judge: divided once, by a seed that no model has a say in."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def _parts():
    frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "benign"})
    return train_test_split(frame, test_size=0.4, random_state=0, stratify=frame["benign"])


def training():
    return _parts()[0]


def holdout():
    return _parts()[1]


def by_size(frame):
    """Slices: a mask by name. Which rows are small is said by the training data alone."""
    middle = training()["mean radius"].median()
    return {"small": frame["mean radius"] < middle, "large": frame["mean radius"] >= middle}
