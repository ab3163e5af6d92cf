"""What an environment gives is checked here, once, before anything uses it; and which spaces there may be."""

from .contract import Contract, contract_of
from .interface import Checked, under_contract
from .scene import numbered
from .spaces import check_spaces

__all__ = ["Checked", "Contract", "check_spaces", "contract_of", "numbered", "under_contract"]
