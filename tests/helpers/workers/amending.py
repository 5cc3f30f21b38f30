"""A worker that knows more of an item later: its title while it is open, its title and output after its end."""

from roost import worker


def turn(turn: worker.Turn) -> None:
    with turn.item("tool_call", "search", query="x") as item:
        item.write("two hits")
        item.update(title="search for x", hits=2)
    if turn.input == "too early":
        with turn.item("status") as item:
            item.update(text="no")
    item.update(title="search for x, twice", text="three hits", hits=3, again=True)
    turn.progress("halfway", 0.5)


worker.run(turn)
