"""Plans: bluesky's, and those of this beamline."""

from bluesky.plan_stubs import mv, null
from bluesky.plans import count, grid_scan, rel_scan, scan

from kv_dict.integrations.bluesky import start_experiment

CARRIED_OVER = ["beamline_*", "facility", "operator"]  # what is not the user's


def sample_map(name: str, half_width: float = 1.0, points: int = 5):
    """Map a sample in x and y, around where the table is at zero.

    Parameters
    ----------
    name : str
        The name of the sample, for the metadata of this run.
    half_width : float
        In mm, from the middle.
    points : int
        Along each side.
    """
    side = (-half_width, half_width, points)
    yield from mv(shutter, ShutterState.OPEN)
    yield from grid_scan([det], table.x, *side, table.y, *side, md={"sample": {"name": name}})
    yield from mv(shutter, ShutterState.CLOSED)


def change_proposal(
    proposal_id: str, title: str, pi_name: str, cycle: str, username: str | None = None
):
    """Let all runs from here on, of every session, carry another proposal.

    All of it changes in one step, and what the former user left is removed.

    Parameters
    ----------
    proposal_id : str
        Its number.
    title, pi_name, cycle : str
        What the start documents say of it.
    username : str
        Who measures; the PI unless it is said.
    """
    about = {"proposal_id": proposal_id, "title": title, "pi_name": pi_name}
    start_experiment(
        md, proposal=about, cycle=cycle, username=username or pi_name, carry_over=CARRIED_OVER
    )
    yield from null()
