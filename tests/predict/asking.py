"""What `predict` answers to lines of text."""

from bertsmith.predict.pipelines import Line, pipeline_of
from bertsmith.predict.predictor import Predictor


def predictions(model: Predictor, texts: list[str]) -> list[Line]:
    pipeline = pipeline_of(model)
    return pipeline.ask([pipeline.parse(text) for text in texts])
