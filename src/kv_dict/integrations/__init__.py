"""What plugs the mapping into the frameworks of a beamline; each needs its framework."""
