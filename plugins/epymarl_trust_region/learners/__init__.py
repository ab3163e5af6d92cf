"""The learners by the name that a yaml file gives them in its key `learner`."""

from .happo import HAPPOLearner
from .hatrpo import HATRPOLearner
from .inpg import INPGLearner, IPGLearner
from .jr_ppo import IndependentRatioLearner, JointRatioLearner
from .log_linear_ppo import LogLinearPPOLearner
from .matrl import MATRLLearner

REGISTRY = {
    "happo_learner": HAPPOLearner,
    "hatrpo_learner": HATRPOLearner,
    "inpg_learner": INPGLearner,
    "ipg_learner": IPGLearner,
    "jr_ppo_learner": JointRatioLearner,
    "log_linear_ppo_learner": LogLinearPPOLearner,
    "matrl_learner": MATRLLearner,
    "independent_ratio_learner": IndependentRatioLearner,
}
