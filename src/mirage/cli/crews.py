"""What subcommands share that give their work to several processes."""

from mirage.cli.arguments.crews import Crewed
from mirage.distributed.crew import Crew


def crew_of(asked: Crewed) -> Crew:
    """Who does it."""
    return Crew(
        ray=asked.ray or "local",
        replicas=asked.replicas,
        gpus_per_replica=asked.gpus_per_replica,
        retries=asked.retries,
    )
