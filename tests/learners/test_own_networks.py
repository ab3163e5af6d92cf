"""`actor_network` and `critic_network`: with the built-in layers spelled out, every algorithm does what it did."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.errors import CapabilityError, ConfigError
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


@pytest.mark.parametrize(("name", "settings"), [("log_linear_ppo", {}), ("inpg", {"tabular": True})])
def test_where_policies_are_not_networks_they_are_refused(name, settings):
    with pytest.raises(CapabilityError, match="actor_network"):
        make_learner(make_batch(), name, actor_network="my_networks:TwoLayers", **settings)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_the_activation_is_that_of_actors_and_critics(activation):
    learner = make_learner(make_batch(), activation=activation)
    plain = {"tanh": torch.tanh, "leaky_relu": torch.nn.functional.leaky_relu}[activation]
    actor, critic, x = learner.mac.agent.agents[0], learner.critic.net, torch.randn(2, 3, 5)
    with torch.no_grad():
        expected = actor.head(plain(actor.core(plain(actor.body(x)))))
        torch.testing.assert_close(actor.vjp(x)[0], expected)
        state = torch.randn(2, 15)
        expected = critic.head(plain(critic.layers[2](plain(critic.layers[0](state)))))
        torch.testing.assert_close(critic.vjp(state)[0], expected)
