"""`actor_network` and `critic_network`: with the built-in layers spelled out, every algorithm does what it did."""

from __future__ import annotations

import sys

import pytest
import torch
from epymarl_trust_region.errors import ConfigError
from support import make_batch, make_learner

ALGORITHMS = ["happo", "hatrpo", "jr_ppo", "ir_ippo", "matrl", "matrl_no_br", "inpg", "ipg"]


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_is_that_of_the_built_in_networks(name, use_rnn, double_precision):
    own = {
        "actor_network": f"my_networks:{'Recurrent' if use_rnn else 'TwoLayers'}",
        "actor_args": {"width": 8},
        "critic_network": "my_networks:Features",
    }
    batch, vectors = make_batch(lengths=[6, 3, 1, 5], avail=0.7), []
    for settings in ({"use_rnn": use_rnn}, own):
        learner = make_learner(batch, name, hidden_dim=8, critic_hidden_dim=8, **settings)
        before = [o.vector.detach().clone() for o in (*learner.actor_optimisers, learner.critic_optimiser)]
        for _ in range(2):
            learner.train(batch, 0, 0)
        after = [o.vector.detach() for o in (*learner.actor_optimisers, learner.critic_optimiser)]
        assert all((new != old).any() for new, old in zip(after, before, strict=True))
        vectors.append(torch.cat(after))
    # Adam divides by the root of a mean square: where a gradient is about 0 it makes rounding large.
    torch.testing.assert_close(*vectors, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"actor_network": "TwoLayers"}, "actor_network=TwoLayers does not name a class; give module:Class"),
        ({"actor_network": "no_such_module:X"}, "importing no_such_module fails"),
        ({"critic_network": "my_networks:Nothing"}, "critic_network=my_networks:Nothing: .* has no Nothing"),
        ({"actor_network": "my_networks:TwoLayers"}, r"TwoLayers\(5, 4\) cannot be made: .*width"),
        ({"actor_network": "my_networks:not_a_network"}, "gives a int; give a torch.nn.Module"),
        ({"actor_args": {"width": 8}}, "actor_args={'width': 8} goes to no network; name one with actor_network"),
        (
            {"actor_network": "my_networks:TwoLayers", "actor_args": {"width": 8}, "use_rnn": True},
            "use_rnn=True does nothing with actor_network",
        ),
    ],
)
def test_what_cannot_be_made_is_one_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_learner(make_batch(), **settings)


WRONG = """
import torch
from torch import nn
class Wider(nn.Linear):
    def __init__(self, i, o): super().__init__(i, o + 1)
class Pair(nn.Linear):
    def forward(self, x): return super().forward(x), None
class Bug(nn.Linear):
    def forward(self, x): raise KeyError("lamp")
class Stateful(nn.Linear):
    def init_hidden(self, batch_size): return torch.zeros(batch_size, 1)
    def forward(self, x, h): return super().forward(x)
class Spare(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Linear(i, o))
        self.spare = nn.Linear(3, 3)
    def forward(self, x): return self[0](x)
class Draws(nn.Linear):
    def forward(self, x): return super().forward(x) + torch.rand(())
"""


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("wrong", None)


@pytest.mark.parametrize("of", ["actor", "critic"])
@pytest.mark.parametrize(
    "name, message",
    [
        (
            "Wider",
            r"gives \[(2, 3, 5|6, 129)\] for inputs \[.*\], instead of \[(2, 3, 4|6, 128)\]; it is made as Class",
        ),
        ("Pair", "gives a tuple and no tensor"),
        ("Bug", r"fails on inputs \[.*\]: KeyError: 'lamp'"),
        ("Stateful", r"no pair \(outputs, state after them\)|missing 1 required positional argument: 'h'"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_of_it(of, name, message, wrong):
    with pytest.raises(ConfigError, match=f"^{of}_network: wrong:{name} .*({message})"):
        make_learner(make_batch(), critic_hidden_dim=128, **{f"{of}_network": f"wrong:{name}"})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_layers_that_are_not_used_stay_as_they_are(name, wrong):
    batch = make_batch()
    learner = make_learner(batch, name, actor_network="wrong:Spare", critic_network="wrong:Spare")
    networks = [*learner.mac.agent.modules(), *learner.critic.modules()]
    spare = [network.spare.weight for network in networks if hasattr(network, "spare")]
    assert len(spare) > 1
