"""Called by TrainOperator with its parameters, in the MLflow run that was made for the task."""

import mlflow
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from PACKAGE.data import training


def main(c: float = 1.0):
    frame = training()
    features, target = frame.drop(columns="benign"), frame["benign"]
    with mlflow.start_run():
        mlflow.log_param("c", c)
        mlflow.log_input(mlflow.data.from_pandas(frame, name="tumours", targets="benign"), context="training")
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(features, target)
        return mlflow.sklearn.log_model(model, name="model", input_example=features.head(3))
