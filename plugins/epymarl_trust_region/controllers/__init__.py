"""The controllers by the name that a yaml file gives them in its key `mac`."""

from .log_linear_mac import LogLinearMAC
from .trust_region_mac import TrustRegionMAC

REGISTRY = {"trust_region_mac": TrustRegionMAC, "log_linear_mac": LogLinearMAC}
