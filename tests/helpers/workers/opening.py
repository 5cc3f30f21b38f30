"""A worker that itself opens the file that the prompt names: on a dead mount it hangs in the kernel."""

from roost import worker


def turn(turn: worker.Turn) -> None:
    with open(turn.input) as file, turn.item("agent_message") as item:
        item.write(file.read())


worker.run(turn, name="opening")
