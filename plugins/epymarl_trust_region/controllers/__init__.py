"""The controllers by the name that a yaml file gives them in its key `mac`."""

from .trust_region_mac import TrustRegionMAC

REGISTRY = {"trust_region_mac": TrustRegionMAC}
