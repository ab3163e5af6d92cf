"""Where each controller is, by the name that a yaml file gives it in its key `mac`; see learners/__init__.py."""

CONTROLLERS = {
    "log_linear_mac": "epymarl_trust_region.controllers.log_linear_mac:LogLinearMAC",
    "trust_region_mac": "epymarl_trust_region.controllers.trust_region_mac:TrustRegionMAC",
}
