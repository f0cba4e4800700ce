"""An application for worker processes. In one terminal or several:

    fanwood worker examples.worker_app:fanwood

In another, start a run and watch it:

    fanwood run word_counts --app examples.worker_app:fanwood --input '{"texts": ["a b a", "b c"]}' --watch

Run as a program it needs no worker: python examples/worker_app.py
"""

from collections import Counter

from pydantic import BaseModel

from fanwood import Context, Fanwood

fanwood = Fanwood()


class Texts(BaseModel):
    texts: list[str]


class Text(BaseModel):
    text: str


@fanwood.task(input_validator=Text, retries=2, execution_timeout="30s")
def count_words(input: Text, ctx: Context) -> dict[str, int]:
    ctx.log(f"counting {len(input.text)} characters")
    return dict(Counter(input.text.split()))


@fanwood.task(input_validator=Texts)
async def word_counts(input: Texts, ctx: Context) -> dict[str, int]:
    items = [count_words.create_bulk_run_item(Text(text=text)) for text in input.texts]
    total: Counter[str] = Counter()
    for counts in await count_words.aio_run_many(items):
        total.update(counts)
    return dict(sorted(total.items()))


if __name__ == "__main__":
    print(word_counts.run(Texts(texts=["a b a", "b c"])))
