"""REINFORCE learns to balance a pole on a cart, from nothing but how long it stood.

    python examples/reinforce.py

The cart is Barto, Sutton and Anderson's (1983), as in Gym's CartPole: a push to the left or right
every 0.02 s; it ends when the pole leans 12 degrees or the cart leaves its track.  Many carts
run side by side, a row of a tensor each.  (Williams, 1992: actions of better than mean outcome
become likelier.)
"""

import argparse
import math

import dtorch
from dtorch import nn
from dtorch.distributions import Categorical

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
LONGEST = 200  # steps


def push(state, action):
    """One tick: states (carts, 4) of place, speed, angle, angular speed; actions 0 or 1 (carts,)."""
    x, v, angle, spin = state.unbind(1)
    force = (2 * action - 1) * FORCE
    cos, sin = angle.cos(), angle.sin()
    mass = CART + POLE
    moved = (force + POLE * HALF_LENGTH * spin**2 * sin) / mass
    spin_change = (GRAVITY * sin - cos * moved) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / mass))
    v_change = moved - POLE * HALF_LENGTH * spin_change * cos / mass
    return dtorch.stack(
        [x + TICK * v, v + TICK * v_change, angle + TICK * spin, spin + TICK * spin_change], 1
    )


def stands(state):
    """(carts,): whether the pole still stands, and the cart is on its track."""
    return (state[:, 0].abs() < 2.4) & (state[:, 2].abs() < math.radians(12))


@dtorch.no_grad()
def play(policy, carts: int):
    """States (T, carts, 4), actions (T, carts), and which ran still (T, carts)."""
    state = dtorch.rand(carts, 4) * 0.1 - 0.05
    running = dtorch.ones(carts, dtype=dtorch.bool)
    states, actions, alive = [], [], []
    while running.any() and len(states) < LONGEST:
        action = Categorical(logits=policy(state)).sample()
        states.append(state)
        actions.append(action)
        alive.append(running)
        state = push(state, action)
        running = running & stands(state)
    return dtorch.stack(states), dtorch.stack(actions), dtorch.stack(alive)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--carts", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-2)
    args = parser.parse_args()
    dtorch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = dtorch.optim.Adam(policy.parameters(), lr=args.lr)
    for step in range(args.rounds):
        states, actions, alive = play(policy, args.carts)
        # What is still to come at each step, 1 a step: a sum from the end.
        rewards = alive.float()
        to_come = rewards.flip(0).cumsum(0).flip(0)
        ran = alive.flatten()
        to_come = to_come.flatten()[ran]
        advantage = (to_come - to_come.mean()) / (to_come.std() + 1e-6)
        log_p = Categorical(logits=policy(states.flatten(0, 1)[ran])).log_prob(
            actions.flatten()[ran]
        )
        loss = -(log_p * advantage).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0 or step == args.rounds - 1:
            print(f"round {step + 1}: mean return {rewards.sum(0).mean().item():.1f}")


if __name__ == "__main__":
    main()
