"""Where each learner is, by the name that a yaml file gives it in its key `learner`; its configuration stands with it.

Names alone: `suite/algorithms.py` imports a learner when it is wanted, of other people's packages in the same way.
"""

LEARNERS = {
    "happo_learner": "epymarl_trust_region.learners.happo:HAPPOLearner",
    "hatrpo_learner": "epymarl_trust_region.learners.hatrpo:HATRPOLearner",
    "independent_ratio_learner": "epymarl_trust_region.learners.jr_ppo:IndependentRatioLearner",
    "inpg_learner": "epymarl_trust_region.learners.inpg:INPGLearner",
    "ipg_learner": "epymarl_trust_region.learners.ipg:IPGLearner",
    "jr_ppo_learner": "epymarl_trust_region.learners.jr_ppo:JointRatioLearner",
    "log_linear_ppo_learner": "epymarl_trust_region.learners.log_linear_ppo:LogLinearPPOLearner",
    "matrl_learner": "epymarl_trust_region.learners.matrl:MATRLLearner",
    "wolf_learner": "epymarl_trust_region.learners.wolf:WoLFLearner",
}

#: Those that no host runs: they learn from recorded episodes.
OFFLINE_LEARNERS = {"log_linear_offline": "epymarl_trust_region.offline.log_linear:LogLinearOffline"}
