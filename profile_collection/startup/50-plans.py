"""Plans: bluesky's, and those of this beamline."""

from bluesky.plan_stubs import mv, null
from bluesky.plans import count, grid_scan, rel_scan, scan


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


def change_proposal(proposal_id: str, title: str, pi_name: str, cycle: str):
    """Let all runs from here on carry another proposal; all of it changes in one step."""
    md.update(
        proposal={"proposal_id": proposal_id, "title": title, "pi_name": pi_name},
        data_session=f"pass-{proposal_id}",
        cycle=cycle,
    )
    yield from null()
