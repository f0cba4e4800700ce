"""An agent: a task that works one turn, and spawns itself for the next until a condition is met.

    python examples/agent.py

Each turn is a run of its own, so after a crash the agent goes on with the turn it was at.
"""

from pydantic import BaseModel

from fanwood import Context, Fanwood

fanwood = Fanwood()


class State(BaseModel):
    target: int
    low: int = 0
    high: int = 1000
    guesses: list[int] = []


@fanwood.task
async def ask_the_world(state: State) -> str:
    """What a model, an API or a person would answer."""
    guess = state.guesses[-1]
    return "right" if guess == state.target else "too low" if guess < state.target else "too high"


@fanwood.task(input_validator=State)
async def agent(state: State, ctx: Context) -> State:
    state.guesses.append((state.low + state.high) // 2)
    answer = await ask_the_world.aio_run(state)
    ctx.log(f"turn {ctx.depth + 1}: {state.guesses[-1]} is {answer}")
    if answer == "right":
        return state
    if answer == "too low":
        state.low = state.guesses[-1] + 1
    else:
        state.high = state.guesses[-1] - 1
    return await agent.aio_run(state)


if __name__ == "__main__":
    done = agent.run(State(target=709))
    print(f"found {done.guesses[-1]} in {len(done.guesses)} turns: {done.guesses}")
