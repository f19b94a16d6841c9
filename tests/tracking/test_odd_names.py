"""Objects may have any name: MLflow takes what is logged of them, each under a name of its own."""

from hypothesis import given
from mlflow.utils.validation import _validate_metric_name, _validate_param_name
from odd_names import NAMES, ODD_NAMES

from octopi.tracking.mlflow import storable_key, storable_keys


@given(NAMES)
def test_mlflow_takes_the_metrics_and_parameters_of_any_object(name):
    _validate_metric_name(storable_key(f"f1_{name}"))
    (key,) = storable_keys({"targets": {name: 1}})["targets"]
    _validate_param_name(f"thresholds_{key}")


def test_two_names_stay_two():
    assert len({storable_key(name) for name in ODD_NAMES}) == len(ODD_NAMES)


def test_plain_names_stay_as_they_are():
    assert storable_key("val_f1/apo-ferritin 2.0") == "val_f1/apo-ferritin 2.0"
