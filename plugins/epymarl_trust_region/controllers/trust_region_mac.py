"""The multi-agent controller (MAC) of all trust-region learners, for the runners of any host.

Shape letters: B episodes, T steps, N agents, A actions, O observation, D actor inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import NonFiniteError
from ..modules import files
from ..modules.actors import ActorSet
from ..modules.distributions import MaskedCategorical


class SampleSelector:
    """The suite's runners look for `mac.action_selector`; this MAC samples from its policies and has no epsilon."""


class TrustRegionMAC:
    """Separate or shared actors behind the suite's MAC interface, plus whole-sequence evaluation of single agents.

    The per-step interface (`select_actions`, `forward`, `init_hidden`) is what runners use. Learners use
    `build_inputs` once per update and then `policy(i, ...)`, which evaluates one agent over all steps without a Python
    loop over time and leaves the per-step hidden state alone.
    """

    always_tabular = False  # logits are a table times the inputs
    step_size_keys = "the step size"  # what to lower when training diverges; the learner knows its keys

    def __init__(self, scheme: dict, groups: dict, args) -> None:
        """
        Args:
            scheme: the suite's batch scheme; `obs` gives O and `actions_onehot` gives A.
            groups: unused, part of the suite's interface.
            args: n_agents, n_actions, hidden_dim, use_rnn, share_parameters, obs_last_action, obs_agent_id,
                test_greedy, and tabular where there is one.
        """
        self.args = args
        self.n_agents, self.n_actions = args.n_agents, args.n_actions
        self.agent = ActorSet(
            self.n_agents,
            self._input_dim(scheme),
            self.n_actions,
            args.hidden_dim,
            args.use_rnn,
            args.share_parameters,
            self.always_tabular or getattr(args, "tabular", False),  # only some learners have the key
        )
        self.action_selector = SampleSelector()
        self.hidden_states: Tensor | None = None

    def _input_dim(self, scheme: dict) -> int:
        """D: the width of `_inputs`."""
        last_action = self.n_actions if self.args.obs_last_action else 0
        return scheme["obs"]["vshape"] + last_action + (self.n_agents if self.args.obs_agent_id else 0)

    # What runners use: one step of all agents -------------------------------------------------------------------

    @torch.no_grad()
    def select_actions(self, ep_batch, t_ep: int, t_env: int, bs=slice(None), test_mode: bool = False) -> Tensor:
        """Actions [len(bs), N] at step `t_ep`, sampled, or greedy in test mode if `test_greedy` is set.

        Raises:
            NonFiniteError: a policy's probabilities are no numbers.
        """
        logits, avail = self._step(ep_batch, t_ep)
        return self._choose(MaskedCategorical(logits[bs], avail[bs]), test_mode)

    def _choose(self, policy: MaskedCategorical, test_mode: bool, first: int = 0) -> Tensor:
        """Actions [B, n] of policies over [B, n], of the agents from `first` on."""
        if test_mode and self.args.test_greedy:
            return policy.mode()
        try:
            return policy.sample()
        except RuntimeError as error:  # which says that they are NaN, and does not say whose
            agents = (~policy.probs.isfinite()).flatten(2).any(-1).any(0).nonzero().flatten().tolist()
            if not agents:
                raise
            agents = [first + agent for agent in agents]
            raise NonFiniteError(
                f"the action probabilities of agent {', '.join(map(str, agents))} are NaN: a network has overflowed, "
                f"training has diverged; lower {self.step_size_keys}, and go on from the last checkpoint with "
                "checkpoint_path"
            ) from error

    def forward(self, ep_batch, t: int, test_mode: bool = False) -> Tensor:
        """Action probabilities [B, N, A] at step `t`; advances the hidden state."""
        return MaskedCategorical(*self._step(ep_batch, t)).probs

    def _step(self, ep_batch, t: int) -> tuple[Tensor, Tensor]:
        inputs = self._inputs(ep_batch, slice(t, t + 1)).squeeze(1)
        logits, self.hidden_states = self.agent(inputs, self.hidden_states)
        return logits, ep_batch["avail_actions"][:, t]

    def init_hidden(self, batch_size: int) -> None:
        """Forget the past: zero hidden states for `batch_size` episodes."""
        self.hidden_states = self.agent.init_hidden(batch_size)

    # What learners use: whole sequences, one agent at a time ----------------------------------------------------

    def build_inputs(self, ep_batch) -> Tensor:
        """Inputs of all agents over all T = max_seq_length - 1 steps with an action, agent by agent: [N, B, T, D]."""
        inputs = self._inputs(ep_batch, slice(0, ep_batch.max_seq_length - 1))
        return inputs.permute(2, 0, 1, 3).contiguous()

    def policy(self, agent: int, inputs: Tensor, avail_actions: Tensor | None) -> MaskedCategorical:
        """pi_i over whole sequences from a zero hidden state.

        Args:
            agent: index i of the agent.
            inputs: [B, T, D], row i of `build_inputs`.
            avail_actions: [B, T, A]; None: all actions are available.
        """
        actor = self.agent.actor(agent)
        logits, _ = actor(inputs) if torch.is_grad_enabled() else actor.vjp(inputs)
        return MaskedCategorical(logits, avail_actions)

    @torch.no_grad()
    def evaluate(
        self, agent: int, inputs: Tensor, avail_actions: Tensor | None, actions: Tensor
    ) -> tuple[Tensor, Tensor, Callable]:
        """log pi_i(a) and the entropy of pi_i over whole sequences, with their vector-Jacobian product.

        The same as `policy(...)`'s `log_prob(actions)` and `entropy()`, faster and without autograd.

        Args:
            inputs: [B, T, D], row i of `build_inputs`.
            avail_actions: [B, T, A]; None: all actions are available.
            actions: [B, T], int64.

        Returns:
            log pi_i(a) and H, each [B, T], and `pull(gradient of log pi_i(a), gradient of H, out)`, which writes the
            gradients of `agent_parameters(agent)` into the tensors `out`.
        """
        logits, pull_actor = self.agent.actor(agent).vjp(inputs)
        log_prob, entropy, pull_policy = MaskedCategorical.evaluate(logits, avail_actions, actions)

        @torch.no_grad()
        def pull(of_log_prob: Tensor, of_entropy: Tensor, out: Sequence[Tensor]) -> None:
            pull_actor(pull_policy(of_log_prob, of_entropy), out)

        return log_prob, entropy, pull

    @torch.no_grad()
    def evaluate_all(
        self, inputs: Tensor, avail_actions: Sequence[Tensor | None], actions: Tensor
    ) -> tuple[Tensor, Tensor, Callable]:
        """`evaluate` for all agents at once, whether or not they share their network.

        Args:
            inputs: [N, B, T, D], as `build_inputs` gives them.
            avail_actions: N times [B, T, A] or None.
            actions: [N, B, T], int64.

        Returns:
            log pi_i(a_i) and H_i, each [N, B, T], and `pull(gradient of log pi, gradient of H, out)`; `out` has one
            sequence of tensors per network.
        """
        logits, pull_actors = self.agent.vjp(inputs)
        avail = None
        if any(own is not None for own in avail_actions):
            full = torch.ones(logits.shape[1:], dtype=torch.bool, device=logits.device)
            avail = torch.stack([full if own is None else own for own in avail_actions])
        log_prob, entropy, pull_policy = MaskedCategorical.evaluate(logits, avail, actions)

        @torch.no_grad()
        def pull(of_log_prob: Tensor, of_entropy: Tensor, out: Sequence[Sequence[Tensor]]) -> None:
            pull_actors(pull_policy(of_log_prob, of_entropy), out)

        return log_prob, entropy, pull

    @torch.no_grad()
    def linearise(
        self, agent: int, inputs: Tensor, avail_actions: Tensor | None
    ) -> tuple[MaskedCategorical, Callable, Callable]:
        """pi_i over whole sequences, as `policy`, with the derivatives of its logits both ways (`Actor.linearise`)."""
        logits, push, pull = self.agent.actor(agent).linearise(inputs)
        return MaskedCategorical(logits, avail_actions), torch.no_grad()(push), torch.no_grad()(pull)

    def agent_parameters(self, agent: int) -> list[torch.nn.Parameter]:
        """The parameters that agent `agent` acts with; the same for every agent where actors are shared."""
        return list(self.agent.actor(agent).parameters())

    def _inputs(self, ep_batch, ts: slice) -> Tensor:
        """[B, T', N, D]: observation, then last action and agent id where the configuration asks for them."""
        obs = ep_batch["obs"][:, ts]
        parts = [obs]
        if self.args.obs_last_action:
            parts.append(self._last_actions(ep_batch, ts))
        if self.args.obs_agent_id:
            parts.append(torch.eye(self.n_agents, device=obs.device).expand(*obs.shape[:2], -1, -1))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else obs

    def _last_actions(self, ep_batch, ts: slice) -> Tensor:
        onehot = ep_batch["actions_onehot"]
        if ts.start > 0:
            return onehot[:, ts.start - 1 : ts.stop - 1]
        return torch.cat([torch.zeros_like(onehot[:, :1]), onehot[:, : ts.stop - 1]], dim=1)

    # Parameters and files ---------------------------------------------------------------------------------------

    def parameters(self):
        """All actors' parameters."""
        return self.agent.parameters()

    def load_state(self, other_mac: TrustRegionMAC) -> None:
        """Take over another MAC's parameters."""
        self.agent.load_state_dict(other_mac.agent.state_dict())

    def cuda(self) -> None:
        """Move the actors to the GPU."""
        self.agent.cuda()

    def save_models(self, path: str) -> None:
        """Write the actors to `<path>/agent.th`."""
        files.write(Path(path) / files.AGENT_FILE, self.agent.state_dict())

    def load_models(self, path: str) -> None:
        """Read the actors from `<path>/agent.th`.

        Raises:
            CheckpointError: the file is missing, truncated, or made for other shapes.
        """
        try:
            self.agent.load_state_dict(files.read(Path(path) / files.AGENT_FILE))
        except RuntimeError as error:
            raise files.foreign(path, error) from error
