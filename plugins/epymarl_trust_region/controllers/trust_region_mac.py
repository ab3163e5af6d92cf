"""The multi-agent controller (MAC) of all trust-region learners, for the runners of any host.

Shape letters: B episodes, T steps, N agents, A actions (or the dimensions of one, where they are real-valued), O
observation, D actor inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError, NonFiniteError
from ..interfaces import Args, Batch, Scheme
from ..modules import files
from ..modules.actors import Actor, ActorSet, AnyActor, GaussianActor, OwnNetwork, TabularActor
from ..modules.distributions import MaskedCategorical
from ..modules.gaussian import DiagonalGaussian
from ..modules.gradless import gradless
from ..modules.input_norm import RunningNorm
from ..modules.memory import Carried, Memory, begins_of, stream_mask
from ..modules.networks import make_module
from ..modules.policy import Policy

#: Which rows of a batch: a list of them, or a slice.
Rows = Sequence[int] | slice


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

    def __init__(self, scheme: Scheme, groups: dict, args: Args) -> None:
        """
        Args:
            scheme: the suite's batch scheme; `obs` gives O, and the type of `actions` says what policies are over.
            groups: unused, part of the suite's interface.
            args: n_agents, n_actions, share_parameters, obs_last_action, obs_agent_id, test_greedy, what actors are
                made of, and tabular where there is one.

        Raises:
            ConfigError: a table of observations without numbers; or a network of the user's own cannot be made.
        """
        self.args = args
        self.continuous = scheme.get("actions", {}).get("dtype", torch.long).is_floating_point
        self.policy_class: type[MaskedCategorical] | type[DiagonalGaussian] = (
            DiagonalGaussian if self.continuous else MaskedCategorical
        )
        self.n_agents, self.n_actions = args.n_agents, args.n_actions
        self.agent = ActorSet(self.n_agents, self._actor_maker(self._input_dim(scheme)), args.share_parameters)
        if args.normalise_inputs:  # in the agent, so that it belongs to the checkpoint
            self.agent.add_module("input_norm", RunningNorm((self.n_agents, scheme["obs"]["vshape"])))
        self.action_selector = SampleSelector()
        self.hidden_states: Tensor | None = None
        self._agent_ids: Tensor | None = None
        self.carried: Carried | None = None  # what the streams of the present rollout began with; None: with nothing
        self._left_off: Carried | None = None  # what those of the next will

    def _actor_maker(self, input_dim: int) -> Callable[[], AnyActor]:
        args = self.args
        if self.always_tabular or getattr(args, "tabular", False):  # only some learners have the key
            if input_dim == 0:
                raise ConfigError(
                    "tabular=True learns for each observation, and the observations have length 0; set tabular=False"
                )
            return partial(TabularActor, input_dim, self.n_actions)
        make: Callable[[], Actor | OwnNetwork] = partial(
            Actor, input_dim, self.n_actions, args.hidden_dim, args.use_rnn, args.activation
        )
        if args.actor_network is not None:
            make = lambda: OwnNetwork(make_module(args, "actor", input_dim, self.n_actions))  # noqa: E731
        if not self.continuous:
            return make
        spread = (args.log_std_init, args.log_std_min, args.log_std_max)
        return lambda: GaussianActor(make(), self.n_actions, *spread)

    def _input_dim(self, scheme: Scheme) -> int:
        """D: the width of `_inputs`."""
        last_action = self.n_actions if self.args.obs_last_action else 0
        return scheme["obs"]["vshape"] + last_action + (self.n_agents if self.args.obs_agent_id else 0)

    @property
    def recurrent(self) -> bool:
        """Whether policies depend on the steps before."""
        return self.agent.init_hidden(1) is not None

    # What runners use: one step of all agents -------------------------------------------------------------------

    @gradless
    def select_actions(
        self, ep_batch: Batch, t_ep: int, t_env: int, bs: Rows = slice(None), test_mode: bool = False
    ) -> Tensor:
        """Actions [len(bs), N], or [len(bs), N, A], at step `t_ep`: sampled, or the mode in tests with `test_greedy`.

        Raises:
            NonFiniteError: a policy's parameters are no numbers.
        """
        outputs, avail = self._step(ep_batch, t_ep)
        if isinstance(bs, slice) or len(bs) < len(outputs):
            outputs, avail = outputs[bs], avail[bs]
        else:  # runners list all of them
            outputs = outputs.contiguous()  # as indexing by a list gives them: noise is drawn in that order
        return self._choose(self.policy_class(outputs, avail), test_mode)

    def _choose(self, policy: Policy, test_mode: bool, first: int = 0) -> Tensor:
        """Actions [B, n] of policies over [B, n], of the agents from `first` on."""
        if test_mode and self.args.test_greedy:
            return policy.mode()
        try:
            return policy.sample()
        except RuntimeError as error:  # which says that they are NaN, and does not say whose
            agents = (~policy.is_finite()).any(0).nonzero().flatten().tolist()
            if not agents:
                raise
            agents = [first + agent for agent in agents]
            raise NonFiniteError(
                f"the action probabilities of agent {', '.join(map(str, agents))} are NaN: a network has overflowed, "
                f"training has diverged; lower {self.step_size_keys}, and go on from the last checkpoint with "
                "checkpoint_path"
            ) from error

    def forward(self, ep_batch: Batch, t: int, test_mode: bool = False) -> Tensor:
        """Action probabilities, or means, [B, N, A] at step `t`; advances the hidden state."""
        policy = self.policy_class(*self._step(ep_batch, t))
        return policy.probs if isinstance(policy, MaskedCategorical) else policy.mode()

    def _step(self, ep_batch: Batch, t: int) -> tuple[Tensor, Tensor]:
        inputs = self._inputs(ep_batch, slice(t, t + 1)).squeeze(1)
        if t > 0 and self.hidden_states is not None and (mask := stream_mask(ep_batch)) is not None:
            self.hidden_states = self._forgotten(self.hidden_states, mask[:, t - 1, 0] == 0)
        outputs, self.hidden_states = self.agent(inputs, self.hidden_states)
        return outputs, ep_batch["avail_actions"][:, t]

    def init_hidden(self, batch_size: int) -> None:
        """Forget the past: zero hidden states for `batch_size` episodes."""
        self.hidden_states = self.agent.init_hidden(batch_size)

    def _forgotten(self, hidden: Tensor, begins: Tensor) -> Tensor:
        """[B, N, H] with the first state where an episode begins, [B]."""
        fresh = self.agent.init_hidden(len(hidden))
        assert fresh is not None  # where there are hidden states
        return torch.where(begins[:, None, None], fresh, hidden)

    def carry_on(self, batch_size: int) -> None:
        """Go on where the last rollout of streams left off: with its hidden states and its last actions."""
        self.carried, self._left_off = self._left_off, None
        if self.carried is None:
            self.init_hidden(batch_size)
        else:
            self.hidden_states = self.carried.hidden

    @torch.no_grad()
    def leave_off(self, ep_batch: Batch, t: int) -> None:
        """Keep what the next rollout of these streams begins with; step t - 1 was this one's last."""
        at = [ep_batch[key][:, t - 1, 0] != 0 for key in ("mask", "terminated", "truncated")]
        begins = ~at[0] | at[1] | at[2]
        hidden, actions = self.hidden_states, self._played(ep_batch)[:, t - 1]
        hidden = None if hidden is None else self._forgotten(hidden, begins)
        last_actions = torch.where(begins[:, None, None], torch.zeros_like(actions), actions)
        self._left_off = Carried(hidden, last_actions, begins)

    def streams_state(self) -> dict[str, Tensor | None] | None:
        """What the next rollout of streams begins with; None: nothing is carried over."""
        return None if self._left_off is None else self._left_off._asdict()

    def load_streams_state(self, state: dict[str, Tensor | None] | None) -> None:
        """Go on from `streams_state`."""
        device = next(self.agent.parameters()).device
        parts = {} if state is None else {k: None if x is None else x.to(device) for k, x in state.items()}
        self._left_off = None if state is None else Carried(**parts)  # type: ignore[arg-type]  # as it was given

    # What learners use: whole sequences, one agent at a time ----------------------------------------------------

    def build_inputs(self, ep_batch: Batch) -> Tensor:
        """Inputs of all agents over all T = max_seq_length - 1 steps with an action, agent by agent: [N, B, T, D]."""
        inputs = self._inputs(ep_batch, slice(0, ep_batch.max_seq_length - 1))
        return inputs.permute(2, 0, 1, 3).contiguous()

    def take_in(self, ep_batch: Batch) -> None:
        """Let the batch's observations have their part in the normalisation of inputs, from the next rollout on."""
        if self.args.normalise_inputs:
            self.agent.input_norm.update(ep_batch["obs"][ep_batch["filled"].squeeze(-1).bool()])

    def taken_actions(self, ep_batch: Batch) -> Tensor:
        """The actions of all T steps with one, agent by agent: [N, B, T] int64, or [N, B, T, A] as they were drawn."""
        actions = ep_batch["actions"][:, :-1]
        actions = actions.permute(2, 0, 1, 3) if self.continuous else actions.squeeze(-1).permute(2, 0, 1)
        return actions.contiguous()

    @torch.no_grad()
    def memory(self, ep_batch: Batch) -> Memory | None:
        """All agents', of a batch of streams; None of whole episodes, or where nothing is remembered."""
        mask = stream_mask(ep_batch)
        if mask is None or not self.recurrent:
            return None
        if self.carried is None:
            hidden, at_first = self.agent.init_hidden(len(mask)), torch.ones_like(mask[:, 0, 0], dtype=torch.bool)
        else:
            hidden, at_first = self.carried.hidden, self.carried.begins
        assert hidden is not None  # of recurrent policies
        return Memory(hidden.transpose(0, 1).contiguous(), begins_of(mask, at_first))

    def policy(self, agent: int, inputs: Tensor, avail_actions: Tensor | None, memory: Memory | None = None) -> Policy:
        """pi_i over whole sequences.

        Args:
            agent: index i of the agent.
            inputs: [B, T, D], row i of `build_inputs`.
            avail_actions: [B, T, A]; None: all actions are available.
            memory: agent i's, of streams; None: of whole episodes.
        """
        actor = self.agent.actor(agent)
        if torch.is_grad_enabled():
            return self.policy_class(actor.unrolled(inputs, memory), avail_actions)
        return self.policy_class(actor.vjp(inputs, memory)[0], avail_actions)

    @gradless
    def evaluate(
        self,
        agent: int,
        inputs: Tensor,
        avail_actions: Tensor | None,
        actions: Tensor,
        memory: Memory | None = None,
    ) -> tuple[Tensor, Tensor, Callable]:
        """log pi_i(a) and the entropy of pi_i over whole sequences, with their vector-Jacobian product.

        The same as `policy(...)`'s `log_prob(actions)` and `entropy()`, faster and without autograd.

        Args:
            inputs: [B, T, D], row i of `build_inputs`.
            avail_actions: [B, T, A]; None: all actions are available.
            actions: row i of `taken_actions`.
            memory: as in `policy`.

        Returns:
            log pi_i(a) and H, each [B, T], and `pull(gradient of log pi_i(a), gradient of H, out)`, which writes the
            gradients of `agent_parameters(agent)` into the tensors `out`.
        """
        outputs, pull_actor = self.agent.actor(agent).vjp(inputs, memory)
        log_prob, entropy, pull_policy = self.policy_class.evaluate(outputs, avail_actions, actions)

        @gradless
        def pull(of_log_prob: Tensor, of_entropy: Tensor, out: Sequence[Tensor]) -> None:
            pull_actor(pull_policy(of_log_prob, of_entropy), out)

        return log_prob, entropy, pull

    @gradless
    def evaluate_all(
        self,
        inputs: Tensor,
        avail_actions: Sequence[Tensor | None],
        actions: Tensor,
        memory: Memory | None = None,
    ) -> tuple[Tensor, Tensor, Callable]:
        """`evaluate` for all agents at once, whether or not they share their network.

        Args:
            inputs: [N, B, T, D], as `build_inputs` gives them.
            avail_actions: N times [B, T, A] or None.
            actions: as `taken_actions` gives them.
            memory: all agents', as `memory` gives it.

        Returns:
            log pi_i(a_i) and H_i, each [N, B, T], and `pull(gradient of log pi, gradient of H, out)`; `out` has one
            sequence of tensors per network.
        """
        outputs, pull_actors = self.agent.vjp(inputs, memory)
        avail = None
        if any(own is not None for own in avail_actions):
            full = torch.ones((*outputs.shape[1:-1], self.n_actions), dtype=torch.bool, device=outputs.device)
            avail = torch.stack([full if own is None else own for own in avail_actions])
        log_prob, entropy, pull_policy = self.policy_class.evaluate(outputs, avail, actions)

        @gradless
        def pull(of_log_prob: Tensor, of_entropy: Tensor, out: Sequence[Sequence[Tensor]]) -> None:
            pull_actors(pull_policy(of_log_prob, of_entropy), out)

        return log_prob, entropy, pull

    @gradless
    def linearise(
        self, agent: int, inputs: Tensor, avail_actions: Tensor | None, memory: Memory | None = None
    ) -> tuple[Policy, Callable, Callable]:
        """pi_i over whole sequences, as `policy`, with the derivatives of its outputs both ways (`Actor.linearise`)."""
        outputs, push, pull = self.agent.actor(agent).linearise(inputs, memory)
        return self.policy_class(outputs, avail_actions), gradless(push), gradless(pull)

    def agent_parameters(self, agent: int) -> list[torch.nn.Parameter]:
        """The parameters that agent `agent` acts with; the same for every agent where actors are shared."""
        return list(self.agent.actor(agent).parameters())

    def _inputs(self, ep_batch: Batch, ts: slice) -> Tensor:
        """[B, T', N, D]: observation, then last action and agent id where the configuration asks for them."""
        obs = ep_batch["obs"][:, ts]
        if self.args.normalise_inputs:
            obs = self.agent.input_norm(obs)
        parts = [obs]
        if self.args.obs_last_action:
            parts.append(self._last_actions(ep_batch, ts))
        if self.args.obs_agent_id:
            parts.append(self._indices(obs.device).expand(*obs.shape[:2], -1, -1))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else obs

    def _indices(self, device: torch.device) -> Tensor:
        """The agents' indicators, [N, N]; the same at each step."""
        if self._agent_ids is None or self._agent_ids.device != device:
            with torch.inference_mode(False):  # what is made in inference mode could not be used outside of it
                self._agent_ids = torch.eye(self.n_agents, device=device)
        return self._agent_ids

    def _last_actions(self, ep_batch: Batch, ts: slice) -> Tensor:
        actions, before = self._played(ep_batch), slice(max(ts.start - 1, 0), ts.stop - 1)
        last = actions[:, before]
        if (mask := stream_mask(ep_batch)) is not None:  # an episode's first has none before it
            last = last * mask[:, before].unsqueeze(-1)
        if ts.start > 0:
            return last
        first = torch.zeros_like(actions[:, :1])
        if mask is not None and self.carried is not None:
            first = self.carried.last_actions.unsqueeze(1)
        return torch.cat([first, last], dim=1)

    def _played(self, ep_batch: Batch) -> Tensor:
        return ep_batch["actions" if self.continuous else "actions_onehot"]

    # Parameters and files ---------------------------------------------------------------------------------------

    def parameters(self) -> Iterator[torch.nn.Parameter]:
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
        except files.DO_NOT_FIT as error:
            raise files.foreign(path, error) from error
