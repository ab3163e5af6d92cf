"""The learners by the name that a yaml file gives them in its key `learner`."""

from .happo import HAPPOLearner

REGISTRY = {"happo_learner": HAPPOLearner}
